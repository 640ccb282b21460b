"""Opens a TCP socket to a host name, and tries several addresses at the same time (happy eyeballs, RFC 8305).

An address may swallow packets, mostly that of IPv6 where a network routes only IPv4. If the addresses were tried one after
the other, the first one would use up the whole time-out.

uvloop's `sock_connect` passes even IP addresses to libuv's threads, where look-ups of other names may hang, and it loses
the zone of an IPv6 address. So sockets are connected here, and not by the library aiohappyeyeballs, which calls it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from .resolver import RESOLVER, Endpoint, Resolver

LONGEST_DELAY_SECONDS = 0.25
SHORTEST_DELAY_SECONDS = 0.01
"""The recommended and the shortest time between two attempts: https://www.rfc-editor.org/rfc/rfc8305#section-8"""


class SocketOpener:
    """Opens sockets, and remembers for each name which addresses were good.

    Callers say whether a server answered as it should (`worked`, `failed`). A name may lead to several servers, of which
    one hangs or is a replica; the next attempt begins with another one.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        # For names with several addresses: -1 for the address that worked last; those that failed have a number above 0, and
        # the highest failed last.
        self._ranks: dict[str, dict[str, int]] = {}

    async def open(self, host: str, port: int, *, timeout: float, local_host: str | None = None) -> socket.socket:
        """A connected, non-blocking socket. `timeout` is in seconds, for the look-up and the connection together.

        `local_host`: the IP address to connect from. Raises `OSError` (`socket.gaierror` if the name has no address), and
        `TimeoutError` if no address accepts in time.
        """
        began = asyncio.get_running_loop().time()
        endpoints = self._in_order(host, await self._resolver.resolve(host, timeout=timeout))
        async with asyncio.timeout_at(began + timeout):
            return await _first_connected(endpoints, port, _delay(timeout, len(endpoints)), local_host)

    def worked(self, host: str, address: str) -> None:
        """The server at this address of the host answered as it should. Begin with it."""
        ranks = self._ranks.get(host)
        if ranks is not None:
            self._ranks[host] = {each: max(rank, 0) for each, rank in ranks.items()} | {address: -1}

    def failed(self, host: str, address: str) -> None:
        """The server at this address of the host accepted a connection, but did not do its work. Try it last."""
        ranks = self._ranks.get(host)
        if ranks is not None:
            ranks[address] = 1 + max(0, *ranks.values())

    def _in_order(self, host: str, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        if len(endpoints) == 1:
            self._ranks.pop(host, None)
            return endpoints
        before = self._ranks.get(host, {})
        ranks = self._ranks[host] = {each.host: before.get(each.host, 0) for each in endpoints}
        return sorted(_alternating(endpoints), key=lambda each: ranks[each.host])


OPENER = SocketOpener(RESOLVER)
"""Opens the sockets of this process."""


def _alternating(endpoints: Sequence[Endpoint]) -> Iterable[Endpoint]:
    """The endpoints with the two families in turn; the system's first choice is the first."""
    first = [each for each in endpoints if each.family == endpoints[0].family]
    others = [each for each in endpoints if each.family != endpoints[0].family]
    return (each for each in chain.from_iterable(zip_longest(first, others)) if each is not None)


def _delay(timeout: float, count: int) -> float:
    """Seconds between two attempts: all attempts have begun when half of the time-out has passed."""
    return max(SHORTEST_DELAY_SECONDS, min(LONGEST_DELAY_SECONDS, timeout / 2 / max(1, count - 1)))


async def _first_connected(endpoints: Sequence[Endpoint], port: int, delay: float, local_host: str | None) -> socket.socket:
    """The first socket that is connected. A new attempt begins after each `delay`, and at once if one has failed."""
    if len(endpoints) == 1:
        return await _connected(endpoints[0], port, local_host)
    untried = deque(endpoints)
    connected: list[socket.socket] = []
    faults: list[tuple[Endpoint, OSError]] = []

    async def attempt(endpoint: Endpoint) -> None:
        try:
            connected.append(await _connected(endpoint, port, local_host))
        except OSError as fault:
            faults.append((endpoint, fault))

    attempts: set[asyncio.Task[None]] = set()
    try:
        while not connected and (untried or attempts):
            if untried:
                attempts.add(asyncio.create_task(attempt(untried.popleft())))
            wait = delay if untried else None
            ended, attempts = await asyncio.wait(attempts, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()
        await _cancel(attempts)
    except BaseException:
        await _cancel(attempts)
        _close(connected)
        raise
    if not connected:
        raise _all_failed(faults)
    _close(connected[1:])
    return connected[0]


async def _cancel(attempts: Iterable[asyncio.Task[None]]) -> None:
    for each in attempts:
        each.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


async def _connected(endpoint: Endpoint, port: int, local_host: str | None) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if local_host is not None:
            sock.bind((local_host, 0))
        code = sock.connect_ex(endpoint.at(port))
        if code == errno.EINPROGRESS:
            await _until_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        sock.close()
        raise
    if code:
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def _all_failed(faults: Sequence[tuple[Endpoint, OSError]]) -> OSError:
    """One error for all addresses, of the kind of the last one."""
    causes = "; ".join(f"{endpoint.host}: {fault.strerror or fault}" for endpoint, fault in faults)
    return OSError(faults[-1][1].errno, causes)


async def _until_writable(sock: socket.socket) -> None:
    """Wait for the end of the attempt to connect, whether it succeeded or not."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)
