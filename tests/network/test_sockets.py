"""Sockets to names with several addresses: which address is tried when, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
import uvloop

from stateroom.network.resolver import Endpoint, Resolver
from stateroom.network.sockets import SocketOpener

from ..patience import at_most
from .swallowing import swallowing

PATIENT_SECONDS = 20.0


def opener(*hosts: str) -> SocketOpener:
    """An opener for which every name has these addresses."""

    def look_up(_: str) -> Sequence[Endpoint]:
        return [Endpoint(socket.AF_INET6, host, (0, 0)) if ":" in host else Endpoint(socket.AF_INET, host) for host in hosts]

    return SocketOpener(Resolver(look_up))


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[int]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, port))
        listener.listen()
        yield listener.getsockname()[1]


async def reached(it: SocketOpener, port: int, *, timeout: float = PATIENT_SECONDS) -> str:
    with await it.open("name.test", port, timeout=timeout) as sock:
        assert not sock.getblocking()
        return str(sock.getpeername()[0])


@pytest.mark.parametrize("dead", ["::1", "127.0.0.2"])
async def test_an_address_that_swallows_packets_costs_a_part_of_the_time_out_and_only_once(dead: str) -> None:
    it = opener(dead, "127.0.0.1")
    with listening("127.0.0.1") as port, swallowing(dead, port):
        began = time.monotonic()
        assert await reached(it, port, timeout=1.0) == "127.0.0.1"
        assert time.monotonic() - began >= 0.25
        it.worked("name.test", "127.0.0.1")
        assert it._in_order("name.test", await it._resolver.resolve("name.test", timeout=1))[0].host == "127.0.0.1"


async def test_an_address_that_refuses_costs_nothing() -> None:
    it = opener("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1")
    with listening("127.0.0.1") as port, at_most(PATIENT_SECONDS / 4):
        assert await reached(it, port, timeout=PATIENT_SECONDS) == "127.0.0.1"


async def test_a_server_that_did_not_do_its_work_is_tried_last_and_one_that_did_first() -> None:
    it = opener("127.0.0.2", "127.0.0.3", "127.0.0.1")
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening("127.0.0.1"))
        for host in ("127.0.0.2", "127.0.0.3"):
            stack.enter_context(listening(host, port))
        assert await reached(it, port) == "127.0.0.2"
        it.failed("name.test", "127.0.0.2")
        assert await reached(it, port) == "127.0.0.3"
        it.failed("name.test", "127.0.0.3")
        assert await reached(it, port) == "127.0.0.1"
        it.failed("name.test", "127.0.0.1")
        assert await reached(it, port) == "127.0.0.2"
        it.worked("name.test", "127.0.0.3")
        assert await reached(it, port) == "127.0.0.3"


async def test_the_two_families_are_tried_in_turn() -> None:
    it = opener("::1", "::2", "::3", "127.0.0.1", "127.0.0.2")
    found = it._in_order("name.test", await it._resolver.resolve("name.test", timeout=1))
    assert [each.host for each in found] == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]


async def test_the_error_names_every_address() -> None:
    with listening("127.0.0.1") as port:
        pass
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.2: Connection refused; 127\.0\.0\.3: Connection refused"):
        await reached(opener("127.0.0.2", "127.0.0.3"), port)


async def test_no_address_in_time_is_a_time_out_and_leaves_no_task() -> None:
    with (
        listening("127.0.0.1") as port,
        swallowing("127.0.0.2", port),
        swallowing("127.0.0.3", port),
        pytest.raises(TimeoutError),
    ):
        await reached(opener("127.0.0.2", "127.0.0.3"), port, timeout=0.2)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_local_address_is_the_one_that_was_named() -> None:
    opening = opener("127.0.0.1").open
    with (
        listening("127.0.0.1") as port,
        await opening("name.test", port, timeout=PATIENT_SECONDS, local_host="127.0.0.9") as sock,
    ):
        assert sock.getsockname()[0] == "127.0.0.9"


@pytest.mark.parametrize("factory", [None, uvloop.Loop], ids=["asyncio", "uvloop"])
def test_an_address_with_a_zone_is_reached(factory: type[asyncio.AbstractEventLoop] | None) -> None:
    """uvloop's own `sock_connect` loses the zone."""
    zoned = [line.split() for line in _interfaces() if line.split()[3] == "20"]
    if not zoned:
        pytest.skip("no interface has a link-local IPv6 address")
    digits, name = zoned[0][0], zoned[0][5]
    host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))

    async def open_it() -> str:
        with await SocketOpener(Resolver()).open(f"{host}%{name}", port, timeout=PATIENT_SECONDS) as sock:
            return str(sock.getpeername()[0])

    with listening("::") as port, asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(open_it()) == host


def _interfaces() -> list[str]:
    """https://www.kernel.org/doc/html/latest/filesystems/proc.html: address, index, prefix, scope, flags, name."""
    try:
        with open("/proc/net/if_inet6") as file:
            return file.readlines()
    except FileNotFoundError:
        return []
