"""Whether an address is one of ours, decided from its text alone: no name is looked up."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from quarterdeck.core.errors import InvalidInput

_OWN_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".intranet")

# Starts with a letter: a bare number such as 134744072 is a public address in disguise.
_NEIGHBOUR = re.compile(r"[a-z][a-z0-9_-]*")


def host_of(url: str) -> str:
    """The host of an http(s) URL, in lower case.

    Raises:
        InvalidInput: when it is not such a URL.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or not host or parts.scheme not in {"http", "https"}:
        raise InvalidInput(
            f"{url[:120]!r} is not the address of a model server.",
            where="base_url",
            hint="Write it like http://127.0.0.1:11434.",
        )
    return host.lower()


def is_own_address(url: str) -> bool:
    """Whether `url` points to this machine or its own network.

    Loopback, private and link-local addresses are ours, so are names without a dot (a neighbour in
    a compose file) and names under suffixes that are never public (RFC 6762, RFC 8375). Every other
    name counts as the cloud, even if it would resolve to a private address.
    """
    host = host_of(url)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(_NEIGHBOUR.fullmatch(host)) or host.endswith(_OWN_SUFFIXES)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_private or address.is_link_local
