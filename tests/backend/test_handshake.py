"""What a server refuses in the handshake although it answers: RESP3, and a database that it does not have."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Self

import pytest

from stateroom.backend.client import RedisClient, Script
from stateroom.backend.clients import make_client
from stateroom.backend.dial import Dialer
from stateroom.drills import topology
from stateroom.drills.node import Node, server_binary, until
from stateroom.errors import SettingsError, StoreUnavailable
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ..logs import capture_events
from ..servers import DEBIAN_REDIS, Servers

WITHOUT_HELLO: dict[str, Any] = {"lines": ['rename-command HELLO ""']}
WITH_A_PASSWORD: dict[str, Any] = {"lines": ['rename-command HELLO ""', "user app on >secret ~* &* +@all"]}


def client_of(node: Node, **values: Any) -> RedisClient:
    return make_client(settings(redis_host=node.host, redis_port=node.port, **values), metrics=Metrics())


# The near cache needs RESP3


@pytest.mark.parametrize("binary", [None, DEBIAN_REDIS])
@pytest.mark.parametrize(
    ("server", "values"),
    [
        (WITHOUT_HELLO, {}),
        (WITH_A_PASSWORD, {"redis_username": "app", "redis_password": "secret"}),
    ],
)
async def test_without_hello_the_near_cache_is_off_and_everything_else_works(
    tmp_path: Path, server: dict[str, Any], values: dict[str, Any], binary: str | None
) -> None:
    async with topology.single(tmp_path / "node", binary=binary, dialer=Dialer(2.0, 5.0, protocol=2), **server) as node:
        client = client_of(node, session_cache_max_age=30, **values)
        with capture_events() as events:
            await client.start()
            try:
                await client.execute("a", "HSET", "a", "field", "value")
                for _ in range(3):
                    assert await client.execute("a", "HGETALL", "a") == {b"field": b"value"}
                near = client.standing("a").near
                assert near is not None
                assert near.get("a") is None
                assert await client.pipeline("a", [("HGETALL", "a"), ("PING",)]) == [{b"field": b"value"}, b"PONG"]
            finally:
                await client.aclose()
    [told] = [event for event in events if event["event"] == "near_cache_off"]
    assert "HELLO" in told["reason"]
    assert "rename-command" in told["fix"]
    assert [event["event"] for event in events if event["log_level"] in {"warning", "error"}] == ["near_cache_off"]


async def test_a_wrong_password_is_not_taken_for_a_server_without_hello(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node", lines=["user app on >secret ~* &* +@all"]) as node:
        client = client_of(node, session_cache_max_age=30, redis_username="app", redis_password="wrong")
        with pytest.raises(SettingsError, match="it refuses user app with the configured password"):
            await client.start()
        await client.aclose()


# A database that the server does not have


@pytest.mark.parametrize("number", [99, 2**40])
@pytest.mark.parametrize("cache", [0, 30])
async def test_a_database_that_the_server_does_not_have_stops_startup(servers: Servers, number: int, cache: int) -> None:
    node = servers.valkey
    for client in (
        client_of(node, redis_db=number, session_cache_max_age=cache),
        make_client(
            settings(redis_url=f"redis://{node.address}/{number}", session_cache_max_age=cache),
            metrics=Metrics(),
        ),
    ):
        with pytest.raises(SettingsError, match=rf"REDIS_DB .*REDIS_URL.* no database {number} .*; use 0, or raise `databases`"):
            await client.start()
        await client.aclose()


async def test_a_database_that_the_primary_of_sentinels_does_not_have_stops_startup(servers: Servers) -> None:
    client = make_client(servers.settings("sentinel", redis_db=99), metrics=Metrics())
    with pytest.raises(SettingsError, match="no database 99"):
        await client.start()
    await client.aclose()


async def test_a_node_of_a_cluster_has_database_0_only(servers: Servers) -> None:
    client = client_of(servers.cluster[0], redis_db=1)
    with pytest.raises(SettingsError, match="no database 1 "):
        await client.start()
    await client.aclose()


async def test_a_server_that_was_unavailable_at_startup_and_refuses_later_is_named_once(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", server_binary())
    client = client_of(node, redis_db=99)
    with capture_events() as events:
        await client.start()
        await node.start()
        try:

            async def is_told() -> bool:
                return any(event["event"] == "redis_refuses" for event in events)

            await until(is_told, "the refusal is logged")
            attempts = sum(event["event"] == "redis_refuses" for event in events)
            assert attempts == 1
        finally:
            await client.aclose()
            await node.stop()
    [told] = [event for event in events if event["event"] == "redis_refuses"]
    assert "no database 99" in told["reason"]
    assert told["fix"].startswith("use 0, or raise `databases`")


# A server that is too old


class OldServer:
    """Speaks RESP like Redis 6.2: it does not compile scripts that begin with `#!`."""

    def __init__(self, *, is_silent_about_itself: bool = False) -> None:
        self._is_silent = is_silent_about_itself

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(self._reply(words))

    def _reply(self, words: list[bytes]) -> bytes:
        match words[0]:
            case b"ROLE":
                return b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
            case b"INFO" if self._is_silent:
                return b"-NOPERM this user has no permissions to run the 'info' command\r\n"
            case b"INFO":
                return b"$22\r\nredis_version:6.2.14\r\n\r\n"
            case b"EVALSHA":
                return b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
        return b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n"


async def test_a_server_that_is_too_old_stops_startup() -> None:
    async with OldServer() as server:
        client = make_client(settings(redis_host="127.0.0.1", redis_port=server.port), metrics=Metrics())
        with pytest.raises(SettingsError, match=r"Redis 6\.2\.14 is too old, .*; upgrade it to Redis 7\.0 or later, or to Valkey"):
            await client.start()
        await client.aclose()


async def test_a_server_that_turns_out_to_be_too_old_is_named_once_and_is_unavailable() -> None:
    """For example after a failover to another server."""
    async with OldServer(is_silent_about_itself=True) as server:
        client = make_client(settings(redis_host="127.0.0.1", redis_port=server.port), metrics=Metrics())
        with capture_events() as events:
            await client.start()
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="too old"):
                    await client.run(Script.of("#!lua flags=allow-oom\nreturn 1"), ["a"])
            await client.aclose()
    [told] = [event for event in events if event["event"] == "redis_refuses"]
    assert told["fix"] == "upgrade it to Redis 7.0 or later, or to Valkey"
