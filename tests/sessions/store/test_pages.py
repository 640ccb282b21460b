"""A user's sessions, newest first, in pages: for every kind of store."""

from __future__ import annotations

import secrets

import pytest

from stateroom.backend.client import RedisClient
from stateroom.sessions.model.fields import CREATED
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.store import session_store
from stateroom.sessions.store.key_names import KeyNames
from stateroom.sessions.store.pages import Position, handles_page
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.store.session_store import SessionStore

USER = "i7"
LIFE_MS = 600_000


@pytest.fixture
async def store(client: RedisClient) -> SessionStore:
    keys, clock = KeyNames(f"test-{secrets.token_hex(4)}"), RedisClock()
    await clock.calibrate(client, keys.sweeper)
    return SessionStore(client, keys, clock, max_bytes=1000, timeout=5)


async def create(store: SessionStore) -> SessionRef:
    ref = SessionRef(USER, secrets.token_hex(11))
    await store.create(ref, idle_ms=LIFE_MS, lifetime_ms=LIFE_MS, max_per_user=0, fields={"g": 0})
    return ref


async def test_pages_have_each_session_once_though_some_end_between_them(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "PAGE", 4)
    made = [await create(store) for _ in range(11)]
    gone = made[8]
    await store.delete(gone)
    seen: list[str] = []
    before: Position | None = None
    while page := await store.newest(USER, limit=3, before=before):
        seen += [handle for handle, _ in page]
        before = Position(page[-1][0], int(page[-1][1][CREATED]))
        await store.delete(SessionRef(USER, page[-1][0]))  # the place where a page ended stays a place
    assert set(seen) == {ref.handle for ref in made} - {gone.handle}
    assert len(seen) == 10
    assert await store.handles(USER) != []


async def test_they_come_newest_first_and_of_all_there_is_no_limit(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_store, "PAGE", 4)
    for _ in range(11):
        await create(store)
    created = [int(fields[CREATED]) for _, fields in await store.newest(USER, limit=100)]
    assert created == sorted(created, reverse=True)
    assert len(created) == len(await store.of_user(USER)) == len(await store.handles(USER)) == 11


async def test_sessions_of_one_millisecond_are_told_apart_by_their_handles(client: RedisClient, store: SessionStore) -> None:
    key = store.user_key(USER)
    handles = [f"h{number:02}" for number in range(10)]
    await client.execute(key, "ZADD", key, *(argument for handle in handles for argument in (1000, handle)))
    await client.execute(key, "ZADD", key, 999, "older")
    seen: list[str] = []
    before: Position | None = None
    while page := await handles_page(client, key, before, 3):
        seen += [handle for handle, _ in page]
        before = page[-1]
    assert seen == [*reversed(handles), "older"]
