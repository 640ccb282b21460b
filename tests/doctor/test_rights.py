"""The doctor asks about exactly the shipped rights, and asking changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Level
from stateroom.doctor.rights import Needs, judge_rights, name_of
from stateroom.drills import topology
from stateroom.drills.node import Node

from ..servers import Servers
from .conftest import found, patient
from .facts import settings

ROOT = Path(__file__).parents[2]
EVERYTHING = {"redis_db": 3, "redis_write_replicas": 1, "session_cache_max_age": 5}
PLAIN = Needs.of(settings(redis_write_replicas=0), is_cluster=False)


def test_what_is_asked_about_is_what_the_shipped_user_has() -> None:
    [line] = [line for line in (ROOT / "deploy" / "users.acl").read_text().splitlines() if line.startswith("user stateroom ")]
    shipped = {word[1:] for word in line.split() if word.startswith("+")}
    needs = Needs.of(settings(**EVERYTHING), is_cluster=True)
    asked = {name_of(call).lower() for call in needs.calls}
    assert asked | {"eval"} == shipped


async def test_asking_changes_nothing(servers: Servers) -> None:
    needs = Needs.of(settings(**EVERYTHING), is_cluster=False)
    for node in (servers.valkey, servers.redis):
        before = await node.call("DBSIZE")
        assert await node.call(*(str(word) for word in needs.question)) == [1] * len(needs.calls)
        for call in needs.trials:
            if call[0] == "EVALSHA":
                with pytest.raises(NoScriptError):
                    await node.call(*call)
            else:
                await node.call(*call)
        assert await node.call("DBSIZE") == before


def test_a_server_that_has_no_such_question_is_unseen_and_no_fault() -> None:
    error = ResponseError("Script attempted to access nonexistent global")
    [finding] = judge_rights("Server a:1", "app", PLAIN, error, [b"OK"] * len(PLAIN.trials))
    assert finding.level is Level.UNSEEN
    assert "ACL GETUSER app " in finding.fix


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (NoPermissionError("User app has no permissions to run the 'role' command"), "user app may not run ROLE"),
        (ResponseError("unknown command 'ROLE', with args beginning with: "), "it does not have ROLE"),
        (ResponseError("unsupported command 'role'"), "it does not have ROLE"),
    ],
)
def test_a_command_that_only_a_proxy_refuses_is_found_by_trying_it(reply: Exception, what: str) -> None:
    tried: list[Any] = [reply if call == ("ROLE",) else b"OK" for call in PLAIN.trials]
    [finding] = judge_rights("Server a:1", "app", PLAIN, [1] * len(PLAIN.calls), tried)
    assert finding.level is Level.FAULT
    assert what in finding.what


async def test_a_user_without_info_gets_the_effects_on_the_service(tmp_path: Path) -> None:
    lines = ["user app on >secret ~session:* &* +@all -info"]
    async with topology.single(tmp_path, lines=lines) as node:
        made = patient(redis_url=f"redis://app:secret@{node.address}")
        findings = (await examine(made)).findings
    [finding] = [each for each in findings if each.check == "rights"]
    assert finding.level is Level.WARNING
    assert "may not run INFO, so the service learns no run id: reads and writes share one connection" in finding.what
    assert "+info" in finding.fix
    assert not [each for each in findings if "may run every command" in each.what]


@pytest.mark.parametrize("product", ["valkey", "redis"])
async def test_a_server_that_holds_writes_back_is_told_as_that(product: str, servers: Servers) -> None:
    """It answers every read meanwhile. Redis takes a script that it does not know for one that may write."""
    node: Node = getattr(servers, product)
    made = patient(redis_host=node.host, redis_port=node.port, redis_read_timeout=0.5)
    await node.call("CLIENT", "PAUSE", 600_000, "WRITE")
    try:
        findings = await found(made)
    finally:
        await node.call("CLIENT", "UNPAUSE")
    assert "server-unreachable" not in {each.check for each in findings}
    [finding] = [each for each in findings if each.check == "writes-held"]
    assert (finding.level, finding.where) == (Level.FAULT, f"Server {node.address}")
    assert "holds writes back (CLIENT PAUSE WRITE, or a failover)" in finding.what
    assert "writes-held" not in {each.check for each in await found(made)}
