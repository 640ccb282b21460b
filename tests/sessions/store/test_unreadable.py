"""A session that cannot be read is a missing session and a log line, in every step: for every kind of store."""

from __future__ import annotations

import logging
import secrets

import pytest

from stateroom.backend.client import RedisClient
from stateroom.backend.own_keys import number_in, text_of, value_of
from stateroom.sessions.model.fields import Delta
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.store.key_names import TAG_COUNT, KeyNames
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.store.session_store import SessionStore

USER = "i7"
LIFE_MS = 600_000


class Spoilt:
    """A store with one session that somebody has spoilt, and one that is good, of the same user."""

    def __init__(self, client: RedisClient, keys: KeyNames, store: SessionStore) -> None:
        self.client = client
        self.keys = keys
        self.store = store
        self.ref = self.good = SessionRef(USER, "")

    async def begin(self) -> None:
        self.ref, self.good = await self.create(), await self.create()

    async def create(self) -> SessionRef:
        ref = SessionRef(USER, secrets.token_hex(11))
        await self.store.create(ref, idle_ms=LIFE_MS, lifetime_ms=LIFE_MS, max_per_user=0, fields={".a": b"1", "g": 0})
        return ref

    async def spoil(self, how: str) -> None:
        key = self.keys.session(self.ref)
        if how == "type":
            await self.client.execute(key, "DEL", key)
            await self.client.execute(key, "SET", key, "x")
        elif how.startswith("no "):
            await self.client.execute(key, "HDEL", key, how.removeprefix("no "))
        else:
            name, _, value = how.partition("=")
            await self.client.execute(key, "HSET", key, name, value)


@pytest.fixture
async def spoilt(client: RedisClient) -> Spoilt:
    keys, clock = KeyNames(f"test-{secrets.token_hex(4)}"), RedisClock()
    await clock.calibrate(client, keys.sweeper)
    made = Spoilt(client, keys, SessionStore(client, keys, clock, max_bytes=1000, timeout=5))
    await made.begin()
    return made


WAYS = ["type", "r=soon", "c=", "d=1e999", "i=-5", "d=99999999999999999999", "z=many", "no r", "no z"]


@pytest.mark.parametrize("how", WAYS)
async def test_every_step_takes_it_for_a_missing_session(spoilt: Spoilt, how: str) -> None:
    await spoilt.spoil(how)
    store, ref = spoilt.store, spoilt.ref
    assert await store.save(ref, Delta(values={".a": b"2"}, appended={"!info": "x"}), renew=True) is None
    assert await store.renew(ref, interval_ms=0) is None
    assert await store.change(ref, ".a", b"1", b"2") is None
    assert await store.take(ref, ["!info"]) is None
    assert await store.prepare_rotation(ref, SessionRef(USER, "new"), generation=1, signs_in=True) is None
    assert await store.claim_rotation(ref, SessionRef(USER, "new")) is None
    assert await store.confirm(ref) is False
    await store.delete_without_waiting(ref)
    assert not await store.exists(ref)


@pytest.mark.parametrize("how", [way for way in WAYS if "z" not in way])
async def test_a_list_leaves_it_out_and_says_so(spoilt: Spoilt, how: str, caplog: pytest.LogCaptureFixture) -> None:
    await spoilt.spoil(how)
    with caplog.at_level(logging.WARNING):
        assert [handle for handle, _ in await spoilt.store.of_user(USER)] == [spoilt.good.handle]
        assert [handle for handle, _ in await spoilt.store.newest(USER, limit=10)] == [spoilt.good.handle]
    assert "session_unreadable" in caplog.text or "store_key_of_another_type" in caplog.text
    assert not await spoilt.store.exists(spoilt.ref)
    assert await spoilt.store.exists(spoilt.good)


@pytest.mark.parametrize("how", ["type", "c=", "no c", "g=x"])
async def test_the_end_of_all_ends_it_too(spoilt: Spoilt, how: str) -> None:
    await spoilt.spoil(how)
    ended = await spoilt.store.delete_older(USER, None)
    assert spoilt.good.handle in [each.handle for each in ended]
    key = spoilt.keys.session(spoilt.ref)
    if how != "no c":
        assert await spoilt.client.execute(key, "EXISTS", key) == 0


@pytest.mark.parametrize("how", WAYS)
async def test_a_lost_session_is_stored_again_in_its_place(spoilt: Spoilt, how: str) -> None:
    await spoilt.spoil(how)
    now = spoilt.store.now_ms()
    arguments = {"created": now, "renewed": now, "deadline": now + LIFE_MS, "idle_ms": LIFE_MS}
    assert await spoilt.store.restore(spoilt.ref, **arguments, fields={"g": 0, "a": now}) is True
    assert await spoilt.store.confirm(spoilt.ref)
    assert await spoilt.store.exists(spoilt.ref)


