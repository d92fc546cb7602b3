"""Where an objective may look: strict URLs, one spelling per host, and the domains it was given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import idna

from quarterdeck.core.errors import InvalidInput

DOMAINS_MAX = 20
URL_CHARS_MAX = 2048
HOST_CHARS_MAX = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_UNCLEAN = re.compile(r"[\x00-\x20\x7f\\]")
_PATH_SAFE = "/%:@!$&'()*+,;=-._~?"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its one spelling: `path` begins with `/` and holds the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        return authority(self.host, None if self.port == DEFAULT_PORTS[self.scheme] else self.port)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.path}"


@dataclass(frozen=True, slots=True)
class Domain:
    """One allowed domain; without `port` only 80 and 443 of their schemes are meant."""

    host: str
    port: int | None = None

    def admits(self, target: Target) -> bool:
        """Whether the target is this domain or, for names, one below it."""
        if target.port != (self.port or DEFAULT_PORTS[target.scheme]):
            return False
        below = not is_address(self.host) and target.host.endswith(f".{self.host}")
        return target.host == self.host or below

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Scope:
    """The allowed domains, in the order given, each once."""

    domains: tuple[Domain, ...]

    def domain_of(self, target: Target) -> Domain | None:
        """The most telling domain that admits the target; None when it is out of scope."""
        admitting = [domain for domain in self.domains if domain.admits(target)]
        return max(admitting, key=lambda domain: len(domain.host), default=None)

    def as_json(self) -> dict[str, list[str]]:
        return {"allowed_domains": [str(domain) for domain in self.domains]}


def parse_scope(given: Any) -> Scope:
    """The scope of `{"allowed_domains": ["example.org", "docs.example.com:8443"]}`.

    Raises:
        InvalidInput: naming the entry that is no domain, or what is missing.
    """
    if not isinstance(given, Mapping) or set(given) != {"allowed_domains"}:
        raise InvalidInput(
            "A scope has exactly the field allowed_domains.",
            where="scope",
            hint='Write {"allowed_domains": ["example.org"]}.',
        )
    entries = given["allowed_domains"]
    listed = isinstance(entries, Sequence) and not isinstance(entries, str)
    if not listed or not 1 <= len(entries) <= DOMAINS_MAX:
        raise InvalidInput(
            f"It must be a list of 1 to {DOMAINS_MAX} domains.", where="scope.allowed_domains"
        )
    found = [_domain(entry, f"scope.allowed_domains.{n}") for n, entry in enumerate(entries)]
    return Scope(tuple(dict.fromkeys(found)))


def parse_url(url: str, *, base: Target | None = None) -> Target:
    """The target that a URL names, relative ones against `base`.

    Nothing is guessed: what browsers and libraries read differently (user names, backslashes,
    control characters, encoded hosts) is refused.

    Raises:
        InvalidInput: saying what is wrong with it.
    """
    text = url.strip(" \t\r\n\f")
    if not text or len(text) > URL_CHARS_MAX:
        raise _bad(url, f"it must have 1 to {URL_CHARS_MAX} characters")
    if _UNCLEAN.search(text):
        raise _bad(url, "it holds a space, a control character or a backslash")
    try:
        parts = urlsplit(urljoin(base.url, text) if base is not None else text)
    except ValueError as error:
        raise _bad(url, str(error)) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise _bad(url, "only http and https are fetched")
    if "@" in parts.netloc:
        raise _bad(url, "it holds a user name")
    host, port = split_authority(parts.netloc)
    path = _path(parts.path, parts.query)
    return Target(parts.scheme, host_name(host), port or DEFAULT_PORTS[parts.scheme], path)


def host_name(host: str) -> str:
    """The one spelling of a host: lower case, punycode, no last dot; addresses in RFC 5952 form.

    Names are mapped by UTS #46 and must be valid IDNA 2008. A name that ends in a number is an
    address in disguise (`127.1`, `0x7f.1`, `2130706433`) and is refused unless it is a plain one.

    Raises:
        InvalidInput: saying what is wrong with it.
    """
    if not host or len(host) > 4 * HOST_CHARS_MAX:
        raise _bad_host(host, "it is empty or too long")
    if ":" in host:
        return _address_v6(host)
    try:
        mapped = idna.uts46_remap(host, std3_rules=True, transitional=False)
    except (idna.IDNAError, UnicodeError) as error:
        raise _bad_host(host, str(error)) from None
    labels = mapped.removesuffix(".").split(".")
    name = ".".join(_label(label, host) for label in labels)
    if len(name) > HOST_CHARS_MAX:
        raise _bad_host(host, f"a name has at most {HOST_CHARS_MAX} characters")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _address_v4(name, host)
    return name


def split_authority(netloc: str) -> tuple[str, int | None]:
    """Host and port of `example.org`, `example.org:8080`, `[::1]` or `[::1]:8080`.

    Raises:
        InvalidInput: when it has another form.
    """
    if netloc.startswith("["):
        host, bracket, rest = netloc[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise _bad_host(netloc, "the brackets do not hold an IPv6 address")
        port = rest[1:] if rest else None
    else:
        host, colon, after = netloc.partition(":")
        port = after if colon else None
    if port is None:
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        raise _bad_host(netloc, "the port is not a number from 1 to 65535")
    return host, int(port)


def is_address(host: str) -> bool:
    """Whether a host in its one spelling is an address."""
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def authority(host: str, port: int | None) -> str:
    """`host:port`, with brackets where they are needed."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _domain(entry: Any, where: str) -> Domain:
    hint = "Write the bare domain, such as example.org; it covers the names below it."
    if not isinstance(entry, str):
        raise InvalidInput("It is not text.", where=where, hint=hint)
    if _UNCLEAN.search(entry) or set(entry) & set("/@?#*"):
        raise InvalidInput(f"{entry[:80]!r} is not a bare domain.", where=where, hint=hint)
    try:
        host, port = split_authority(entry)
        domain = Domain(host_name(host), port)
    except InvalidInput as error:
        raise InvalidInput(error.message, where=where, hint=hint) from None
    if "." not in domain.host and ":" not in domain.host:
        raise InvalidInput(f"{entry[:80]!r} has no dot, so it is too wide.", where=where, hint=hint)
    return domain


