"""A service whose servers and Sentinels have names: they hang in DNS, do not exist, move, or have an address without a server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stateroom.drills import topology
from stateroom.drills.node import Node, running, server_binary, until
from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Serving, environment
from ..patience import wait_until
from .name_server import NameServer, need_namespaces, script
from .swallowing import swallowing

SERVERS = [f"server-{number}.test" for number in range(3)]
SENTINELS = [f"sentinel-{number}.test" for number in range(3)]
SECONDS_TO_FOLLOW = 20.0
"""Far more than is needed under load, and far less than a look-up that hangs takes."""


@pytest.fixture
def dns() -> Iterator[NameServer]:
    need_namespaces()
    with NameServer({name: ["127.0.0.1"] for name in (*SERVERS, *SENTINELS)}) as server:
        yield server


@pytest_asyncio.fixture
async def stack(dns: NameServer, tmp_path: Path) -> AsyncIterator[topology.SentinelSetup]:
    """Servers and Sentinels that announce names. They know all names by their /etc/hosts, so that DNS hinders only the service."""
    hosts = [f"127.0.0.1 {name}" for name in (*SERVERS, *SENTINELS)]
    binary = script(dns.launcher(tmp_path / "inside", hosts), server_binary(), tmp_path / "server")
    nodes = [Node(tmp_path / name, binary, options={"replica-announce-ip": name}) for name in SERVERS]
    for node in nodes[1:]:
        node.options = {**node.options, "replicaof": f"{SERVERS[0]} {nodes[0].port}"}
    sentinels = [
        Node(
            tmp_path / name, binary, is_sentinel=True,
            lines=[
                "sentinel resolve-hostnames yes", "sentinel announce-hostnames yes", f"sentinel announce-ip {name}",
                f"sentinel monitor {topology.SERVICE_NAME} {SERVERS[0]} {nodes[0].port} 2",
                f"sentinel down-after-milliseconds {topology.SERVICE_NAME} 1000",
            ],
        )
        for name in SENTINELS
    ]  # fmt: skip

    async def is_whole() -> bool:
        for sentinel in sentinels:
            seen = await sentinel.call("SENTINEL", "MASTER", topology.SERVICE_NAME)
            if int(seen[b"num-slaves"]) != 2 or int(seen[b"num-other-sentinels"]) != 2:
                return False
        return True

    async with running(nodes), running(sentinels):
        await until(is_whole, "every replica and Sentinel is known")
        yield topology.SentinelSetup(nodes, sentinels)


def service(dns: NameServer, folder: Path, *, wait: int = 30, **settings: Any) -> Serving:
    """The service, which knows names only by DNS. `wait`: after how many seconds the system asks the name server again."""
    launcher = dns.launcher(folder / "service", wait=wait)

    class Launched(Serving):
        LAUNCHER = launcher

    own = {"COOKIE_KEYS": new_key(), "DATABASE_URL": f"sqlite:///{folder}/users.db", "COOKIE_SECURE": "false"}
    return Launched(folder, **{**own, **settings})


def doctor(dns: NameServer, folder: Path, **settings: object) -> str:
    """What the doctor prints. It knows names only by DNS."""
    own = {"COOKIE_KEYS": new_key(), "DATABASE_URL": "none", "REDIS_MODE": "single"}
    done = subprocess.run(
        [*dns.launcher(folder / "doctor"), sys.executable, "-m", "stateroom", "doctor"],
        env=environment(folder, {**own, **settings}), cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def by_sentinels(stack: topology.SentinelSetup) -> dict[str, Any]:
    named = zip(SENTINELS, stack.sentinels, strict=True)
    return {"REDIS_SENTINELS": ",".join(f"{name}:{node.port}" for name, node in named)}


def is_connected(serving: Serving) -> bool:
    return serving.call("GET", "/api/health")[0] == 200


def is_settled(serving: Serving) -> bool:
    return serving.metric('stateroom_store_state{state="settled"}') == 1


async def promoted(sentinel: Node) -> None:
    """Wait until this Sentinel names another primary than the first."""

    async def is_so() -> bool:
        name, _ = await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", topology.SERVICE_NAME)
        return bool(name.decode() != SERVERS[0])

    await until(is_so, "a replica is promoted", seconds=60)


@pytest.mark.parametrize("fault", ["its name hangs", "its name does not exist"])
async def test_a_dead_sentinel_without_a_name_does_not_hinder_a_failover(
    fault: str, stack: topology.SentinelSetup, dns: NameServer, tmp_path: Path
) -> None:
    with service(dns, tmp_path, **by_sentinels(stack)) as serving:
        await asyncio.to_thread(wait_until, lambda: is_settled(serving), "the store is settled")
        if fault == "its name hangs":
            dns.silent.add(SENTINELS[2])
        else:
            del dns.names[SENTINELS[2]]
        dns.forget_questions()
        await stack.sentinels[2].kill()
        await asyncio.to_thread(wait_until, lambda: dns.was_asked(SENTINELS[2]), "the dead Sentinel's name is looked up")
        await stack.primary.kill()
        await promoted(stack.sentinels[0])
        began = time.monotonic()
        await asyncio.to_thread(wait_until, lambda: is_settled(serving) and is_connected(serving), "the failover is followed")
        took = time.monotonic() - began
        print(f"followed {took:.2f} s after the promotion")
        assert took < SECONDS_TO_FOLLOW


async def test_a_sentinel_whose_name_hangs_at_startup_is_told_once(
    stack: topology.SentinelSetup, dns: NameServer, tmp_path: Path
) -> None:
    dns.silent.add(SENTINELS[2])
    with service(dns, tmp_path, **by_sentinels(stack)) as serving:
        await asyncio.to_thread(wait_until, lambda: is_settled(serving), "the store is settled")
        await asyncio.to_thread(wait_until, lambda: "sentinel_unreachable" in serving.output, "the Sentinel is told of")
        [line] = [line for line in serving.output.splitlines() if "sentinel_unreachable" in line]
        event = json.loads(line)
        assert event["sentinel"].startswith(f"{SENTINELS[2]}:")
        assert "check the name servers of this host" in event["fix"]


async def test_a_database_whose_name_hangs_does_not_hinder_a_failover(
    stack: topology.SentinelSetup, dns: NameServer, tmp_path: Path
) -> None:
    pytest.importorskip("asyncpg")
    dns.silent.add("database.test")
    database = "postgresql://stateroom:secret@database.test/stateroom"
    with service(dns, tmp_path, **by_sentinels(stack), DATABASE_URL=database) as serving:
        assert dns.was_asked("database.test")
        await stack.primary.kill()
        await promoted(stack.sentinels[0])
        began = time.monotonic()
        await asyncio.to_thread(wait_until, lambda: is_connected(serving), "the failover is followed")
        assert time.monotonic() - began < SECONDS_TO_FOLLOW
        assert await asyncio.to_thread(serving.stop) == 0  # The look-up still hangs.


async def test_a_server_is_reached_by_its_last_address_while_dns_is_silent(dns: NameServer, tmp_path: Path) -> None:
    async with topology.single(tmp_path / "redis") as node:
        with service(dns, tmp_path, REDIS_MODE="single", REDIS_HOST=SERVERS[0], REDIS_PORT=node.port) as serving:
            assert await asyncio.to_thread(is_connected, serving)
            dns.silent.add(SERVERS[0])
            await node.kill()
            await asyncio.to_thread(wait_until, lambda: not is_connected(serving), "the loss is noticed")
            await node.start()
            await asyncio.to_thread(wait_until, lambda: is_connected(serving), "the server is found again")
            assert serving.output.count('"name_not_answered"') == 1
            assert f'"host": "{SERVERS[0]}"' in serving.output


async def test_a_server_is_reached_as_soon_as_its_name_is_answered(dns: NameServer, tmp_path: Path) -> None:
    dns.silent.add(SERVERS[0])
    async with topology.single(tmp_path / "redis") as node:
        # The resolver of the system asks again after a second.
        with service(dns, tmp_path, wait=1, REDIS_MODE="single", REDIS_HOST=SERVERS[0], REDIS_PORT=node.port) as serving:
            assert not await asyncio.to_thread(is_connected, serving)
            assert f"the name {SERVERS[0]} was not resolved within 0.5 s" in serving.output
            found = await asyncio.to_thread(doctor, dns, tmp_path, REDIS_HOST=SERVERS[0], REDIS_PORT=node.port)
            assert f"DNS does not answer for the name {SERVERS[0]}" in found
            dns.silent.clear()
            await asyncio.to_thread(wait_until, lambda: is_connected(serving), "the server is found")


async def test_an_endpoint_that_moves_to_another_server_is_followed(dns: NameServer, tmp_path: Path) -> None:
    port = free_port()
    old, new = (Node(tmp_path / host, server_binary(), host=host, port=port) for host in ("127.0.0.1", "127.0.0.2"))
    new.options = {"replicaof": f"{old.host} {old.port}"}
    async with running([old, new]):

        async def is_linked() -> bool:
            return bool((await new.call("ROLE"))[3] == b"connected")

        await until(is_linked, "the replica is linked")
        with service(dns, tmp_path, REDIS_MODE="single", REDIS_HOST=SERVERS[0], REDIS_PORT=port) as serving:
            await asyncio.to_thread(wait_until, lambda: is_settled(serving), "the store is settled")
            await new.call("REPLICAOF", "NO", "ONE")
            dns.names[SERVERS[0]] = ["127.0.0.2"]
            await old.kill()
            began = time.monotonic()
            await asyncio.to_thread(wait_until, lambda: is_connected(serving), "the name is followed")
            assert time.monotonic() - began < SECONDS_TO_FOLLOW
            clients = (await new.call("CLIENT", "LIST")).decode()
            assert "addr=127.0.0.1:" in clients


@pytest.mark.parametrize("dead", ["::1", "127.0.0.2"])
async def test_a_name_is_reached_though_one_of_its_addresses_swallows_packets(dead: str, dns: NameServer, tmp_path: Path) -> None:
    dns.names["both.test"] = [dead, "127.0.0.1"]
    async with topology.single(tmp_path / "redis") as node:
        settings: dict[str, Any] = {"REDIS_MODE": "single", "REDIS_HOST": "both.test", "REDIS_PORT": node.port}
        with swallowing(dead, node.port), service(dns, tmp_path, **settings) as serving:
            await asyncio.to_thread(wait_until, lambda: is_connected(serving), "the good address is found")
            assert "redis_away_at_start" not in serving.output
            found = await asyncio.to_thread(doctor, dns, tmp_path, **settings)
            assert "server-unreachable" not in found
            assert "both.test" in found
