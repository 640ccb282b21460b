"""Bringing the journal into a store: from the mark on, over one connection, in order."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from stateroom.backend.client import RedisClient, Script
from stateroom.backend.clients import make_client
from stateroom.backend.standing import Standing
from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable, SettingsError, StoreUnavailable
from stateroom.sessions.journal import tail as tail_module
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.rows import EndRow, Row
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.store.key_names import KeyNames
from stateroom.sessions.wiring import Parts, wire
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ...servers import Servers


@dataclass
class Place:
    manager: SessionManager
    parts: Parts
    client: RedisClient

    @property
    def mark_key(self) -> str:
        return self.parts.key_names.cursor("")

    async def mark(self) -> int:
        return int(await self.client.execute("", "GET", self.mark_key) or -1)

    async def turn(self) -> bool:
        await self.parts.tail.catch_up()
        return await self.parts.replay.turn()

    async def record(self, session: Session) -> None:
        await self.parts.journal.record([EndRow(*record_of(session).ref, "logout", 0)])

    async def is_stored(self, session: Session) -> bool:
        return await self.parts.store.exists(record_of(session).ref)

    def is_covered(self) -> bool:
        return self.parts.replay.covers(self.client.standing("").glimpse)


@pytest.fixture
def own_settings(servers: Servers) -> Settings:
    return servers.settings("valkey", redis_key_prefix=f"apply-{secrets.token_hex(4)}")


async def placed(settings: Settings, database: Database) -> Place:
    client = make_client(settings, metrics=Metrics())
    await client.start()
    parts = wire(settings, Metrics(), client, Journal(database, 10**15))
    await parts.membership.ask_database()
    return Place(SessionManager(parts), parts, client)


@pytest.fixture
async def place(own_settings: Settings, database: Database) -> AsyncIterator[Place]:
    made = await placed(own_settings, database)
    yield made
    await made.parts.tail.aclose()
    await made.client.aclose()


async def test_a_new_store_starts_at_the_present(place: Place) -> None:
    await place.parts.journal.record([EndRow("i1", "x", "logout", 0)] * 3)
    assert not place.is_covered()
    assert await place.turn()
    assert place.is_covered()
    assert await place.mark() == 3


async def test_what_the_journal_has_ended_is_deleted_and_the_mark_moves(place: Place) -> None:
    await place.turn()
    gone, kept = await place.manager.create("ada"), await place.manager.create("ada")
    await place.record(gone)
    place.parts.replay.sweeps = True
    await place.turn()
    assert not await place.is_stored(gone)
    assert await place.is_stored(kept)
    assert await place.mark() == 1
    assert await place.manager.count_active() == 1


async def test_a_raised_generation_ends_what_is_older(place: Place) -> None:
    await place.turn()
    older = await place.manager.create("ada")
    await place.parts.journal.raise_generation("sada", "password", ended_at=0)
    newer = await place.manager.create("ada")
    place.parts.replay.sweeps = True
    await place.turn()
    assert not await place.is_stored(older)
    assert await place.is_stored(newer)


async def test_only_the_sweeping_worker_applies_each_second_and_everyone_on_a_new_connection(place: Place) -> None:
    await place.turn()
    session = await place.manager.create("ada")
    await place.record(session)
    await place.turn()
    assert await place.is_stored(session)
    place.client.standing("").connected()  # as if it had connected anew
    await place.turn()
    assert not await place.is_stored(session)


async def test_an_end_of_everybody_waits_for_the_sweeping_worker(place: Place) -> None:
    """Only that one deletes the sessions, so no other worker may move the mark beyond."""
    await place.turn()
    sessions = [await place.manager.create("ada") for _ in range(2)]
    await place.record(sessions[0])
    await place.parts.journal.change_epoch("everybody", ended_at=0)
    await place.parts.journal.record([EndRow("i1", "x", "logout", 0)])
    place.client.standing("").connected()  # as a worker that has just started: the command, for example
    await place.turn()
    assert [await place.is_stored(each) for each in sessions] == [False, True]
    assert await place.mark() == 1
    place.parts.replay.sweeps = True
    await place.turn()
    assert not await place.is_stored(sessions[1])
    assert await place.mark() == 3


async def test_a_store_with_sessions_and_no_mark_is_taken_from_the_beginning(place: Place) -> None:
    session = await place.manager.create("ada")
    await place.record(session)
    await place.turn()
    assert not await place.is_stored(session)
    assert await place.mark() == 1


async def test_a_flush_under_our_eyes_keeps_the_mark_that_we_know(place: Place) -> None:
    await place.turn()
    place.parts.replay.sweeps = True
    for _ in range(3):
        await place.record(await place.manager.create("ada"))
    await place.turn()
    await place.client.execute("", "DEL", place.mark_key)
    await place.manager.create("ada")
    await place.turn()
    assert await place.mark() == 3


async def test_a_mark_beyond_the_journal_means_that_the_database_was_restored(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await place.manager.create("ada")
    await place.record(session)
    await place.client.execute("", "SET", place.mark_key, 1000)
    with pytest.raises(StoreUnavailable, match="replayed from the beginning"):
        await place.turn()
    monkeypatch.setattr(tail_module, "QUIET_SECONDS", 0.0)
    with pytest.raises(DatabaseUnavailable, match="was restored"):
        await place.turn()
    assert await place.turn()
    assert not await place.is_stored(session)
    assert await place.mark() == 1


async def test_a_long_gap_is_closed_in_batches_and_loads_are_not_vouched_for_until_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [await place.manager.create("ada") for _ in range(30)]
    for session in sessions:
        await place.record(session)
    monkeypatch.setattr("stateroom.sessions.journal.tail.ROWS_AT_START", 5)
    monkeypatch.setattr("stateroom.sessions.protocol.replay.ROWS_AT_ONCE", 7)
    await place.client.execute("", "SET", place.mark_key, 0)
    seen = []
    replay = place.parts.replay._replay

    async def noted(rows: list[Row]) -> None:
        seen.append((len(rows), place.is_covered()))
        await replay(rows)

    monkeypatch.setattr(place.parts.replay, "_replay", noted)
    await place.turn()
    assert not any([await place.is_stored(session) for session in sessions])
    assert [count for count, _ in seen] == [7, 7, 7, 7, 2]
    assert not any(covered for _, covered in seen)
    assert place.is_covered()
    assert await place.mark() == 30


async def test_the_mark_moves_over_no_other_connection_than_the_rows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.turn()
    await place.record(await place.manager.create("ada"))
    place.parts.replay.sweeps = True
    replay = place.parts.replay._replay

    async def fails_over(rows: list[Row]) -> None:
        await replay(rows)
        place.client.standing("").connected()

    monkeypatch.setattr(place.parts.replay, "_replay", fails_over)
    with pytest.raises(StoreUnavailable):
        await place.turn()
    assert await place.mark() == 0


class TwoShards:
    """The client of a Cluster whose second shard, with the key "b" and a user's sessions, can be away."""

    def __init__(self, client: RedisClient, user: str) -> None:
        self._client = client
        self._tag = KeyNames("p").of_user(user)[0].split(":")[1]
        self.is_away = False
        self.second = Standing()
        self.second.connected()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def shards(self) -> tuple[str, str]:
        return "", "b"

    def standing(self, key: str) -> Standing:
        return self.second if self._is_of_second(key) else self._client.standing("")

    async def execute(self, key: str, *command: Any) -> Any:
        self._check(key)
        return await self._client.execute(key, *command)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        self._check(keys[0])
        return await self._client.run(script, keys, args)

    def _is_of_second(self, key: str) -> bool:
        return key == "b" or "{b}" in key or self._tag in key

    def _check(self, key: str) -> None:
        if self.is_away and self._is_of_second(key):
            raise StoreUnavailable


