"""Many callers share one connection. Each gets its own answer, whatever fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from stateroom.backend.breaker import Breaker, BreakerState
from stateroom.backend.dial import Dialer
from stateroom.backend.multiplexer import Multiplexer
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.errors import StoreUnavailable

from ..patience import at_most

READ_TIMEOUT = 0.5


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """The test's own server, to kill and to stop."""
    async with topology.single(tmp_path / "server") as server:
        yield server


class Probe:
    """A started multiplexer, its breaker, and a record of what they did."""

    def __init__(self, node: Node) -> None:
        self.states: list[BreakerState] = []
        self.moved = asyncio.Condition()
        self.breaker = Breaker(self._see)
        self._dialer = Dialer(0.3, READ_TIMEOUT)
        self._node = node
        self.multiplexer = Multiplexer(
            self._open, self.breaker, read_timeout=READ_TIMEOUT, write_timeout=READ_TIMEOUT, connect_timeout=0.8
        )

    def _see(self, state: BreakerState, reason: str) -> None:
        self.states.append(state)

    async def _open(self) -> AbstractConnection:
        return await self._dialer.dial(self._node.address)

    async def until(self, state: BreakerState) -> None:
        async with asyncio.timeout(10):
            while self.breaker.state is not state:
                await asyncio.sleep(0.005)


@pytest.fixture
async def probe(node: Node) -> AsyncIterator[Probe]:
    made = Probe(node)
    assert await made.multiplexer.start() is None
    yield made
    await made.multiplexer.aclose()


async def test_twenty_thousand_callers_get_their_own_answers_or_a_fault(probe: Probe, node: Node) -> None:
    """Despite cancellations, time-outs and killed connections no answer goes to another caller, none is lost, no task stays."""
    tasks_before = asyncio.all_tasks()
    chance = random.Random(7)
    outcomes = {"answered": 0, "given up": 0, "fault": 0}

    async def ask(number: int) -> None:
        expected = f"answer-{number}".encode()
        try:
            async with asyncio.timeout(chance.choice([None, None, None, 0.001, 0.01])):
                assert await probe.multiplexer.execute("ECHO", expected) == expected
            outcomes["answered"] += 1
        except TimeoutError:
            outcomes["given up"] += 1
        except StoreUnavailable:
            outcomes["fault"] += 1

    async def wave(first: int) -> None:
        asking = [asyncio.create_task(ask(number)) for number in range(first, first + 1000)]
        await asyncio.sleep(0)
        for task in chance.sample(asking, 50):
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        wrong = [each for each in ended if each is not None and not isinstance(each, asyncio.CancelledError)]
        assert wrong == []
        outcomes["given up"] += sum(isinstance(each, asyncio.CancelledError) for each in ended)

    is_over = asyncio.Event()  # Not by a cancellation: redis-py may swallow one while it connects.

    async def kill_connections() -> None:
        while not is_over.is_set():
            await asyncio.sleep(0.03)
            await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    killer = asyncio.create_task(kill_connections())
    for first in range(0, 20_000, 4000):
        await asyncio.gather(*(wave(first + step) for step in range(0, 4000, 1000)))
    is_over.set()
    await killer

    assert sum(outcomes.values()) == 20_000
    assert outcomes["answered"] > 1000
    assert outcomes["given up"] > 500
    await probe.until(BreakerState.CLOSED)
    assert await probe.multiplexer.execute("ECHO", b"after") == b"after"  # It is connected now.
    # Here callers wait when the connection is killed.
    waiting = asyncio.ensure_future(probe.multiplexer.execute("ECHO", b"lost"))
    probe.multiplexer.drop(StoreUnavailable("lost under a caller"))
    with pytest.raises(StoreUnavailable, match="lost under a caller"):
        await waiting
    await probe.until(BreakerState.CLOSED)
    assert await probe.multiplexer.execute("ECHO", b"after") == b"after"
    assert probe.multiplexer.pending == 0
    assert asyncio.all_tasks() - tasks_before <= {asyncio.current_task()}


async def test_a_cancelled_callers_answer_reaches_nobody_else(probe: Probe) -> None:
    first = asyncio.ensure_future(probe.multiplexer.execute("ECHO", b"first"))
    second = asyncio.ensure_future(probe.multiplexer.execute("ECHO", b"second"))
    first.cancel()
    assert await second == b"second"
    assert await probe.multiplexer.execute("ECHO", b"third") == b"third"


