"""Which addresses may be reached: a deny list of our own, whatever form the address takes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.objectives.addresses import (
    Endpoint,
    forbidden,
    parse_endpoint,
    refusal,
)

pytestmark = pytest.mark.req("RUN-1")

V4 = st.ip_addresses(v=4)
INSIDE = st.sampled_from(
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"]
)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - it is refused, not bound to
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        # no plain address at all
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "localhost",
        "",
    ],
)
def test_what_lies_inside_or_nowhere_is_forbidden(address):
    assert forbidden(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"],
)
def test_public_addresses_pass(address):
    assert forbidden(address) is None


@given(V4)
def test_what_passes_is_global_and_for_one_receiver(address: IPv4Address):
    if forbidden(str(address)) is None:
        assert address.is_global
        assert not any([address.is_multicast, address.is_reserved, address.is_loopback])


@given(st.ip_addresses(v=6))
def test_what_passes_in_ipv6_is_global_unicast_or_a_translated_public_address(address: IPv6Address):
    if forbidden(str(address)) is None:
        embedded = address.ipv4_mapped or IPv4Address(int(address) & 0xFFFFFFFF)
        assert address.is_global or forbidden(str(embedded)) is None
        assert not address.is_multicast


@given(V4)
def test_an_embedded_address_is_never_more_welcome_than_the_plain_one(address: IPv4Address):
    number = int(address)
    forms = [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address(number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    ]
    if forbidden(str(address)) is not None:
        assert all(forbidden(str(form)) for form in forms)


@given(st.lists(V4.map(str), max_size=4), INSIDE, st.integers(0, 4))
def test_one_forbidden_address_among_several_is_enough(others, inside, at):
    addresses = [*others[:at], inside, *others[at:]]
    assert refusal(addresses, 80, ())


def test_a_name_without_an_address_is_refused():
    assert refusal([], 80, ())


def test_an_allowed_endpoint_is_that_address_with_that_port_alone():
    allowed = {parse_endpoint("127.0.0.1:8080"), parse_endpoint("[::1]:8081")}
    assert refusal(["127.0.0.1"], 8080, allowed) is None
    assert refusal(["0:0:0:0:0:0:0:1"], 8081, allowed) is None
    assert refusal(["127.0.0.1"], 80, allowed)
    assert refusal(["127.0.0.2"], 8080, allowed)
    assert refusal(["127.0.0.1", "10.0.0.1"], 8080, allowed)


@pytest.mark.parametrize(
    "text",
    ["localhost:80", "127.0.0.1", "127.1:80", "127.0.0.1:0", "127.0.0.1:65536", "::1:80"]
    + ["[127.0.0.1]:80", "127.0.0.0/8:80", "127.0.0.1:8o", "[::1]", ":80", "", "127.0.0.1:٨٠"],
)
def test_an_endpoint_that_is_none_is_named(text):
    with pytest.raises(InvalidInput) as caught:
        parse_endpoint(text)
    assert caught.value.where == "internal_endpoints"


def test_an_endpoint_reads_back_as_written():
    assert parse_endpoint("[::1]:65535") == Endpoint("::1", 65535)