async def test_a_shard_that_is_away_keeps_the_others_from_nothing_and_is_told_later(place: Place) -> None:
    client = TwoShards(place.client, "sbob")
    apply = place.parts.replay
    apply._client = apply._cursors._client = place.parts.store._client = cast("RedisClient", client)
    assert await place.turn()
    ended = {user: await place.manager.create(user) for user in ("ada", "bob")}
    client.is_away, apply.sweeps = True, True
    for session in ended.values():
        await place.record(session)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await place.turn()
    assert not await place.is_stored(ended["ada"])
    assert place.is_covered()
    assert await place.mark() == 2
    client.is_away = False
    assert await place.is_stored(ended["bob"])
    assert await place.turn()
    assert not await place.is_stored(ended["bob"])


async def test_another_deployments_store_is_refused(place: Place, own_settings: Settings, database: Database) -> None:
    await place.parts.membership.ask_database()
    await place.parts.membership.ask_redis()
    await place.client.execute("", "SET", place.parts.key_names.fleet(""), "another")
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*stateroom db adopt"):
        await place.parts.membership.ask_redis()
    other = await placed(own_settings, database)
    await other.turn()
    assert not other.is_covered()
    assert other.manager.store_state() == "unsettled"
    await other.parts.tail.aclose()
    await other.client.aclose()


async def test_a_foreign_worker_leaves_the_deployments_mark_alone(place: Place) -> None:
    await place.parts.journal.record([EndRow("i1", "x", "logout", 0)] * 3)
    await place.client.execute("", "SET", place.parts.key_names.fleet(""), "another")
    for mark in (1, 1000):
        await place.client.execute("", "SET", place.mark_key, mark)
        assert not await place.turn()
        assert await place.mark() == mark


async def test_an_id_that_redis_lost_is_written_back(place: Place) -> None:
    await place.turn()
    name = place.parts.key_names.fleet("")
    kept = await place.client.execute("", "GET", name)
    assert kept.decode() == place.parts.deployment.id
    await place.client.execute("", "DEL", name)
    await place.parts.membership.look_at_all()
    assert await place.client.execute("", "GET", name) == kept


@pytest.mark.parametrize("value", ["many", None])
@pytest.mark.parametrize("what", ["cursor", "cursor_row", "fleet", "epoch"])
async def test_a_spoilt_key_of_ours_stops_no_turn(place: Place, what: str, value: str | None) -> None:
    """`value`: a string that is none of ours; None for a key of another type. The journal is replayed from the beginning."""
    if what in {"fleet", "epoch"} and value is not None:
        pytest.skip("each string there names something: another deployment, another epoch")
    await place.turn()
    gone = await place.manager.create("ada")
    await place.record(gone)
    place.parts.replay.sweeps = True
    name = getattr(place.parts.key_names, what)("")
    await place.client.execute("", "DEL", name)
    await place.client.execute("", *(("LPUSH", name, "x") if value is None else ("SET", name, value)))
    for _ in range(2):
        await place.turn()
        await place.parts.membership.look_at_all()
    assert not await place.is_stored(gone)
    assert await place.mark() == 1
    fleet = await place.client.execute("", "GET", place.parts.key_names.fleet(""))
    assert fleet.decode() == place.parts.deployment.id
