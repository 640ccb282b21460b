"""Clients of each kind of store, and how they connect."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis.asyncio
import trustme
from aiohttp import web
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot
from redis.exceptions import NoScriptError

import stateroom
from stateroom.backend.budget import BUDGET, Budget, within_budget
from stateroom.backend.client import RedisClient, Script
from stateroom.backend.clients import make_client
from stateroom.backend.cluster import ClusterClient
from stateroom.backend.dial import Dialer, Tls
from stateroom.backend.sentinel_client import SentinelClient
from stateroom.drills import topology
from stateroom.drills.node import Node, server_binary, until
from stateroom.drills.ports import free_port
from stateroom.errors import SettingsError, StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ..conftest import require_tool
from ..patience import at_most
from ..servers import AS_USERS_HAVE_IT, Servers
from .cluster_changes import half_moved, owner_of

ECHO_SCRIPT = Script.of("redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]")


def _call(make: Callable[[], Any], _: Settings) -> Any:
    return make()


def by_sentinel(**values: Any) -> Any:
    return Sentinel([("localhost", 1)]).master_for("mymaster", **values)  # type: ignore[no-untyped-call]


class TestFactory:
    """What an application's `client_factory` may return. Startup refuses the rest."""

    @pytest.mark.parametrize(
        "made",
        [
            lambda: redis.asyncio.Redis(decode_responses=True),
            lambda: redis.asyncio.from_url("redis://localhost?decode_responses=yes"),
            lambda: redis.asyncio.Redis(connection_pool=redis.asyncio.ConnectionPool(decode_responses=True)),
            lambda: redis.asyncio.Redis(connection_pool=redis.asyncio.BlockingConnectionPool(decode_responses=True)),
            lambda: by_sentinel(decode_responses=True),
            lambda: fakeredis.FakeAsyncRedis(decode_responses=True),
        ],
        ids=["keyword", "url", "pool", "blocking pool", "sentinel", "fakeredis"],
    )
    def test_a_client_that_decodes_answers_stops_startup(self, made: Callable[[], Any]) -> None:
        with pytest.raises(SettingsError, match=r"decode_responses=True.*; leave decode_responses out") as caught:
            stateroom.setup(web.Application(), settings(redis_mode="single"), client_factory=lambda _: made())
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("made", [redis.Redis, lambda: RedisCluster("localhost"), lambda: None])
    def test_what_is_no_client_of_one_server_for_asyncio_stops_startup(self, made: Callable[[], Any]) -> None:
        with pytest.raises(TypeError, match=r"return a redis\.asyncio\.Redis"):
            stateroom.setup(web.Application(), settings(redis_mode="single"), client_factory=lambda _: made())

    def test_a_client_that_answers_in_bytes_is_taken(self) -> None:
        for make in (redis.asyncio.Redis, fakeredis.FakeAsyncRedis, by_sentinel):
            stateroom.setup(web.Application(), settings(redis_mode="single"), client_factory=partial(_call, make))


def settings(**values: Any) -> Settings:
    return Settings(**({"_env_file": None, "cookie_keys": new_key(), "database_url": "none"} | values))


async def started(made: Settings) -> RedisClient:
    client = make_client(made, metrics=Metrics())
    try:
        await client.start()
    except BaseException:
        await client.aclose()
        raise
    return client


async def test_commands_scripts_and_pipelines_work_on_every_store(client: RedisClient, store_kind: str) -> None:
    await client.execute("k", "SET", "k", "1")
    assert await client.execute("k", "GET", "k") == b"1"
    await client.execute("h", "HSET", "h", "a", 1)
    assert await client.execute("h", "HGETALL", "h") == {b"a": b"1"}
    assert await client.run(ECHO_SCRIPT, ["k"], ["2"]) == b"2"
    assert await client.pipeline("k", [("GET", "k"), ("STRLEN", "k")]) == [b"2", 1]
    reply, replicas = await client.run_durably(ECHO_SCRIPT, ["k"], ["3"], replicas=1, timeout=1)
    assert reply == b"3"
    assert replicas >= {"sentinel": 1, "cluster": 1}.get(store_kind, 0)
    for key in client.shards():
        assert await client.execute(key, "PING") in {b"PONG", True}
    assert client.is_available


async def test_a_server_that_lost_the_scripts_is_told_them_again(client: RedisClient) -> None:
    await client.run(ECHO_SCRIPT, ["k"], ["1"])
    for key in client.shards():
        await client.execute(key, "SCRIPT", "FLUSH")
    assert await client.run(ECHO_SCRIPT, ["k"], ["2"]) == b"2"


