"""Which network addresses a fetch may reach: an own deny list, applied to resolved addresses.

The standard library's `is_global` is not enough: it lets through NAT64 and 6to4 forms of loopback,
multicast, and the host services of a large cloud (168.63.129.16).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

from quarterdeck.core.errors import InvalidInput

ENDPOINTS_MAX = 100

_DENIED_V4 = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "a private network",
    "100.64.0.0/10": "a provider's shared network",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's host services",
    "169.254.0.0/16": "link-local, where clouds keep credentials",
    "172.16.0.0/12": "a private network",
    "192.0.0.0/24": "set aside for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "a private network",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved or broadcast",
}
_DENIED_V6 = {
    "2001::/32": "Teredo, which hides another address",
    "2001::/23": "set aside for protocols",
    "2001:db8::/32": "for documentation",
    "2002::/16": "6to4, which hides another address",
    "3fff::/20": "for documentation",
}
_NETS_V4 = [(IPv4Network(net), why) for net, why in _DENIED_V4.items()]
_NETS_V6 = [(IPv6Network(net), why) for net, why in _DENIED_V6.items()]
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOW_32_BITS = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port inside the network that a workspace may reach all the same."""

    address: str
    port: int


def forbidden(address: str) -> str | None:
    """What kind of forbidden place an address is; None when a fetch may connect to it.

    Only global unicast addresses pass (RFC 6890, RFC 9637). Forms that carry an IPv4 address
    (mapped, NAT64) are judged by that address; 6to4 and Teredo never pass.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(found, IPv4Address):
        return _first(found, _NETS_V4)
    if found.scope_id is not None:
        return "bound to one network interface"
    if found.ipv4_mapped is not None:
        return _first(found.ipv4_mapped, _NETS_V4)
    if found in _NAT64:
        return _first(IPv4Address(int(found) & _LOW_32_BITS), _NETS_V4)
    if found not in _UNICAST:
        return "not a public address"
    return _first(found, _NETS_V6)


def refusal(addresses: Iterable[str], port: int, allowed: Collection[Endpoint]) -> str | None:
    """Why none of a name's addresses may be reached; None when all of them may.

    One forbidden address among several is enough: a name that points inside and outside at the
    same time is a trick.
    """
    found = list(addresses)
    if not found:
        return "it has no address"
    for address in found:
        if Endpoint(canonical(address), port) in allowed:
            continue
        reason = forbidden(address)
        if reason is not None:
            return f"it is at {address[:80]}: {reason}"
    return None


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint written as `127.0.0.1:8080` or `[::1]:8080`.

    Raises:
        InvalidInput: for a name, a missing port, or an address in an odd spelling.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ip_address(bare)
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    except ValueError:
        address, number = None, 0
    plain = isinstance(address, IPv4Address) == (bare is host)
    if not colon or address is None or not plain or not 1 <= number <= 65_535:
        raise InvalidInput(
            f"{text[:80]!r} is not an address with a port.",
            where="internal_endpoints",
            hint="Write it like 127.0.0.1:8080 or [::1]:8080; names may change what they point to.",
        )
    return Endpoint(str(address), number)


def canonical(address: str) -> str:
    """The one spelling of an address (RFC 5952); anything else is returned as it is."""
    try:
        return str(ip_address(address))
    except ValueError:
        return address


def _first(
    address: IPv4Address | IPv6Address,
    nets: Iterable[tuple[IPv4Network, str]] | Iterable[tuple[IPv6Network, str]],
) -> str | None:
    return next((why for net, why in nets if address in net), None)
