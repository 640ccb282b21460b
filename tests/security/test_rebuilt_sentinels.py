"""Real Sentinels are replaced by empty ones: the service goes on, and trusts them once an administrator has accepted them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, server_binary
from stateroom.sessions.model.deployment import EMPTY_PRIMARY_FIX, FOREIGN_PRIMARY_FIX
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames
from stateroom.testing import settings

from ..patience import wait_until
from .hosts import SETTLED, Host, Service

REBUILT = "stateroom_sentinels_rebuilt"
UNSETTLED = 'stateroom_store_state{state="unsettled"}'


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(work, *args)


async def replace_sentinels(setup: topology.SentinelSetup, primary: Node, folder: Path) -> list[Node]:
    """Stop every Sentinel, and start an empty one at the address of each, which monitors this server.

    They are stopped first: an old one would tell an empty one its epoch.
    """
    lines = [
        f"sentinel monitor {topology.SERVICE_NAME} {primary.host} {primary.port} 2",
        f"sentinel down-after-milliseconds {topology.SERVICE_NAME} 1000",
        f"sentinel failover-timeout {topology.SERVICE_NAME} 10000",
    ]
    for old in setup.sentinels:
        await old.stop()
    made = []
    for number, old in enumerate(setup.sentinels):
        new = Node(folder / f"rebuilt-{number}", server_binary(), port=old.port, is_sentinel=True, lines=lines)
        await new.start()
        made.append(new)
    return made


async def promoted(setup: topology.SentinelSetup) -> Node:
    """Kill the primary. Returns the server that is promoted, once every Sentinel names it."""
    await setup.primary.kill()
    while True:
        named = {(await each.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", topology.SERVICE_NAME))[1] for each in setup.sentinels}
        found = [node for node in setup.nodes[1:] if named == {str(node.port).encode()}]
        if found and await setup.role(found[0]) == "master":
            return found[0]
        await asyncio.sleep(0.1)


def host_of(setup: topology.SentinelSetup, folder: Path) -> Host:
    return Host(
        folder / "host",
        None,
        None,
        REDIS_SENTINELS=",".join(str(each.address) for each in setup.sentinels),
        DATABASE_URL=f"sqlite:///{folder}/users.db",
        COOKIE_KEYS=new_key(),
    )


def is_rebuilt(service: Service) -> bool:
    return service.metric(REBUILT) == 1 and service.metric(UNSETTLED) == 1


def goes_on(service: Service, user: int, cookie: str) -> None:
    """Somebody who is signed in stays so, and others sign in and out, without an error."""
    assert service.whom(cookie) == user
    mine = service.sign_in("ada@example.com", "correct horse")
    assert service.whom(mine) == user
    status, _, _ = service.call("POST", "/api/auth/logout", cookie=mine)
    assert status in {200, 204}
    assert service.whom(mine) == "logout"


@pytest.mark.timeout(600)
async def test_the_service_goes_on_and_settles_when_they_are_accepted(tmp_path: Path) -> None:
    async with topology.sentinels(tmp_path / "servers") as setup:
        host = host_of(setup, tmp_path)
        rebuilt: list[Node] = []
        with await in_thread(host.serve().__enter__) as service:
            user, cookie = await in_thread(service.register)
            nothing = await in_thread(host.run, "sentinels", "accept", "--yes")
            assert nothing.returncode == 1
            assert "there is nothing to accept" in nothing.stderr
            primary = await promoted(setup)
            await in_thread(service.settle)
            try:
                rebuilt = await replace_sentinels(setup, primary, tmp_path)
                await in_thread(wait_until, lambda: is_rebuilt(service), "the service tells of the rebuilt Sentinels")
                assert "stateroom sentinels accept" in service.output
                await in_thread(goes_on, service, user, cookie)
                examined = await in_thread(host.run, "doctor")
                assert "run `stateroom sentinels accept`" in examined.stdout
                asked = await in_thread(lambda: host.run("sentinels", "accept", given="n\n"))
                assert asked.returncode == 1
                assert asked.stdout.count(f"names {primary.address} in epoch 0") == 3
                unasked = await in_thread(host.run, "sentinels", "accept")
                assert unasked.returncode == 2
                assert unasked.stderr.endswith("there is no terminal; run the command with --yes\n")
                for differing in ({"JOURNAL_LEASE": 3}, {"DEPLOYMENT": "other"}):
                    refused = await in_thread(lambda own=differing: host.run("sentinels", "accept", "--yes", **own))
                    assert refused.returncode == 2
                    started = await in_thread(lambda own=differing: host.run("serve", **own))
                    assert refused.stderr == started.stderr.splitlines(keepends=True)[-1]
                accepted = await in_thread(host.run, "sentinels", "accept", "--yes")
                assert accepted.returncode == 0, accepted.stderr
                assert accepted.stdout.endswith("every worker trusts it within 2 s\n")
                await in_thread(service.settle)
                assert await in_thread(service.metric, REBUILT) == 0
                await in_thread(goes_on, service, user, cookie)
            finally:
                for each in rebuilt:
                    await each.kill()


@pytest.mark.timeout(600)
async def test_with_a_long_lease_the_command_says_how_long_the_workers_take(tmp_path: Path) -> None:
    async with topology.sentinels(tmp_path / "servers") as setup:
        host = host_of(setup, tmp_path)
        host.settings["JOURNAL_LEASE"] = 2
        rebuilt: list[Node] = []
        database = Database(settings(database_url=str(host.settings["DATABASE_URL"])))
        await database.prepare()
        await database.aclose()
        nothing = await in_thread(host.run, "sentinels", "accept", "--yes")
        assert nothing.returncode == 1
        assert "there is nothing to accept: the workers have agreed on no primary yet" in nothing.stderr
        with await in_thread(host.serve().__enter__) as service:
            primary = await promoted(setup)
            await in_thread(service.settle)
            try:
                rebuilt = await replace_sentinels(setup, primary, tmp_path)
                await in_thread(wait_until, lambda: is_rebuilt(service), "the service tells of the rebuilt Sentinels")
                accepted = await in_thread(host.run, "sentinels", "accept", "--yes")
                assert accepted.returncode == 0, accepted.stderr
                began = time.monotonic()
                await in_thread(service.settle)
                took = time.monotonic() - began
            finally:
                for each in rebuilt:
                    await each.kill()
        said = int(accepted.stdout.rpartition("within ")[2].removesuffix(" s\n"))
        assert 1 < took < said + 5  # the machine may be busy
        assert said == 5


@pytest.mark.timeout(600)
async def test_a_foreign_server_is_never_used(tmp_path: Path) -> None:
    """Empty Sentinels name an empty server of nobody. No failover was before, so their epoch is not even lower."""
    async with topology.sentinels(tmp_path / "servers") as setup, topology.single(tmp_path / "foreign") as foreign:
        host = host_of(setup, tmp_path)
        rebuilt: list[Node] = []
        with await in_thread(host.serve().__enter__) as service:
            user, cookie = await in_thread(service.register)
            try:
                rebuilt = await replace_sentinels(setup, foreign, tmp_path)
                await in_thread(service.wait_for, "rebuilt_sentinels_refused")
                await in_thread(goes_on, service, user, cookie)
                assert await foreign.call("DBSIZE") == 0
                refused = await in_thread(host.run, "sentinels", "accept", "--yes")
                assert refused.returncode == 1
                *found, reason = refused.stderr.splitlines()
                assert sum(f"names {foreign.address} in epoch" in line for line in found) == 3
                assert reason.startswith("stateroom: ")
                assert f"holds no deployment's id; {EMPTY_PRIMARY_FIX}" in reason
                await foreign.call("SET", KeyNames("session").fleet(""), "theirs")
                theirs = await in_thread(host.run, "sentinels", "accept", "--yes")
                assert f"holds another deployment's id; {FOREIGN_PRIMARY_FIX}" in theirs.stderr
                assert FOREIGN_PRIMARY_FIX in (await in_thread(host.run, "doctor", "--json")).stdout
                await foreign.call("REPLICAOF", setup.primary.host, setup.primary.port)
                replica = await in_thread(host.run, "sentinels", "accept", "--yes")
                assert "the server is a replica; if a failover just ended" in replica.stderr
                assert await in_thread(service.metric, SETTLED) == 0
            finally:
                for each in rebuilt:
                    await each.kill()


@pytest.mark.timeout(600)
async def test_a_failover_to_a_server_that_lost_its_data_is_accepted(tmp_path: Path) -> None:
    """The workers do not trust it by themselves: wrong names could lead to the Sentinels of an empty server."""
    async with topology.sentinels(tmp_path / "servers") as setup:
        host = host_of(setup, tmp_path)
        with await in_thread(host.serve().__enter__) as service:
            user, cookie = await in_thread(service.register)
            await in_thread(service.settle)
            await setup.primary.kill()
            for node in setup.nodes[1:]:
                await node.call("CONFIG", "SET", "replica-read-only", "no")
                await node.call("FLUSHALL")
            await in_thread(service.wait_for, "primary_without_id")
            assert "run `stateroom sentinels accept`" in service.output
            await in_thread(goes_on, service, user, cookie)
            asked = await in_thread(lambda: host.run("sentinels", "accept", given="n\n"))
            assert asked.returncode == 1
            assert "holds no deployment's id: it has lost its data, or it is a wrong server" in asked.stdout
            assert "stop every Sentinel that was replaced" in asked.stdout
            assert await in_thread(service.metric, SETTLED) == 0
            accepted = await in_thread(host.run, "sentinels", "accept", "--yes")
            assert accepted.returncode == 0, accepted.stderr
            await in_thread(service.settle)
            await in_thread(goes_on, service, user, cookie)
