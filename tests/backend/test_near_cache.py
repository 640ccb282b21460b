"""When a copy may replace an answer, with replies and invalidations in every order and a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.crc import key_slot

from stateroom.backend import near_cache
from stateroom.backend.client import Script
from stateroom.backend.clients import make_client
from stateroom.backend.cluster import ClusterClient
from stateroom.backend.near_cache import ASK_SECONDS, COPIES_AT_MOST, HEARD_SECONDS, KNOWN_SECONDS, LARGEST_BYTES, NearCache
from stateroom.backend.server import ServerClient
from stateroom.drills import topology
from stateroom.drills.node import Node, server_binary, until
from stateroom.errors import StoreUnavailable
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..conftest import require_tool
from ..logs import capture_events
from ..servers import Servers

MAX_AGE = 30.0
FIELDS = {b"u": b"i1", b".cart": b"[1]"}


class Place:
    """A cache over a connection that sends invalidations, with a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(near_cache, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.near = NearCache(MAX_AGE)
        self.near._is_tracking = True

    def ask(self, key: str = "k") -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self.near.keep_reply(key, reply)
        self.near.batch_sent()
        return reply

    async def read(self, key: str = "k", fields: dict[bytes, bytes] = FIELDS) -> None:
        self.ask(key).set_result(fields)
        await asyncio.sleep(0)

    def changed(self, *keys: str) -> None:
        self.near.on_push([b"invalidate", [key.encode() for key in keys]])


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(monkeypatch)


async def test_what_was_read_is_kept_until_it_changes(place: Place) -> None:
    await place.read()
    assert place.near.get("k") is FIELDS
    assert place.near.get("other") is None
    place.changed("other", "k")
    assert place.near.get("k") is None


async def test_news_that_comes_right_behind_the_reply_is_not_overtaken_by_it(place: Place) -> None:
    place.ask().set_result(FIELDS)
    place.changed("k")  # It was read from the socket together with the reply.
    await asyncio.sleep(0)
    assert place.near.get("k") is None


async def test_of_two_reads_under_way_none_outlives_news_that_concerns_either(place: Place) -> None:
    for first, second in itertools.product([False, True], repeat=2):
        older, newer = place.ask(), place.ask()
        older.set_result(FIELDS)
        if first:
            await asyncio.sleep(0)
        place.changed("k")
        newer.set_result({b"u": b"i2"})  # The client cannot know whether it ran before the change or after it.
        if second:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert place.near.get("k") is None


async def test_a_write_of_our_own_strikes_out_reads_under_way(place: Place) -> None:
    reply = place.ask()
    place.near.drop(["k"])
    reply.set_result(FIELDS)
    await asyncio.sleep(0)
    assert place.near.get("k") is None


async def test_a_flush_forgets_all_and_reads_under_way_too(place: Place) -> None:
    await place.read("one")
    reply = place.ask("two")
    place.near.on_push([b"invalidate", None])
    reply.set_result(FIELDS)
    await asyncio.sleep(0)
    assert len(place.near) == 0


async def test_other_news_is_none(place: Place) -> None:
    await place.read()
    place.near.on_push([b"message", b"k", b"x"])
    assert place.near.get("k") is FIELDS


async def test_nothing_outlives_its_connection(place: Place) -> None:
    await place.read("one")
    reply = place.ask("two")
    place.near.lost()
    place.near._is_tracking = True  # A new connection is made.
    reply.set_result(FIELDS)  # It was read from the first connection's socket.
    await asyncio.sleep(0)
    assert len(place.near) == 0
    assert place.near._heard_at == 0


async def test_without_news_nothing_is_kept(place: Place) -> None:
    place.near._is_tracking = False
    await place.read()
    assert len(place.near) == 0


async def test_one_read_now_and_then_goes_to_the_server(place: Place) -> None:
    """Meanwhile the others use the copy. After the answer all use it."""
    await place.read()
    place.now += ASK_SECONDS * 1.1
    assert place.near.get("k") is None
    reply = place.ask()
    assert place.near.get("k") is FIELDS
    reply.set_result(FIELDS)
    await asyncio.sleep(0)
    place.now += ASK_SECONDS * 0.9
    assert place.near.get("k") is FIELDS


@pytest.mark.parametrize("outcome", ["silence", "fault", "cancelled"])
async def test_a_server_that_is_not_heard_makes_copies_useless(place: Place, outcome: str) -> None:
    await place.read()
    began, asked = place.now, 0
    while place.near.get("k") is not None or place.now - began < HEARD_SECONDS * 0.9:
        reply = place.ask()
        asked += 1
        if outcome == "fault":
            reply.set_exception(StoreUnavailable())
        elif outcome == "cancelled":
            reply.cancel()
        await asyncio.sleep(0)
        place.now += ASK_SECONDS / 2
    assert asked > HEARD_SECONDS / ASK_SECONDS
    assert place.now - began < KNOWN_SECONDS


async def test_a_late_answer_tells_what_was_true_when_it_was_asked(place: Place) -> None:
    reply = place.ask()
    place.now += HEARD_SECONDS * 1.1
    reply.set_result(FIELDS)
    await asyncio.sleep(0)
    place.near._read_at = place.now
    assert place.near.get("k") is None


async def test_an_answer_is_as_new_as_the_moment_at_which_the_question_left(place: Place) -> None:
    """In a busy loop a request is written long after it was made. The server cannot have answered before the write."""
    reply = asyncio.get_running_loop().create_future()
    place.near.keep_reply("k", reply)
    place.now += HEARD_SECONDS * 1.1
    place.near.batch_sent()
    place.near.batch_sent()  # A later request is written later, which says nothing about this answer.
    place.now += HEARD_SECONDS * 0.9
    reply.set_result(FIELDS)
    await asyncio.sleep(0)
    place.near._read_at = place.now
    assert place.near.get("k") is FIELDS
    place.now += HEARD_SECONDS * 0.2
    assert place.near.get("k") is None


async def test_no_copy_is_older_than_the_setting(place: Place) -> None:
    await place.read()
    for _ in range(10_000):
        place.now += ASK_SECONDS
        await place.read("another")  # The server answers all the time.
        if place.near.get("k") is None:
            break
    assert place.now - 1000 == pytest.approx(MAX_AGE, abs=ASK_SECONDS * 1.1)


async def test_a_session_that_is_gone_and_one_that_is_large_are_not_kept(place: Place) -> None:
    await place.read("gone", {})
    await place.read("large", {b".x": b"x" * LARGEST_BYTES})
    assert len(place.near) == 0


async def test_what_was_used_least_goes_first(place: Place) -> None:
    for number in range(COPIES_AT_MOST):
        await place.read(str(number))
    assert place.near.get("0") is FIELDS
    await place.read("one more")
    assert len(place.near) == COPIES_AT_MOST
    assert place.near.get("0") is FIELDS
    assert place.near.get("1") is None


# Real servers


@pytest.fixture
def always_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an invalidation ends a copy."""
    monkeypatch.setattr(near_cache, "HEARD_SECONDS", 3600)
    monkeypatch.setattr(near_cache, "ASK_SECONDS", 3600)


def settings(node: Node, **values: Any) -> Settings:
    own: dict[str, Any] = {
        "redis_host": node.host,
        "redis_port": node.port,
        "database_url": "none",
        "session_cache_max_age": MAX_AGE,
    }
    return Settings(_env_file=None, cookie_keys="A" * 43, **(own | values))


async def started(made: Settings) -> ServerClient:
    client = make_client(made, metrics=Metrics())
    assert isinstance(client, ServerClient)
    await client.start()
    return client


def near_of(client: ServerClient) -> NearCache:
    near = client.standing("").near
    assert near is not None
    return near


async def forgotten(near: NearCache) -> None:
    async def is_empty() -> bool:
        return len(near) == 0

    await until(is_empty, "the copies are dropped")


@pytest.fixture(params=["valkey", "redis"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """The test's own server."""
    binary = server_binary() if request.param == "valkey" else require_tool("redis-server")
    async with topology.single(tmp_path / "server", binary=binary) as server:
        yield server


INCREASE = "return redis.call('HINCRBY', KEYS[1], 'f', 1)"


@pytest.mark.usefixtures("always_heard")
@pytest.mark.parametrize(
    "change",
    [("HSET", "k", "f", "2"), ("DEL", "k"), ("PEXPIRE", "k", 1), ("FLUSHALL",), ("EVAL", INCREASE, 1, "k")],
    ids=lambda change: change[0],
)  # fmt: skip
async def test_the_server_tells_of_every_change(node: Node, change: tuple[str | int, ...]) -> None:
    client = await started(settings(node))
    try:
        for _ in range(2):  # It invalidates once per read of a key.
            await node.call("DEL", "k")  # A key that was about to expire would pass its time on to the new key.
            await node.call("HSET", "k", "f", "1")
            await client.execute("k", "HGETALL", "k")
            assert near_of(client).get("k") is not None
            await node.call(*change)
            await forgotten(near_of(client))
    finally:
        await client.aclose()


@pytest.mark.usefixtures("always_heard")
async def test_a_server_that_remembers_too_little_says_so(node: Node) -> None:
    await node.call("CONFIG", "SET", "tracking-table-max-keys", 10)
    client = await started(settings(node))
    try:
        for number in range(200):
            await node.call("HSET", f"k{number}", "f", "1")
            await client.execute("", "HGETALL", f"k{number}")

        async def is_bounded() -> bool:
            return len(near_of(client)) <= 10

        await until(is_bounded, "no more is kept than the server would tell of")
    finally:
        await client.aclose()


@pytest.mark.usefixtures("always_heard")
async def test_a_connection_that_is_killed_takes_its_copies_along(node: Node) -> None:
    client = await started(settings(node))
    try:
        await node.call("HSET", "k", "f", "1")
        await client.execute("k", "HGETALL", "k")
        before = client.standing("").connection_epoch
        await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await forgotten(near_of(client))

        async def is_back() -> bool:
            return client.standing("").connection_epoch > before

        await until(is_back, "another connection is made")
        await client.execute("k", "HGETALL", "k")
        assert near_of(client).get("k") == {b"f": b"1"}
        await node.call("HSET", "k", "f", "2")  # The new connection tells of it too.
        await forgotten(near_of(client))
    finally:
        await client.aclose()


@pytest.mark.usefixtures("always_heard")
async def test_what_a_script_of_ours_wrote_is_not_read_from_a_copy(node: Node) -> None:
    """Even if the invalidation is lost: over the shared connection, and over the pool's."""
    client = await started(settings(node))
    near = near_of(client)
    client._shared.reads._link._on_push = None  # type: ignore[union-attr]
    script = Script.of(INCREASE)
    try:
        for number in range(1, 20):
            if number % 2:
                await client.run(script, ["k"])
            else:
                await client.run_durably(script, ["k"], (), replicas=0, timeout=0.1)
            assert await client.execute("k", "HGETALL", "k") == {b"f": str(number).encode()}
            assert near.get("k") is not None
    finally:
        await client.aclose()


async def test_a_user_who_may_not_ask_for_news_costs_the_copies_only(node: Node) -> None:
    rights = ("on", ">secret", "~*", "+@all")
    await node.call("ACL", "SETUSER", "old", *rights, "-client|tracking")
    await node.call("ACL", "SETUSER", "new", *rights)
    for user, keeps in (("old", 0), ("new", 1)):
        with capture_events() as logs:
            client = await started(settings(node, redis_username=user, redis_password="secret"))
            try:
                await node.call("HSET", "k", "f", "1")
                assert await client.execute("k", "HGETALL", "k") == {b"f": b"1"}
                assert len(near_of(client)) == keeps
            finally:
                await client.aclose()
        assert [entry["fix"] for entry in logs if entry["event"] == "near_cache_off"] == (
            [] if keeps else ["give the Redis user of the service the right +client|tracking, as in deploy/users.acl"]
        )


async def test_a_plain_client_does_without_and_says_so(servers: Servers) -> None:
    made = servers.settings("fakeredis", session_cache_max_age=MAX_AGE)
    with capture_events() as logs:
        client = make_client(made, Servers.fake_redis, metrics=Metrics())
    assert client.standing("").near is None
    assert [entry["event"] for entry in logs] == ["near_cache_off"]


async def test_off_unless_asked_for(node: Node) -> None:
    client = await started(settings(node, session_cache_max_age=0))
    try:
        assert client.standing("").near is None
        listed = await node.call("CLIENT", "LIST")
        flags = [word for word in listed.decode().split() if word.startswith("flags=")]
        assert not any("t" in word.removeprefix("flags=") for word in flags)
    finally:
        await client.aclose()


async def id_of(node: Node) -> str:
    return str((await node.call("CLUSTER", "MYID")).decode())


async def key_by_key(source: Node, target: Node, slot: int, key: str) -> None:
    await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", await id_of(source))
    await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", await id_of(target))
    await source.call("MIGRATE", target.host, target.port, key, 0, 5000)
    for node in (target, source):
        await node.call("CLUSTER", "SETSLOT", slot, "NODE", await id_of(target))


async def as_a_whole(source: Node, target: Node, slot: int, key: str) -> None:
    """As Valkey 9 does it."""
    await source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", await id_of(target))


@pytest.mark.usefixtures("always_heard")
@pytest.mark.parametrize("move", [key_by_key, as_a_whole])
async def test_a_slot_that_moves_to_another_shard_leaves_no_copy_behind(
    tmp_path: Path, move: Callable[[Node, Node, int, str], Awaitable[None]]
) -> None:
    async with topology.cluster(tmp_path / "cluster") as nodes:
        where = {"redis_cluster_nodes": ",".join(str(node.address) for node in nodes[:3])}
        client = make_client(
            Settings(_env_file=None, cookie_keys="A" * 43, database_url="none", session_cache_max_age=MAX_AGE, **where),
            metrics=Metrics(),
        )
        assert isinstance(client, ClusterClient)
        await client.start()
        try:
            key = "session:{a}:s:x"
            slot = key_slot(key.encode())
            await client.execute(key, "HSET", key, "f", "1")
            await client.execute(key, "HGETALL", key)
            source = next(node for node in nodes[:3] if client._owners[slot] == node.address)
            target = next(node for node in nodes[:3] if node is not source)
            near = client._shards[Address(source.host, source.port)].standing(key).near
            assert near is not None
            assert near.get(key) == {b"f": b"1"}
            await move(source, target, slot, key)
            await forgotten(near)
            assert await client.execute(key, "HGETALL", key) == {b"f": b"1"}
            assert len(near) == 0

            async def is_in_the_map() -> bool:
                return client.standing(key).near is not None

            await until(is_in_the_map, "the map names the new owner too")
            moved = client.standing(key).near
            assert moved is not None
            assert moved is not near
            await client.execute(key, "HGETALL", key)
            assert moved.get(key) == {b"f": b"1"}
        finally:
            await client.aclose()