async def test_one_more_sign_in_at_the_limit_passes_it_over(spoilt: Spoilt) -> None:
    await spoilt.spoil("type")
    ref = SessionRef(USER, secrets.token_hex(11))
    made = await spoilt.store.create(ref, idle_ms=LIFE_MS, lifetime_ms=LIFE_MS, max_per_user=1, fields={"g": 0})
    assert made.over_limit == (spoilt.good.handle,)


async def test_an_index_of_another_type_is_an_empty_one_until_a_session_makes_it_anew(spoilt: Spoilt) -> None:
    index, expiries = spoilt.keys.of_user(USER)
    for key in (index, expiries):
        await spoilt.client.execute(key, "DEL", key)
        await spoilt.client.execute(key, "SET", key, "x")
    store = spoilt.store
    assert await store.handles(USER) == []
    assert await store.newest(USER, limit=5) == []
    assert await store.count_active() == 0
    assert await store.users() == set()
    assert await store.delete_older(USER, None) == []
    assert [each async for each in store.delete_epoch("old")] == []
    for tag in range(TAG_COUNT):
        if spoilt.keys.expiries[tag] == expiries:
            assert await store.sweep(tag) == []
    assert (await store.delete(spoilt.ref))[0] is not None
    made = await spoilt.create()
    assert await store.handles(USER) == [made.handle]
    assert await store.count_active() == 1


async def test_an_entry_of_an_index_that_names_no_session_is_swept_away(spoilt: Spoilt) -> None:
    expiries = spoilt.keys.of_user(USER)[1]
    await spoilt.client.execute(expiries, "ZADD", expiries, 1, "nonsense", 1, "a:b:c")
    assert await spoilt.store.users() == {USER}
    assert await spoilt.store.sweep(spoilt.keys.expiries.index(expiries)) == []
    assert await spoilt.client.execute(expiries, "ZCARD", expiries) == 2


@pytest.mark.parametrize("command", [("LPUSH", "x"), ("HSET", "x", "y"), ("SADD", "x")])
async def test_a_string_of_ours_that_is_of_another_type_is_missing_and_makes_room_for_the_next(
    spoilt: Spoilt, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    keys, store, ref = spoilt.keys, spoilt.store, spoilt.ref
    ours = [keys.sweeper, keys.active, keys.tombstone(ref), keys.cursor(""), keys.fleet(""), keys.epoch("")]
    for key in ours:
        await spoilt.client.execute(key, "DEL", key)
        await spoilt.client.execute(key, command[0], key, *command[1:])
    with caplog.at_level(logging.WARNING):
        for key in ours[3:]:
            assert await value_of(spoilt.client, key) is None
        assert await store.tombstone(ref) is None
        assert await store.published_active() is None
        assert not await store.claim_sweep("worker", hold_ms=5000)
        assert await store.claim_sweep("worker", hold_ms=5000)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(ours)
    for key in ours:
        assert any(key in line for line in told)
    caplog.clear()
    for key in ours[1:]:
        assert await value_of(spoilt.client, key) is None
    assert caplog.records == []


async def test_a_text_of_ours_that_is_not_utf_8_is_missing_and_makes_room_for_the_next(
    spoilt: Spoilt, caplog: pytest.LogCaptureFixture
) -> None:
    keys, store, ref = spoilt.keys, spoilt.store, spoilt.ref
    ours = [keys.tombstone(ref), keys.fleet(""), keys.epoch("")]
    for key in ours:
        await spoilt.client.execute(key, "SET", key, b"\xff\xfe")
    with caplog.at_level(logging.WARNING):
        assert await store.tombstone(ref) is None
        for key in ours[1:]:
            assert await text_of(spoilt.client, key) is None
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(ours)
    for key, line in zip(ours, told, strict=True):
        assert "store_value_unreadable" in line
        assert key in line
        assert await spoilt.client.execute(key, "EXISTS", key) == 0
    assert await store.entomb(ref, "logout", None, 5000)
    assert await store.tombstone(ref) == "logout"


def test_a_value_that_is_no_number_is_missing_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    assert [number_in(value, "key") for value in (b"17", None)] == [17, None]
    assert caplog.records == []
    assert number_in(b"many", "key") is None
    assert len(caplog.records) == 1
