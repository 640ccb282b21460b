"""Finds out whether two Sentinels name the same server in two ways: one by its host name, the other by its IP address.

A Sentinel without `announce-hostnames` names a server by its IP address (https://valkey.io/topics/sentinel/, "IP addresses
and DNS names"). The service compares what Sentinels say letter by letter, so the vote of such a Sentinel does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TypeAlias

from ..addresses import parse_client
from ..network.resolver import RESOLVER
from ..settings import Address

RESOLVE_SECONDS = 1.5

Aliases: TypeAlias = frozenset[frozenset[Address]]
"""Pairs of addresses that lead to the same server."""


async def find_aliases(addresses: Iterable[Address]) -> Aliases:
    """Among these addresses, the pairs of a name and an IP address to which the name resolves on this host."""
    given = set(addresses)
    numbers = {address for address in given if parse_client(address.host) is not None}
    names = [name for name in given - numbers if any(name.port == number.port for number in numbers)]
    found = await asyncio.gather(*(_resolved(name) for name in names))
    return frozenset(
        frozenset({name, number}) for name, hosts in zip(names, found, strict=True) for number in numbers & _at(hosts, name.port)
    )


def _at(hosts: Iterable[str], port: int) -> set[Address]:
    return {Address(host, port) for host in hosts}


async def _resolved(name: Address) -> list[str]:
    with contextlib.suppress(OSError):
        return [found.host for found in await RESOLVER.resolve(name.host, timeout=RESOLVE_SECONDS)]
    return []
