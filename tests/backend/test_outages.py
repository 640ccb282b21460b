"""An outage is told once, with the fix of its cause: the same one as at startup."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from stateroom.backend.clients import make_client
from stateroom.backend.outages import OutageLog
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.ports import free_port
from stateroom.errors import SettingsError, StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ..conftest import require_tool
from ..logs import capture_events
from ..servers import AS_USERS_HAVE_IT
from .test_clients import tls_dialer, tls_files  # noqa: F401 (a fixture)


async def fixes(**values: Any) -> dict[str, str]:
    """What the service says if it starts now: event -> fix."""
    client = make_client(settings(**values), metrics=Metrics())
    with capture_events() as events:
        await client.start()
        await client.aclose()
    assert len({event["event"] for event in events if "fix" in event}) == len([event for event in events if "fix" in event])
    return {event["event"]: event["fix"] for event in events if "fix" in event}


def both(fix: str) -> dict[str, str]:
    fix += "; run `stateroom doctor` on this host; the service connects again by itself"
    return {"redis_away_at_start": fix, "redis_circuit_opened": fix}


async def test_nothing_listens(tmp_path: Path) -> None:
    node = Node(tmp_path, "")
    assert await fixes(redis_host=node.host, redis_port=node.port) == both("start it, or correct its address")


async def test_as_many_clients_as_allowed(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        assert node.dialer is not None
        connection = await node.dialer.dial(node.address)
        await connection.send_command("CONFIG", "SET", "maxclients", "1")
        await connection.read_response()
        found = await fixes(redis_host=node.host, redis_port=node.port)
        await connection.disconnect()
    expected = "raise `maxclients` of Redis, or lower REDIS_POOL_SIZE; CLIENT LIST shows which clients have the connections"
    assert found == both(expected)


async def test_a_replica(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        await node.call("REPLICAOF", node.host, node.port)
        found = await fixes(redis_host=node.host, redis_port=node.port)
    assert found == both("name its primary in REDIS_URL or REDIS_HOST, or set REDIS_SENTINELS")


async def test_plain_text_to_a_port_for_tls(tmp_path: Path, tls_files: dict[str, Path]) -> None:  # noqa: F811
    binary, dialer = require_tool("redis-server"), tls_dialer(tls_files)
    async with topology.single(tmp_path / "node", binary=binary, tls_files=tls_files, dialer=dialer) as node:
        found = await fixes(redis_host=node.host, redis_port=node.port)
    assert found.keys() == {"redis_away_at_start", "redis_circuit_opened"}
    [fix] = set(found.values())
    assert fix.startswith("if the server uses TLS, set REDIS_TLS=true")


async def test_a_database_that_the_server_lost(tmp_path: Path) -> None:
    """At startup it would stop the service."""
    async with topology.single(tmp_path / "node") as node:
        client = make_client(settings(redis_host=node.host, redis_port=node.port, redis_db=9), metrics=Metrics())
        await client.start()
        try:
            with capture_events() as events:
                await node.kill()
                config = node.folder / "server.conf"
                config.write_text(config.read_text(encoding="utf-8") + "databases 1\n", encoding="utf-8")
                await node.start()

                async def is_told() -> bool:
                    with contextlib.suppress(StoreUnavailable):
                        await client.execute("k", "GET", "k")
                    return {"redis_circuit_opened", "redis_refuses"} <= {event["event"] for event in events}

                await until(is_told, "the refusal is logged")
        finally:
            await client.aclose()
    [opened] = [event for event in events if event["event"] == "redis_circuit_opened"]
    [refuses] = [event for event in events if event["event"] == "redis_refuses"]
    assert refuses["fix"].startswith("use 0, or raise `databases`")
    if "no database 9" in opened["reason"]:  # otherwise a dial has failed before the server listened again
        assert opened["fix"].startswith(refuses["fix"])


async def test_a_further_connection_that_takes_too_long(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        made = settings(redis_host=node.host, redis_port=node.port, redis_min_idle=0, **AS_USERS_HAVE_IT)
        client = make_client(made, metrics=Metrics())
        await client.start()
        try:
            with capture_events() as events:
                node.pause()
                with pytest.raises(StoreUnavailable):
                    await client.pipeline("k", [("PING",)])
                node.resume()
        finally:
            await client.aclose()
    [told] = [event for event in events if event["event"] == "redis_connection_refused"]
    assert re.search("in time|Timeout", told["reason"])
    for words in ("run `stateroom doctor` on this host", "raise REDIS_DIAL_TIMEOUT and REDIS_READ_TIMEOUT"):
        assert words in told["fix"]


async def test_one_of_several_sentinels(tmp_path: Path) -> None:
    """The primary is found, so nothing else would tell of it."""
    gone = Address("127.0.0.1", free_port())
    async with topology.sentinels(tmp_path, replicas=0, watchers=1) as setup:
        named = f"{setup.sentinels[0].address},{gone}"
        client = make_client(
            Settings(_env_file=None, cookie_keys=new_key(), database_url="none", redis_sentinels=named), metrics=Metrics()
        )
        with capture_events() as events:
            await client.start()
            assert await client.execute("k", "GET", "k") is None
            await setup.sentinels[0].stop()

            async def are_both_told() -> bool:
                return len([event for event in events if event["event"] == "sentinel_unreachable"]) == 2

            await until(are_both_told, "both Sentinels are told of")
            await client.aclose()
    told = {event["sentinel"]: event for event in events if event["event"] == "sentinel_unreachable"}
    assert told.keys() == {str(gone), str(setup.sentinels[0].address)}
    assert "Connection refused" in told[str(gone)]["reason"]
    assert told[str(gone)]["fix"].startswith("start it, or correct its address; run `stateroom doctor`")
    assert {event["event"] for event in events} == {"sentinel_unreachable"}


# The line itself


class Told:
    """An `OutageLog` whose explanation can be held back."""

    def __init__(self, error: Exception | None = None) -> None:
        self.lines: list[tuple[str, str]] = []
        self.may_explain = asyncio.Event()
        self._error = error
        self.log = OutageLog(self._fix_of, lambda reason, fix: self.lines.append((reason, fix)), general_fix="look")

    async def _fix_of(self, cause: BaseException) -> str:
        await self.may_explain.wait()
        if self._error is not None:
            raise self._error
        return f"fix of {cause}"

    async def explained(self) -> list[tuple[str, str]]:
        self.may_explain.set()
        async with asyncio.timeout(30):
            while not self.lines:
                await asyncio.sleep(0)
        return self.lines


async def test_one_outage_is_one_line() -> None:
    told = Told()
    told.log.begin("first", OSError("a"))
    told.log.begin("second", OSError("b"))
    assert await told.explained() == [("first", "fix of a")]
    told.log.begin("third", None)
    assert len(told.lines) == 1
    told.log.end()
    told.log.begin("fourth", None)
    assert told.lines == [("first", "fix of a"), ("fourth", "look")]
    await told.log.aclose()


@pytest.mark.parametrize("is_close", [True, False])
async def test_an_outage_that_ends_before_it_is_explained_is_told_first(is_close: bool) -> None:
    told = Told()
    told.log.begin("short", OSError("a"))
    await asyncio.sleep(0)
    if is_close:
        await told.log.aclose()
    else:
        told.log.end()
    assert told.lines == [("short", "look")]
    told.may_explain.set()
    await told.log.aclose()
    assert told.lines == [("short", "look")]


async def test_a_setting_that_became_invalid_is_the_fix() -> None:
    told = Told(SettingsError("REDIS_TLS_CA cannot be used"))
    told.log.begin("gone", OSError("a"))
    assert await told.explained() == [("gone", "REDIS_TLS_CA cannot be used")]
    await told.log.aclose()