async def test_an_error_reply_in_a_pipeline_stands_in_its_place(servers: Servers) -> None:
    client = await started(servers.settings("valkey"))
    await client.execute("k", "SET", "k", "1")
    replies = await client.pipeline("k", [("HGETALL", "k"), ("EVALSHA", "0" * 40, 0), ("GET", "k")])
    assert isinstance(replies[1], NoScriptError)
    assert replies[2] == b"1"
    await client.aclose()


async def test_an_exhausted_pool_is_load_and_no_outage(servers: Servers) -> None:
    client = await started(servers.settings("valkey", redis_pool_size=1, redis_min_idle=0, **AS_USERS_HAVE_IT))
    blocking = asyncio.ensure_future(client.pipeline("k", [("BLPOP", "nothing", "1")], timeout=2))
    while client.pool_figures().in_use == 0:
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable) as fault:
        await client.pipeline("k", [("PING",)])
    assert fault.value.kind == "pool_exhausted"
    assert client.is_available
    assert await client.execute("k", "PING") == b"PONG"
    await blocking
    assert client.pool_figures().idle == 1
    await client.aclose()


async def test_a_wrong_password_stops_the_start_and_is_not_repeated(tmp_path: Path) -> None:
    dialer = Dialer(1, 1, password="right")
    async with topology.single(tmp_path, options={"requirepass": "right"}, dialer=dialer) as node:
        with pytest.raises(SettingsError, match="REDIS_PASSWORD") as error:
            await started(settings(redis_host=node.host, redis_port=node.port, redis_password="wrong-secret"))
        assert "wrong-secret" not in str(error.value)
        client = await started(settings(redis_url=f"redis://:right@{node.address}/2"))
        assert await client.execute("k", "SET", "k", "1") == b"OK"
        assert await node.call("EXISTS", "k") == 0  # It is in database 2.
        await client.aclose()


async def test_a_server_that_is_away_at_the_start_is_found_when_it_comes(tmp_path: Path) -> None:
    node = Node(tmp_path / "late", server_binary())
    client = await started(settings(redis_host=node.host, redis_port=node.port))
    with pytest.raises(StoreUnavailable):
        await client.execute("k", "PING")
    assert not client.is_available
    await node.start()
    await until(lambda: _is_available(client), "the server is found")
    assert await client.execute("k", "PING") == b"PONG"
    await client.aclose()
    await node.stop()


async def test_ipv6_addresses_work(tmp_path: Path) -> None:
    async with topology.single(tmp_path, host="::1") as node:
        for made in (settings(redis_host="::1", redis_port=node.port), settings(redis_url=f"redis://[::1]:{node.port}")):
            client = await started(made)
            assert await client.execute("k", "PING") == b"PONG"
            await client.aclose()


# Sentinel


async def test_a_failover_is_followed_without_a_restart(tmp_path: Path) -> None:
    async with topology.sentinels(tmp_path, down_after_ms=1000) as setup:
        listed = " , ".join(str(each.address) for each in setup.sentinels)  # Spaces are allowed.
        client = await started(settings(redis_sentinels=listed))
        assert isinstance(client, SentinelClient)
        await client.execute("k", "SET", "k", "1")
        assert await client.run_durably(ECHO_SCRIPT, ["k"], ["1"], replicas=2, timeout=1) == (b"1", 2)
        await setup.primary.kill()
        await until(lambda: _writes(client), "a write reaches the promoted replica", seconds=15)
        assert await client.execute("k", "GET", "k") is not None
        assert (await client.execute("k", "ROLE"))[0] == b"master"
        assert client.watcher.primary in {node.address for node in setup.nodes[1:]}
        await client.aclose()


async def test_a_sentinel_that_hangs_delays_nobody(servers: Servers) -> None:
    hung = servers.sentinel.sentinels[0]
    hung.pause()
    try:
        with at_most(2):
            client = await started(servers.settings("sentinel", **AS_USERS_HAVE_IT))
            assert await client.execute("k", "PING") == b"PONG"
        await client.aclose()
    finally:
        hung.resume()


async def test_when_no_sentinel_answers_each_ones_cause_is_named() -> None:
    one, two = free_port(), free_port()
    client = await started(settings(redis_sentinels=f"127.0.0.1:{one}, [::1]:{two}"))
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{one}: .*\[::1\]:{two}: "):
        await client.execute("k", "PING")
    await client.aclose()


# Cluster