def _label(label: str, host: str) -> str:
    if label.isascii() and not label.startswith("xn--"):
        # idna refuses hyphens in the third place, which real names have (r3---sn…).
        if _LABEL.fullmatch(label):
            return label
        raise _bad_host(host, f"{label[:63]!r} is no label of a name")
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise _bad_host(host, str(error)) from None


def _address_v4(name: str, host: str) -> str:
    try:
        return str(IPv4Address(name))
    except ValueError:
        raise _bad_host(host, "it is a number in disguise, or no plain IPv4 address") from None


def _address_v6(host: str) -> str:
    try:
        found = IPv6Address(host)
    except ValueError:
        raise _bad_host(host, "it is no plain IPv6 address") from None
    if found.scope_id is not None:
        raise _bad_host(host, "it is bound to one network interface")
    return str(found)


def _path(path: str, query: str) -> str:
    """Path and query in plain ASCII, without dot segments, also not in their encoded form."""
    dotted = re.sub("%2e", ".", path, flags=re.IGNORECASE)
    plain = urlsplit(urljoin("http://host/", f"/{dotted.lstrip('/')}")).path or "/"
    encoded = quote(plain.replace("?", "%3F"), safe=_PATH_SAFE, errors="replace")
    if not query:
        return encoded
    return f"{encoded}?{quote(query, safe=_PATH_SAFE, errors='replace')}"


def _bad(url: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{url[:120]!r} is not a URL that is fetched: {reason}.", where="url")


def _bad_host(host: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{host[:80]!r} is not a host: {reason.rstrip('.')}.", where="host")
