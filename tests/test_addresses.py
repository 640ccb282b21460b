"""Client addresses and networks have one reading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stateroom
from stateroom.addresses import is_in, is_ipv6, is_loopback, network_around, parse_client, parse_network

LOOPBACK = ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "[::1]", "[::1]:80", "127.0.0.1:5678", "[::ffff:127.0.0.1]:80"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
    ],
)
def test_an_address_is_read_in_every_form(text: str, address: str) -> None:
    assert str(parse_client(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        None, "", "unknown", "_hidden", "192.0.2.1:", "192.0.2.1:x", "192.0.2", "192.0.2.1]", "[192.0.2.1", "[::1]80",
        "[::1]:", "[[::1]]", "::1]:80", "192.0.2.1, 192.0.2.2", "10.0.0.0/8", "%eth0", "[]", "/run/socket", "١٢٧.0.0.1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_none(text: str | None) -> None:
    assert parse_client(text) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("::1", "::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("::/0", "::/0"),
    ],
)
def test_a_mapped_network_is_the_ipv4_one(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.1/104", "fe80::1%eth0", "[::1]", "10.0.0.1:80", "proxy"]
)
def test_a_network_that_would_be_half_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_network(text)


def test_an_address_is_in_networks_of_its_family_only() -> None:
    networks = [parse_network("10.0.0.0/8"), parse_network("::1/128")]
    assert is_in(parse_client("::ffff:10.1.2.3"), networks)
    assert is_in(parse_client("[::1]:80"), networks)
    assert not is_in(parse_client("11.0.0.1"), networks)
    assert not is_in(None, networks)
    assert not is_in(parse_client("10.1.2.3"), [parse_network("::/0")])


@pytest.mark.parametrize("text", LOOPBACK)
def test_loopback_is_loopback_in_every_form(text: str) -> None:
    assert is_loopback(text)


@pytest.mark.parametrize("text", ["192.0.2.1", "::ffff:192.0.2.1", "fe80::1%lo", "::", "0.0.0.0", "localhost", "", None])
def test_nothing_else_is_loopback(text: str | None) -> None:
    assert not is_loopback(text)


def test_the_network_around_an_address() -> None:
    for text, network in [("::ffff:192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48")]:
        address = parse_client(text)
        assert address is not None
        assert str(network_around(address, ipv4_prefix=24, ipv6_prefix=48)) == network


def test_a_host_of_a_listener_may_have_a_zone() -> None:
    assert is_ipv6("fe80::1%eth0")
    assert not is_ipv6("[::1]")
    assert not is_ipv6("192.0.2.1")


def test_nobody_else_reads_addresses() -> None:
    package = Path(stateroom.__file__).parent
    readers = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"^\s*(import|from) ipaddress\b|inet_pton|inet_aton", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert readers == {"addresses.py"}
