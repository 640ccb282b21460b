"""The doctor asks about exactly the shipped rights, and asking runs no command."""

from __future__ import annotations

from pathlib import Path

from redis.exceptions import ResponseError

from stateroom.doctor.findings import Level
from stateroom.doctor.rights import judge_rights, name_of, needed, question

from ..servers import Servers

ROOT = Path(__file__).parents[2]


def test_what_is_asked_about_is_what_the_shipped_user_has() -> None:
    [line] = [line for line in (ROOT / "deploy" / "users.acl").read_text().splitlines() if line.startswith("user stateroom ")]
    shipped = {word[1:] for word in line.split() if word.startswith("+")}
    asked = {name_of(call).lower() for call in needed("session", is_cluster=True, has_near_cache=True)}
    assert asked | {"eval"} == shipped


async def test_asking_runs_none_of_them(servers: Servers) -> None:
    for node in (servers.valkey, servers.redis):
        calls = needed("rights", is_cluster=False, has_near_cache=True)
        before = await node.call("DBSIZE")
        assert await node.call(*(str(word) for word in question(calls))) == [1] * len(calls)
        assert await node.call("DBSIZE") == before


def test_a_server_that_has_no_such_question_is_unseen_and_no_fault() -> None:
    [finding] = judge_rights("Server a:1", "app", "session", [], ResponseError("Script attempted to access nonexistent global"))
    assert finding.level is Level.UNSEEN
    assert "ACL GETUSER app " in finding.fix
