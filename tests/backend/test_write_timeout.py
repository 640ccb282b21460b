"""REDIS_WRITE_TIMEOUT: how long a server may take no bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.backend.breaker import Breaker, BreakerState
from stateroom.backend.budget import BUDGET, Budget
from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.backend.dial import Dialer
from stateroom.backend.multiplexer import Multiplexer
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.errors import StoreUnavailable
from stateroom.telemetry.metrics import Metrics

from ..patience import at_most
from ..servers import Servers

WRITE_TIMEOUT = 0.2
PATIENT = 5.0
MUCH = b"x" * 8_000_000
"""More than the buffers of both kernels and of the transport hold together."""
TAKEN_NOT = r"Redis took no command within 0\.2 s \(REDIS_WRITE_TIMEOUT\)"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A server of the test's own, to stop."""
    async with topology.single(tmp_path / "server") as server:
        yield server
        server.resume()


@pytest.fixture
async def multiplexer(node: Node) -> AsyncIterator[Multiplexer]:
    dialer = Dialer(PATIENT, PATIENT)
    made = Multiplexer(
        lambda: dialer.dial(node.address), Breaker(), read_timeout=PATIENT, write_timeout=WRITE_TIMEOUT, connect_timeout=PATIENT
    )
    assert await made.start() is None
    yield made
    await made.aclose()


@pytest.fixture
async def client(node: Node, servers: Servers) -> AsyncIterator[RedisClient]:
    """Its reads are patient; what fails early fails by the write time-out."""
    settings = servers.settings(
        "fakeredis", redis_host=node.host, redis_port=node.port, redis_read_timeout=PATIENT, redis_write_timeout=WRITE_TIMEOUT
    )
    made = make_client(settings, metrics=Metrics())
    await made.start()
    yield made
    await made.aclose()


async def test_a_shared_connection_that_takes_no_bytes_is_given_up(multiplexer: Multiplexer, node: Node) -> None:
    node.pause()
    small = asyncio.ensure_future(multiplexer.execute("PING"))
    with at_most(WRITE_TIMEOUT + 0.5):
        for answer in (multiplexer.execute("ECHO", MUCH), small):
            with pytest.raises(StoreUnavailable, match=TAKEN_NOT) as fault:
                await answer
            assert fault.value.kind == "timeout"
    with pytest.raises(StoreUnavailable) as next_one:
        await multiplexer.execute("PING")
    assert next_one.value.kind == "breaker_open"


async def test_a_small_command_waits_for_its_answer_by_the_read_timeout(multiplexer: Multiplexer, node: Node) -> None:
    node.pause()
    answer = asyncio.ensure_future(multiplexer.execute("PING"))
    _, waiting = await asyncio.wait([answer], timeout=WRITE_TIMEOUT * 2)
    assert waiting == {answer}
    node.resume()
    assert await answer == b"PONG"


async def test_much_that_is_taken_in_time_is_no_fault(multiplexer: Multiplexer) -> None:
    for _ in range(3):
        assert await multiplexer.execute("ECHO", MUCH) == MUCH
    assert multiplexer._breaker.state is BreakerState.CLOSED


async def test_a_paused_loop_is_no_server_that_takes_no_bytes(multiplexer: Multiplexer) -> None:
    answer = asyncio.ensure_future(multiplexer.execute("ECHO", MUCH))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(WRITE_TIMEOUT * 1.5)  # noqa: ASYNC251 (the loop is held up, as by a handler that computes)
    assert await answer == MUCH


async def test_a_pooled_connection_that_takes_no_bytes_is_given_up(client: RedisClient, node: Node) -> None:
    node.pause()
    with at_most(WRITE_TIMEOUT + 0.5), pytest.raises(StoreUnavailable, match=TAKEN_NOT) as fault:
        await client.pipeline("k", [("ECHO", MUCH)])
    assert fault.value.kind == "timeout"
    assert client.is_available  # The failure of one connection says nothing about the shared one.
    node.resume()


async def test_a_request_waits_no_longer_for_having_two_timeouts(servers: Servers, node: Node) -> None:
    times = {"redis_read_timeout": 0.4, "redis_write_timeout": 5}
    settings = servers.settings("fakeredis", redis_host=node.host, redis_port=node.port, **times)
    made = make_client(settings, metrics=Metrics())
    await made.start()
    node.pause()
    for ask in (lambda: made.pipeline("k", [("ECHO", MUCH)]), lambda: made.execute("k", "ECHO", MUCH)):
        BUDGET.set(Budget(settings.redis_read_timeout))
        with at_most(0.4 + 0.3), pytest.raises(StoreUnavailable):
            await ask()
    BUDGET.set(None)
    node.resume()
    await made.aclose()
