"""One connection's failure says nothing of another: the server is still there for everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from stateroom.backend.budget import BUDGET, Budget
from stateroom.backend.client import Script
from stateroom.backend.doubts import FIRST_DOUBT_PAUSE_SECONDS, LONGEST_DOUBT_PAUSE_SECONDS, Doubts
from stateroom.backend.multiplexer import SHORT_LIFE_SECONDS
from stateroom.backend.pool import TEST_AFTER_SECONDS
from stateroom.backend.server import ServerClient
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import StoreUnavailable
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers
from .fickle import FickleRelay

ADD = "return redis.call('INCR', KEYS[1])"
ONCE = Script.of(ADD)
AGAIN = Script.of(ADD + " -- again", may_repeat=True)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """The test's own server."""
    async with topology.single(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def relay(node: Node) -> AsyncIterator[FickleRelay]:
    async with FickleRelay(node.address) as made:
        yield made


Connect = Callable[..., Any]


@pytest.fixture
async def connect(servers: Servers) -> AsyncIterator[Connect]:
    """Starts clients of a server, which wait longer than the default, so that a slow machine fails no test."""
    async with contextlib.AsyncExitStack() as stack:

        async def started(at: Node | FickleRelay, **values: Any) -> Counted:
            address = at.address if isinstance(at, Node) else at.at
            settings = servers.settings(
                "fakeredis", redis_host=address.host, redis_port=address.port, **({"redis_read_timeout": 4} | values)
            )
            made = Counted(settings)
            await made.client.start()
            stack.push_async_callback(made.client.aclose)
            return made

        yield started


class Counted:
    """A client and its metrics."""

    def __init__(self, settings: Settings) -> None:
        from stateroom.backend.clients import make_client

        self.metrics = Metrics()
        made = make_client(settings, metrics=self.metrics)
        assert isinstance(made, ServerClient)
        self.client = made

    def replaced(self, reason: str) -> float:
        return float(self.metrics.redis_connections_replaced[reason]._value.get())

    async def durably(self, script: Script = ONCE, key: str = "k") -> tuple[Any, int]:
        return await self.client.run_durably(script, [key], [], replicas=0, timeout=1)

    async def is_quick(self) -> bool:
        """Reads and writes have their own connections."""
        return self.client._shared._writes.is_connected and self.client.is_connected


async def open_pool(made: Counted, count: int) -> None:
    """Make so many pooled connections, all idle."""
    await asyncio.gather(*(made.client.pipeline("k", [("BLPOP", "nothing", "0.1")], timeout=3) for _ in range(count)))
    assert made.client.pool_figures().idle >= count


async def test_the_server_closes_idle_connections(node: Node, connect: Connect) -> None:
    made = await connect(node)
    await open_pool(made, 10)
    await node.call("CONFIG", "SET", "timeout", "1")

    async def are_closed() -> bool:
        return b"flags=N" not in await others(node)

    async def others(node: Node) -> bytes:
        """Idle ordinary clients beside the asker. The shared connections are used each second."""
        lines = (await node.call("CLIENT", "LIST", "TYPE", "normal")).splitlines()
        idle = [line for line in lines if b"cmd=blpop" in line]
        return b"\n".join(idle)

    await until(are_closed, "the server has closed the pooled connections")
    replies = await asyncio.gather(*(made.durably() for _ in range(10)))
    assert sorted(reply for reply, _ in replies) == list(range(1, 11))
    assert made.client.is_available
    assert made.replaced("closed") == 10


async def test_an_administrator_kills_every_connection(node: Node, connect: Connect) -> None:
    made = await connect(node)
    await open_pool(made, 5)
    for number in range(5):
        await asyncio.sleep(SHORT_LIFE_SECONDS * 2)  # A connection that is lost sooner counts as a failed dial.
        await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        replies = await asyncio.gather(
            made.durably(AGAIN, f"d{number}"), made.client.run(AGAIN, [f"r{number}"]), made.client.execute("k", "GET", "k")
        )
        assert replies[0][0] in {1, 2}
        assert made.client.is_available


async def test_a_firewall_forgets_idle_connections(node: Node, relay: FickleRelay, connect: Connect) -> None:
    made = await connect(relay)
    await open_pool(made, 10)
    await asyncio.sleep(TEST_AFTER_SECONDS + 0.1)  # It is the time that makes a connection idle.
    relay.forgets_after = TEST_AFTER_SECONDS
    assert (await made.durably())[0] == 1
    relay.forgets_after = float("inf")
    assert made.replaced("silent") == 10  # One was tested. The others were idle for as long.
    assert relay.forgotten <= 3
    assert made.client.is_available
    assert (await made.durably())[0] == 2


async def test_a_refused_connection_costs_the_shared_one_nothing(node: Node, connect: Connect) -> None:
    made = await connect(node, redis_min_idle=0)
    await until(made.is_quick, "both shared connections are there")
    lost: list[str] = []
    made.client._shared._on_lost = lambda: lost.append("the shared connection")
    await node.call("CONFIG", "SET", "maxclients", "2")  # Both are there already.
    replies = await asyncio.gather(*(made.durably() for _ in range(10)))
    assert sorted(reply for reply, _ in replies) == list(range(1, 11))
    assert {confirmed for _, confirmed in replies} == {0}  # No WAIT was sent.
    assert await made.client.execute("k", "GET", "k") == b"10"
    with pytest.raises(StoreUnavailable, match="max number of clients"):
        await made.client.pipeline("k", [("PING",)])
    assert made.client.is_available
    assert lost == []


async def test_writes_go_on_if_their_connection_cannot_be_made(node: Node, connect: Connect) -> None:
    made = await connect(node, redis_min_idle=0)
    await until(made.is_quick, "both shared connections are there")
    await node.call("CONFIG", "SET", "maxclients", "1")
    made.client._shared._writes.drop(StoreUnavailable("lost"))

    async def is_refused() -> bool:
        return not made.client._shared._write_breaker.is_closed

    await until(is_refused, "the server refuses the connection for writes")
    assert await made.client.run(ONCE, ["k"]) == 1
    assert await made.client.execute("k", "SET", "k", 7) == b"OK"
    assert await made.client.execute("k", "GET", "k") == b"7"


async def test_a_read_whose_reply_is_lost_is_sent_again(relay: FickleRelay, connect: Connect) -> None:
    made = await connect(relay)
    await made.client.execute("k", "SET", "k", 7)
    relay.loses_reply_to = b"GET"
    assert await made.client.execute("k", "GET", "k") == b"7"
    assert relay.lost == 1
    assert made.client.is_available


@pytest.mark.parametrize("way", ["shared", "pooled"])
async def test_a_script_that_may_be_repeated_is_sent_again(relay: FickleRelay, connect: Connect, way: str) -> None:
    made = await connect(relay)
    await made.durably(AGAIN, "other")  # The server knows the script.
    relay.loses_reply_to = b"twice"
    if way == "shared":
        assert await made.client.run(AGAIN, ["twice"]) == 2
    else:
        assert await made.client.run_durably(AGAIN, ["twice"], [], replicas=0, timeout=1) == (2, 0)
    assert relay.lost == 1
    assert made.client.is_available


@pytest.mark.parametrize("way", ["shared", "pooled"])
async def test_another_script_is_never_sent_again(relay: FickleRelay, connect: Connect, way: str) -> None:
    made = await connect(relay)
    await made.durably(ONCE, "other")
    relay.loses_reply_to = b"once"
    with pytest.raises(StoreUnavailable) as fault:
        await (made.client.run(ONCE, ["once"]) if way == "shared" else made.durably(ONCE, "once"))
    assert fault.value.kind == "connection"
    assert relay.lost == 1
    assert await made.client.execute("once", "GET", "once") == b"1"
    assert made.client.is_available


async def test_a_plain_write_is_never_sent_again(relay: FickleRelay, connect: Connect) -> None:
    """A cursor or a count is meant for the server of that connection."""
    made = await connect(relay)
    relay.loses_reply_to = b"INCR"
    with pytest.raises(StoreUnavailable):
        await made.client.execute("k", "INCR", "k")
    assert await made.client.execute("k", "GET", "k") == b"1"


async def test_reads_do_not_wait_behind_a_write_that_the_server_holds_back(node: Node, connect: Connect) -> None:
    made = await connect(node, redis_read_timeout=0.5)
    await until(made.is_quick, "both shared connections are there")
    await made.client.execute("k", "SET", "k", 7)
    await node.call("CLIENT", "PAUSE", "60000", "WRITE")
    for _ in range(3):
        writing = asyncio.ensure_future(made.client.run(ONCE, ["k"]))
        while not writing.done():
            assert await made.client.execute("k", "GET", "k") == b"7"
            await asyncio.sleep(0.01)
        assert isinstance(writing.exception(), StoreUnavailable)
    assert made.client.is_available
    await node.call("CLIENT", "UNPAUSE")

    async def can_write() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return bool(await made.client.run(ONCE, ["k"]) > 7)
        return False

    await until(can_write, "writes work again")


async def test_a_connection_to_another_server_drops_all(node: Node, relay: FickleRelay, connect: Connect, tmp_path: Path) -> None:
    made = await connect(relay, redis_min_idle=0)
    await until(made.is_quick, "both shared connections are there")
    await made.client.execute("k", "SET", "k", "first server")
    glimpse = made.client.standing("k").glimpse
    async with topology.single(tmp_path / "second") as second:
        await second.call("SET", "k", "second server")
        relay.target = second.address
        with contextlib.suppress(StoreUnavailable):
            await made.durably(ONCE, "count")

        async def is_moved() -> bool:
            return bool(await made.client.execute("k", "GET", "k") == b"second server") and await made.is_quick()

        await until(is_moved, "both shared connections lead to the second server")
        assert not glimpse.still_holds()
        assert await node.call("EXISTS", "count") == 0
        await made.client.execute("k", "SET", "k", "written")
        assert await second.call("GET", "k") == b"written"


async def test_without_the_right_to_run_info_there_is_one_shared_connection(node: Node, connect: Connect) -> None:
    await node.call("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-info")
    made = await connect(node, redis_username="app", redis_password="secret")
    assert await made.client.run(ONCE, ["k"]) == 1
    assert await made.client.execute("k", "GET", "k") == b"1"
    assert (await made.durably())[0] == 2
    assert not made.client._shared._writes.is_connected


async def test_two_failed_dials_make_the_server_unavailable(node: Node, connect: Connect) -> None:
    made = await connect(node)
    await node.kill()

    async def is_away() -> bool:
        return not made.client.is_available

    await until(is_away, "the breaker is open")
    with pytest.raises(StoreUnavailable) as fault:
        await made.client.execute("k", "GET", "k")
    assert fault.value.kind == "breaker_open"
    await node.start()

    async def is_back() -> bool:
        return bool(made.client.is_available) and await made.is_quick()

    await until(is_back, "both shared connections are there again")
    assert await made.client.run(ONCE, ["k"]) == 1


async def test_a_queued_write_goes_over_the_reads_connection_if_its_own_cannot_be_made(node: Node, connect: Connect) -> None:
    made = await connect(node, redis_min_idle=0)
    await until(made.is_quick, "both shared connections are there")
    await node.call("CONFIG", "SET", "maxclients", "1")
    made.client._shared._writes.drop(StoreUnavailable("lost"))
    assert made.client._shared._write_breaker.is_closed  # The write waits for the next connection.
    assert await made.client.run(ONCE, ["k"]) == 1
    assert not made.client._shared._write_breaker.is_closed
    assert made.client._shared.pending == 0


async def test_a_caller_with_little_time_left_replaces_only_the_connection_that_it_tested(node: Node, connect: Connect) -> None:
    made = await connect(node, redis_min_idle=0)
    await open_pool(made, 5)
    idle = made.client.pool_figures().idle
    await asyncio.sleep(TEST_AFTER_SECONDS + 0.1)  # It is the time that makes a connection idle.
    node.pause()
    token = BUDGET.set(Budget(0.1))
    try:
        with pytest.raises(StoreUnavailable):
            await made.client.pipeline("k", [("PING",)])
    finally:
        BUDGET.reset(token)
        node.resume()
    assert made.client.pool_figures().idle == idle - 1
    assert made.replaced("silent") <= 1


async def test_an_address_that_leads_to_two_servers_does_not_close_all_connections_all_the_time(
    node: Node, relay: FickleRelay, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with topology.single(tmp_path / "second") as second:
        relay.other = second.address
        made = await connect(relay, redis_min_idle=0)
        since = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - since < 2:
            with contextlib.suppress(StoreUnavailable):
                await made.client.pipeline("k", [("PING",)])
            made.client._pool.drop()  # So that each step dials.
            assert await made.client.execute("k", "PING") == b"PONG"
        assert made.client.is_available
        assert made.client.standing("k").connection_epoch <= 8  # One at first, then after 0, 0.2, 0.6, 1.4, 3.0 s, …
    lines = [each.getMessage() for each in caplog.records if "redis_connection_refused" in each.getMessage()]
    assert len(lines) == 1
    assert "leads to another server" in lines[0]
    assert "let the address of Redis lead to one server" in lines[0]


def test_the_pause_between_doubts_grows_and_shrinks_again() -> None:
    now = 1000.0
    doubts = Doubts(lambda: now)
    counted = []
    while now < 1060:
        if doubts.may_act():
            counted.append(now)
        now += 0.1
    pauses = [later - earlier for earlier, later in itertools.pairwise(counted)]
    assert pauses[0] == pytest.approx(FIRST_DOUBT_PAUSE_SECONDS, abs=0.11)
    assert pauses[-1] == pytest.approx(LONGEST_DOUBT_PAUSE_SECONDS, abs=0.11)
    now += 3 * LONGEST_DOUBT_PAUSE_SECONDS
    assert doubts.may_act()
    now += FIRST_DOUBT_PAUSE_SECONDS + 0.01
    assert doubts.may_act()


async def test_a_connection_that_is_not_made_in_time_is_not_a_matter_of_maxclients(
    node: Node, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    made = await connect(node, redis_min_idle=0)
    node.pause()
    try:
        with pytest.raises(StoreUnavailable) as fault:
            await made.client.pipeline("k", [("PING",)])
    finally:
        node.resume()
    assert fault.value.kind == "timeout"
    [line] = [each.getMessage() for each in caplog.records if "redis_connection_refused" in each.getMessage()]
    assert "maxclients" not in line
    assert "check the load of Redis" in line