async def test_a_moved_slot_is_followed(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes:
        client = await started(settings(redis_cluster_nodes=str(nodes[0].address)))
        assert isinstance(client, ClusterClient)
        await client.execute("k", "SET", "k", "1")
        await client.execute("h{k}", "HSET", "h{k}", "a", "1", "b", "2")
        async with half_moved(nodes[:3], "k", ["k", "h{k}"]) as target:
            # The old owner answers ASK for these keys.
            settled = client.standing("k")
            assert await client.execute("k", "GET", "k") == b"1"
            assert await client.execute("h{k}", "HGETALL", "h{k}") == {b"a": b"1", b"b": b"2"}
            assert await client.run(ECHO_SCRIPT, ["k"], ["2"]) == b"2"
            reply, reached = await client.run_durably(ECHO_SCRIPT, ["k"], ["3"], replicas=1, timeout=1)
            assert (reply, reached) == (b"3", 1)
            assert client.standing("k") is not settled, "one shard is believed while another answers"
        # After the move: the client follows MOVED, and remembers the new owner.
        assert await client.execute("k", "GET", "k") == b"3"
        assert client._owners[key_slot(b"k")] == target.address

        async def is_believed() -> bool:
            return client.standing("k").is_believed

        await until(is_believed, "the map names the new owner too")
        await client.aclose()


async def test_a_script_waits_until_its_keys_are_on_one_side(tmp_path: Path) -> None:
    both = Script.of("return redis.call('MGET', KEYS[1], KEYS[2])")
    unforeseen = Script.of("return redis.call('MGET', KEYS[1], '{k}2')")
    async with topology.cluster(tmp_path) as nodes:
        client = await started(settings(redis_cluster_nodes=str(nodes[0].address), redis_read_timeout=5))
        for key in ("{k}1", "{k}2"):
            await client.execute(key, "SET", key, key)
        async with half_moved(nodes[:3], "{k}1", ["{k}2"]):
            asked = [
                asyncio.create_task(client.run(both, ["{k}1", "{k}2"])),
                asyncio.create_task(client.run_durably(both, ["{k}1", "{k}2"], [], replicas=0, timeout=0.1)),
                asyncio.create_task(client.run(unforeseen, ["{k}1"])),
            ]
            done, _ = await asyncio.wait(asked, timeout=0.3)
            assert not done
        found = [b"{k}1", b"{k}2"]
        plain, (durable, _), unforeseen_reply = await asyncio.gather(*asked)
        assert plain == durable == unforeseen_reply == found
        await client.aclose()


async def test_many_that_are_sent_to_an_unknown_shard_at_once_arrive(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes:
        client = await started(settings(redis_cluster_nodes=str(nodes[0].address)))
        assert isinstance(client, ClusterClient)
        owner = await owner_of(nodes[:3], "k")
        other = next(node for node in nodes[:3] if node is not owner)
        # As after a shard was added: the client does not know the owner.
        await client._shards.pop(owner.address).aclose()
        client._owners[key_slot(b"k")] = other.address
        assert await asyncio.gather(*(client.execute("k", "GET", "k") for _ in range(50))) == [None] * 50
        await client.aclose()


# TLS and ACL rules, with Debian's Redis: the embedded server has no TLS


@pytest.fixture
async def tls_files(tmp_path: Path) -> dict[str, Path]:
    authority = trustme.CA()
    certificate = authority.issue_cert("redis.example.com")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    return files


def tls_dialer(files: dict[str, Path], **values: Any) -> Dialer:
    context = ssl.create_default_context(cafile=files["ca"])
    return Dialer(2, 5, tls=Tls(context, "redis.example.com"), **values)


async def test_tls_checks_the_servers_name(tmp_path: Path, tls_files: dict[str, Path]) -> None:
    async with topology.single(
        tmp_path / "tls", binary=require_tool("redis-server"), tls_files=tls_files, dialer=tls_dialer(tls_files)
    ) as node:
        tls = {"redis_url": f"rediss://{node.address}", "redis_tls_ca": tls_files["ca"]}
        client = await started(settings(**tls, redis_tls_server_name="redis.example.com"))
        assert await client.execute("k", "SET", "k", "1") == b"OK"
        assert await client.pipeline("k", [("GET", "k")]) == [b"1"]
        await client.aclose()
        for wrong in ({"redis_tls_server_name": "other.example.com"}, {}):
            client = await started(settings(**tls, **wrong))
            with pytest.raises(StoreUnavailable, match=r"(?i)certificate|mismatch|ssl"):
                await client.execute("k", "PING")
            await client.aclose()


async def test_sentinels_and_servers_have_tls_and_users_of_their_own(tmp_path: Path, tls_files: dict[str, Path]) -> None:
    binary = require_tool("redis-server")
    server_users = ["user default on >server-admin ~* &* +@all", "user app on >app-secret ~session:* &* +@all"]
    watch_users = [
        "user default on >watch-admin ~* &* +@all",
        "user asker on >asker-secret &* +sentinel +subscribe +hello +ping +auth",
    ]
    replication = ["masterauth server-admin"]
    auth = [f"sentinel auth-pass {topology.SERVICE_NAME} server-admin", "sentinel sentinel-pass watch-admin"]
    async with topology.sentinels(
        tmp_path, binary=binary, replicas=1, tls_files=tls_files,
        server_lines=[*server_users, *replication], sentinel_lines=[*watch_users, *auth],
        dialer=tls_dialer(tls_files, password="server-admin"), sentinel_dialer=tls_dialer(tls_files, password="watch-admin"),
    ) as setup:  # fmt: skip
        listed = ",".join(str(each.address) for each in setup.sentinels)
        common = {
            "redis_sentinels": listed, "redis_tls": True, "redis_tls_ca": tls_files["ca"],
            "redis_tls_server_name": "redis.example.com", "redis_username": "app", "redis_password": "app-secret",
            "redis_sentinel_username": "asker", "redis_sentinel_password": "asker-secret",
        }  # fmt: skip
        client = await started(settings(**common))
        assert await client.execute("session:k", "SET", "session:k", "1") == b"OK"
        with pytest.raises(StoreUnavailable) as fault:
            await client.execute("other", "SET", "other", "1")
        assert fault.value.kind == "credentials"
        await client.aclose()
        client = await started(settings(**common | {"redis_sentinel_password": "wrong"}))
        with pytest.raises(StoreUnavailable, match="no Sentinel names a primary"):
            await client.execute("session:k", "PING")
        await client.aclose()


async def _is_available(client: RedisClient) -> bool:
    return client.is_available


async def _writes(client: RedisClient) -> bool:
    try:
        return bool(await client.execute("k", "SET", "k", "2") == b"OK")
    except StoreUnavailable:
        return False


@contextlib.asynccontextmanager
async def _pair(folder: Path, key: str) -> AsyncIterator[tuple[Node, Node, Callable[[], Awaitable[None]]]]:
    """Two nodes of a Cluster, of which the first has all slots, and a function that gives a key's slot to the other."""
    options = {"cluster-require-full-coverage": "no", "cluster-node-timeout": "60000"}
    async with (
        topology.single(folder / "one", options=topology.cluster_options() | options) as one,
        topology.single(folder / "two", options=topology.cluster_options() | options) as two,
    ):
        name = (await two.call("CLUSTER", "MYID")).decode()

        async def know_each_other() -> bool:
            states = [await each.call("CLUSTER", "NODES") for each in (one, two)]
            return all(state.count(b"connected") == 2 and b"handshake" not in state for state in states)

        async def move() -> None:
            for each in (two, one):
                await each.call("CLUSTER", "SETSLOT", key_slot(key.encode()), "NODE", name)

        await one.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await two.call("CLUSTER", "MEET", one.host, one.port, one.options["cluster-port"])
        await until(know_each_other, "the nodes know each other")
        yield one, two, move


async def test_a_shard_that_refuses_our_password_later_is_away_until_it_does_not(tmp_path: Path) -> None:
    async with _pair(tmp_path, "k") as (one, two, move):
        client = await started(settings(redis_cluster_nodes=str(one.address)))
        assert isinstance(client, ClusterClient)
        await two.call("CONFIG", "SET", "requirepass", "other")
        two.dialer = Dialer(2.0, 5.0, password="other")
        await move()
        with pytest.raises(StoreUnavailable):
            await client.execute("k", "GET", "k")
        await client._refresh()
        await two.call("CONFIG", "SET", "requirepass", "")

        async def is_there() -> bool:
            with contextlib.suppress(StoreUnavailable):
                return bool(await client.execute("k", "SET", "k", "1") == b"OK")
            return False

        await until(is_there, "the shard is found when its password is right")
        await client.aclose()


async def test_a_shard_whose_start_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    def keepers() -> int:
        return sum(task.get_name() == "stateroom redis multiplexer" for task in asyncio.all_tasks())

    async def request(client: RedisClient) -> None:
        BUDGET.set(Budget(0.2))
        with pytest.raises(StoreUnavailable):
            await within_budget(client.execute("k", "GET", "k"))

    before = keepers()
    async with _pair(tmp_path, "k") as (one, two, move):
        client = await started(settings(redis_cluster_nodes=str(one.address)))
        await move()
        two.pause()
        try:
            for _ in range(3):
                await asyncio.create_task(request(client))
        finally:
            await client.aclose()
            two.resume()
    assert keepers() == before