async def test_a_command_of_the_tick_in_which_the_connection_goes_waits_for_the_next(probe: Probe) -> None:
    lost = StoreUnavailable("lost")
    probe.multiplexer.drop(lost)  # As connection_lost() does. The keeper has not run yet.
    async with asyncio.timeout(READ_TIMEOUT * 4):
        assert await probe.multiplexer.execute("ECHO", b"next") == b"next"


async def test_a_hung_server_costs_one_read_timeout_and_then_nothing(probe: Probe, node: Node) -> None:
    node.pause()
    with at_most(READ_TIMEOUT + 0.2), pytest.raises(StoreUnavailable) as first:
        await probe.multiplexer.execute("PING")
    assert first.value.kind == "timeout"
    with at_most(0.05), pytest.raises(StoreUnavailable) as second:
        await probe.multiplexer.execute("PING")
    assert second.value.kind == "breaker_open"
    assert second.value.retry_after >= 1
    node.resume()
    await probe.until(BreakerState.CLOSED)
    assert await probe.multiplexer.execute("PING") == b"PONG"
    assert BreakerState.HALF_OPEN in probe.states


async def test_a_killed_server_fails_whoever_waits_at_once(probe: Probe, node: Node) -> None:
    node.pause()
    waiting = [asyncio.ensure_future(probe.multiplexer.execute("PING")) for _ in range(10)]
    await asyncio.sleep(0)
    with at_most(READ_TIMEOUT):
        await node.kill()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in ended} == {StoreUnavailable}
    await probe.until(BreakerState.OPEN)
    await node.start()
    await probe.until(BreakerState.CLOSED)
    assert await probe.multiplexer.execute("PING") == b"PONG"


async def test_a_connection_that_redis_closed_is_made_anew_without_a_fault(probe: Probe, node: Node) -> None:
    await asyncio.sleep(0.15)  # Old enough not to count as a failed attempt.
    await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    async with asyncio.timeout(5):
        while probe.multiplexer.is_connected:
            await asyncio.sleep(0)
    assert await probe.multiplexer.execute("PING") == b"PONG"
    assert probe.states == []


async def test_a_paused_loop_is_not_a_dead_server(probe: Probe) -> None:
    answer = asyncio.ensure_future(probe.multiplexer.execute("PING"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(READ_TIMEOUT * 1.5)  # noqa: ASYNC251 (it blocks the loop, as a handler that computes does)
    assert await answer == b"PONG"
    assert probe.states == []


async def test_a_paused_machine_is_not_a_dead_server(probe: Probe, node: Node) -> None:
    node.pause()
    answers = [asyncio.ensure_future(probe.multiplexer.execute("PING")) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(READ_TIMEOUT * 1.5)  # noqa: ASYNC251 (as if the host gave neither a processor)
    asyncio.get_running_loop().call_later(0.015, node.resume)
    assert await asyncio.gather(*answers) == [b"PONG"] * 100
    assert probe.states == []


async def test_an_error_of_the_command_is_the_callers_and_nobody_elses(probe: Probe) -> None:
    await probe.multiplexer.execute("SET", "text", "1")
    good = asyncio.ensure_future(probe.multiplexer.execute("GET", "text"))
    with pytest.raises(ResponseError, match=r"WRONGTYPE|wrong kind"):
        await probe.multiplexer.execute("HGETALL", "text")
    assert await good == b"1"
    assert probe.states == []


async def test_more_callers_than_may_wait_are_told_so(node: Node) -> None:
    made = Probe(node)
    made.multiplexer._max_pending = 5
    await made.multiplexer.start()
    waiting = [asyncio.ensure_future(made.multiplexer.execute("PING")) for _ in range(5)]
    with pytest.raises(StoreUnavailable) as fault:
        await made.multiplexer.execute("PING")
    assert fault.value.kind == "overloaded"
    assert await asyncio.gather(*waiting) == [b"PONG"] * 5
    assert made.states == []
    await made.multiplexer.aclose()


async def test_closing_fails_whoever_waits_and_leaves_no_task(node: Node) -> None:
    before = asyncio.all_tasks()
    made = Probe(node)
    await made.multiplexer.start()
    node.pause()
    waiting = asyncio.ensure_future(made.multiplexer.execute("PING"))
    await asyncio.sleep(0)
    await made.multiplexer.aclose()
    with pytest.raises(StoreUnavailable) as fault:
        await waiting
    assert fault.value.kind == "closed"
    node.resume()
    assert asyncio.all_tasks() == before
    with pytest.raises(StoreUnavailable):
        await made.multiplexer.execute("PING")
