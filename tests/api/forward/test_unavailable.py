"""What cannot be known is 503, and nobody counts as signed out: the user database, Redis, or both are unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from stateroom import testing
from stateroom.accounts import known_users
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.drills.postgres import Postgres

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import ENDPOINTS, FORWARD, NOBODY, PAGE, Answer, ask, cookie_of, register, running

pytestmark = pytest.mark.usefixtures("counted_ids")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A Valkey server that the test may stop."""
    async with topology.single(tmp_path / "valkey") as made:
        yield made


async def database_in(postgres: Postgres, servers: Servers) -> str:
    """The URL of an empty user database with the current schema."""
    url = postgres.make_database()
    database = Database(servers.settings("fakeredis", database_url=url))
    await database.upgrade()
    await database.aclose()
    return url


def is_unknown(answer: Answer) -> None:
    """The proxy is told that the user cannot be known, also if a browser visits a page."""
    assert (answer.status, answer.identity) == (503, NOBODY)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers


@pytest.mark.parametrize("seconds", [60.0, 0.0])
async def test_without_the_user_database_facts_are_good_for_a_while(
    servers: Servers, tmp_path: Path, own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """`seconds`: `DEGRADED_MAX_AGE`."""
    monkeypatch.setattr(known_users, "FACTS_SECONDS", 0.0)  # ask the database each time
    url = await database_in(own_postgres, servers)
    async with running(servers, tmp_path, database_url=url, degraded_max_age=seconds) as client:
        await register(client)
        assert (await ask(client, FORWARD)).status == 200
        own_postgres.stop()
        try:
            for endpoint in ENDPOINTS:
                answer = await ask(client, endpoint)
                if seconds:
                    assert answer.status == 200
                    assert answer.identity == ["1", "ada@example.com", "Ada", "", "false", ""]
                else:
                    is_unknown(answer)
                    is_unknown(await ask(client, endpoint, PAGE))
        finally:
            own_postgres.start()


async def test_a_user_database_that_hangs_does_not_outlast_the_proxys_patience(
    servers: Servers, tmp_path: Path, own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_users, "FACTS_SECONDS", 0.0)  # ask the database each time
    monkeypatch.setattr(known_users, "PATIENCE_SECONDS", 0.1)
    url = await database_in(own_postgres, servers)
    async with running(servers, tmp_path, database_url=url) as client:
        await register(client)
        assert (await ask(client, FORWARD)).status == 200
        database = Database(servers.settings("fakeredis", database_url=url))
        async with database.begin() as connection:  # as a long migration does
            await connection.execute(text("LOCK TABLE users, user_groups IN ACCESS EXCLUSIVE MODE"))
            for endpoint in ENDPOINTS:
                async with asyncio.timeout(1.9):  # less than a statement may take
                    assert (await ask(client, endpoint)).identity[0] == "1"
        await database.aclose()


async def test_a_user_of_whom_nothing_is_known_is_neither_admitted_nor_signed_out(
    servers: Servers, tmp_path: Path, own_postgres: Postgres
) -> None:
    url = await database_in(own_postgres, servers)
    async with running(servers, tmp_path, database_url=url) as client:
        await register(client)
        own_postgres.stop()
        try:
            for endpoint in ENDPOINTS:
                is_unknown(await ask(client, endpoint))
            client.session.cookie_jar.clear()
            assert (await ask(client, FORWARD)).status == 401, "an anonymous visitor is known to be one"
        finally:
            own_postgres.start()


async def test_while_redis_hangs_the_sealed_cookie_is_good_and_an_old_one_is_unknown(
    servers: Servers, tmp_path: Path, node: Node
) -> None:
    settings = {"redis_host": node.host, "redis_port": node.port, "redis_read_timeout": 0.5}
    async with running(servers, tmp_path, **settings, degraded_max_age=300) as client:
        await register(client)
        assert (await ask(client, FORWARD)).identity[4] == "false"
        node.pause()
        try:
            assert client.app is not None
            for endpoint in ENDPOINTS:
                answer = await ask(client, endpoint)
                assert (answer.status, answer.headers["Remote-Session-Degraded"]) == (200, "true")
            testing.clock(client.app).move(seconds=301)
            for endpoint in ENDPOINTS:
                is_unknown(await ask(client, endpoint))
                is_unknown(await ask(client, endpoint, PAGE))
        finally:
            node.resume()


async def test_a_cookie_that_cannot_be_known_does_not_pass_an_open_rule(servers: Servers, tmp_path: Path, node: Node) -> None:
    """The application would show a signed-in user what strangers see."""
    rules = tmp_path / "access.yaml"
    rules.write_text("- name: app\n  hosts: [app.example.com]\n  allow: anyone\n", encoding="utf-8")
    settings = {"redis_host": node.host, "redis_port": node.port, "redis_read_timeout": 0.5, "access_rules_file": rules}
    async with running(servers, tmp_path, **settings, degraded_max_age=0) as client:
        await register(client)
        mine = cookie_of(client)
        client.session.cookie_jar.clear()
        node.pause()
        try:
            is_unknown(await ask(client, FORWARD, {"Cookie": f"session_id={mine}"}))
            assert (await ask(client, FORWARD)).status == 200
        finally:
            node.resume()


async def test_without_both_stores_nothing_is_known(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(client)
    assert client.app is not None
    from stateroom import SESSIONS, DatabaseUnavailable

    async def down(*_: object) -> None:
        raise DatabaseUnavailable("down, for a test")

    monkeypatch.setattr(client.app[SESSIONS]._parts.trust, "why_ended_by_journal", down)
    with testing.redis_down(client.app):
        for endpoint in ENDPOINTS:
            is_unknown(await ask(client, endpoint, PAGE))
