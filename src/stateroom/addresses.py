"""The only place that reads client addresses and networks: trusted proxies, `/metrics`, request ids, throttling, settings.

All parts of the service must agree on who a client is. On a listener for both families (`HOST=::`) an IPv4 client arrives as
`::ffff:192.0.2.1` (RFC 4291, section 2.5.5.2). Code that does not know this form does not recognise a trusted proxy.

This module does not read the settings: callers pass the networks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ADDRESSES_REMEMBERED = 4096
"""How many clients' addresses are kept as objects. To make one takes longer than half of a session check."""
LONGEST_REMEMBERED = 100
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_IN_BRACKETS = re.compile(r"\[([^\[\]]*)\](?::[0-9]+)?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+")
"""The form in which Azure's gateways and IIS write an IPv4 address."""


def parse_client(text: str | None) -> IPAddress | None:
    """The address of a client, or None if the text is not an address.

    Understands `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. Each may also be a mapped
    IPv4 address (`::ffff:192.0.2.1` is `192.0.2.1`) or have a zone (`fe80::1%eth0` is `fe80::1`). A zone names an interface
    of this machine and says nothing about the client.
    """
    if text is None:
        return None
    return _parsed(text) if len(text) <= LONGEST_REMEMBERED else _read(text)


def _read(text: str) -> IPAddress | None:
    text = text.strip()
    enclosed = _IN_BRACKETS.fullmatch(text) or _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(_without_zone(enclosed[1] if enclosed else text))
    except ValueError:
        return None
    return address.ipv4_mapped or address if address.version == 6 else address


_parsed = lru_cache(ADDRESSES_REMEMBERED)(_read)


def parse_network(text: str) -> Network:
    """A network in CIDR form, or a single address. A mapped network (`::ffff:10.0.0.0/104`) is the IPv4 one.

    Raises `ValueError`, also for bits that are set after the prefix (`10.0.0.1/8`) and for a zone, which would be ignored.
    """
    if "%" in text:
        raise ValueError("a network has no zone")
    network = ipaddress.ip_network(text.strip())
    if network.version == 4 or not network.subnet_of(_MAPPED):
        return network
    mapped = network.network_address.ipv4_mapped
    assert mapped is not None, "an address of ::ffff:0:0/96 is a mapped one"
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED.prefixlen))


def is_in(address: IPAddress | None, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of these networks. False for None."""
    return address is not None and any(address in network for network in networks if network.version == address.version)


def is_loopback(text: str | None) -> bool:
    """Whether a client is on this machine."""
    address = parse_client(text)
    return address is not None and address.is_loopback


def is_loopback_name(host: str) -> bool:
    """Whether a host name means this machine: `localhost`, names below it (RFC 6761, section 6.3), or a loopback address."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def host_of(header: str) -> str:
    """The host in a `Host` header, without its port and brackets. `parse_client` reads addresses with a port too."""
    return header.strip() if header.startswith("[") else header.strip().rpartition(":")[0] or header.strip()


def network_around(address: IPAddress, *, ipv4_prefix: int, ipv6_prefix: int) -> Network:
    """The network of this size that contains the address."""
    return ipaddress.ip_network((address, ipv4_prefix if address.version == 4 else ipv6_prefix), strict=False)


def is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address as a listener or a server has it: without brackets and port, perhaps with a zone."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def compressed(ipv6: str) -> str:
    """An IPv6 address in its shortest form, as browsers write it (RFC 5952). Raises `ValueError`."""
    return ipaddress.IPv6Address(ipv6).compressed


def plain_ipv4(text: str) -> str:
    """An IPv4 address as four decimal numbers. Raises `ValueError` for any other form, such as `127.1` or `010.0.0.1`."""
    return str(ipaddress.IPv4Address(text))


def _without_zone(text: str) -> str:
    return text.partition("%")[0]
