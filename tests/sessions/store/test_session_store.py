"""One suite for every kind of store: fakeredis, embedded Valkey, Debian's Redis, Sentinel, a six-node Cluster."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import pytest

from stateroom.backend.client import Argument, RedisClient, Script
from stateroom.errors import SessionTooLarge
from stateroom.sessions.model.fields import Delta
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.store.key_names import TAG_COUNT, KeyNames
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.store.results import Conflict
from stateroom.sessions.store.scripts import SCRIPTS
from stateroom.sessions.store.session_store import SessionStore

IDLE, LIFETIME = 60_000, 600_000


@pytest.fixture
def clock() -> RedisClock:
    return RedisClock()


@pytest.fixture
async def store(client: RedisClient, clock: RedisClock) -> SessionStore:
    # A prefix of its own: the servers live as long as the test run.
    keys = KeyNames(f"test-{secrets.token_hex(4)}")
    await clock.calibrate(client, keys.sweeper)
    return SessionStore(client, keys, clock, max_bytes=1000, timeout=0.5)


def address(user: str = "i1") -> SessionRef:
    return SessionRef(user, secrets.token_hex(11))


async def create(store: SessionStore, at: SessionRef | None = None, *, limit: int = 0, **data: bytes) -> SessionRef:
    at = at or address()
    fields: dict[str, Argument] = {f".{key}": value for key, value in data.items()}
    await store.create(at, idle_ms=IDLE, lifetime_ms=LIFETIME, max_per_user=limit, fields={**fields, "g": 0})
    return at


async def sweep_all(store: SessionStore) -> list[str]:
    swept = await asyncio.gather(*(store.sweep(tag) for tag in range(TAG_COUNT)))
    return [ended.handle for each in swept for ended in each]


async def test_a_session_is_loaded_as_it_was_created(store: SessionStore, clock: RedisClock) -> None:
    at = await create(store, cart=b"[1]")
    fields = await store.load(at)
    assert fields is not None
    assert fields[b".cart"] == b"[1]"
    assert fields[b"u"] == b"i1"
    assert fields[b"a"] == fields[b"c"] == fields[b"r"]
    assert int(fields[b"d"]) == int(fields[b"c"]) + LIFETIME
    assert abs(int(fields[b"c"]) - clock.now_ms()) < 2000


async def test_a_missing_session_is_an_answer(store: SessionStore) -> None:
    at = address()
    assert await store.load(at) is None
    assert await store.save(at, Delta(values={".a": b"1"}), renew=True) is None
    assert await store.renew(at, interval_ms=0) is None
    assert await store.change(at, ".a", None, b"1") is None
    assert await store.take(at, ["!info"]) is None
    assert await store.prepare_rotation(at, address(), generation=1, signs_in=True) is None
    assert await store.claim_rotation(at, address()) is None
    assert (await store.delete(at))[0] is None
    assert await store.load(at) is None


async def test_a_save_writes_what_changed_and_nothing_else(store: SessionStore) -> None:
    at = await create(store, kept=b"1", changed=b"1", deleted=b"1")
    saved = await store.save(at, Delta(values={".changed": b"2", ".new": b"3"}, deleted=[".deleted"]), renew=False)
    fields = await store.load(at)
    assert saved is not None
    assert fields is not None
    assert {name: fields[name] for name in fields if name[:1] == b"."} == {b".kept": b"1", b".changed": b"2", b".new": b"3"}
    assert saved.size == len(".kept1.changed2.new3")


async def test_parallel_saves_of_different_keys_lose_nothing(store: SessionStore) -> None:
    at = await create(store)
    await asyncio.gather(*(store.save(at, Delta(values={f".{n}": b"1"}), renew=False) for n in range(100)))
    fields = await store.load(at)
    assert fields is not None
    assert sum(name[:1] == b"." for name in fields) == 100


async def test_a_save_over_the_limit_is_refused_and_leaves_the_session_untouched(store: SessionStore) -> None:
    at = await create(store, a=b"1")
    before = await store.load(at)
    with pytest.raises(SessionTooLarge, match="SESSION_MAX_BYTES"):
        await store.save(at, Delta(values={".big": b"x" * 1000}), renew=True)
    assert await store.load(at) == before
    await store.save(at, Delta(values={".big": b"x" * 900}), renew=False)
    with pytest.raises(SessionTooLarge):
        await store.change(at, ".other", None, b"y" * 100)
    await store.save(at, Delta(deleted=[".big"]), renew=False)
    assert isinstance(await store.change(at, ".other", None, b"y" * 100), int)


async def test_the_size_follows_every_kind_of_write(store: SessionStore) -> None:
    at = await create(store, a=b"123")
    await store.save(at, Delta(appended={"!info": "one"}), renew=False)
    await store.save(at, Delta(appended={"!info": "two"}), renew=False)
    await store.change(at, ".b", None, b"12345")
    fields = await store.load(at)
    assert fields is not None
    stored = {name: value for name, value in fields.items() if name[:1] in b".!"}
    assert int(fields[b"z"]) == sum(len(name) + len(value) for name, value in stored.items())
    await store.take(at, ["!info"])
    await store.change(at, ".b", b"12345", None)
    await store.save(at, Delta(deleted=[".a"]), renew=False)
    fields = await store.load(at)
    assert fields is not None
    assert fields[b"z"] == b"0"


async def test_a_change_is_made_only_over_the_value_seen(store: SessionStore) -> None:
    at = await create(store, n=b"1")
    assert await store.change(at, ".n", b"0", b"2") == Conflict(b"1")
    assert await store.change(at, ".n", None, b"2") == Conflict(b"1")
    assert await store.change(at, ".n", b"1", b"2") == len(".n2")
    assert await store.change(at, ".n", b"2", None) == 0
    assert await store.change(at, ".n", b"2", b"3") == Conflict(None)


async def test_flash_messages_add_up_and_are_taken_once(store: SessionStore) -> None:
    at = await create(store)
    await asyncio.gather(*(store.save(at, Delta(appended={"!info": str(n)}), renew=False) for n in range(20)))
    taken = await asyncio.gather(*(store.take(at, ["!info", "!error"]) for _ in range(20)))
    found = [each[0] for each in taken if each is not None and each[0] is not None]
    assert len(found) == 1
    assert sorted(found[0].split(b"\n")) == sorted(str(n).encode() for n in range(20))


async def test_renewal_slides_the_idle_lifetime_but_never_past_the_deadline(store: SessionStore, clock: RedisClock) -> None:
    at = await create(store)
    created = await store.load(at)
    assert created is not None
    for _ in range(11):
        clock.skew_ms += IDLE - 1000
        renewed = await store.renew(at, interval_ms=0)
        if renewed is None:
            break
        assert renewed.expires_at <= int(created[b"d"])
        assert renewed.expires_at == min(renewed.renewed_at + IDLE, int(created[b"d"]))
    clock.skew_ms = LIFETIME + 1000
    assert await store.load(at) is None


async def test_renewal_is_written_once_per_interval(store: SessionStore, clock: RedisClock) -> None:
    at = await create(store)
    clock.skew_ms += 10_000
    first = await store.renew(at, interval_ms=5_000)
    clock.skew_ms += 1_000
    assert await store.renew(at, interval_ms=5_000) == first
    clock.skew_ms += 5_000
    assert await store.renew(at, interval_ms=5_000) != first


async def test_an_ended_session_is_gone_from_everywhere(store: SessionStore) -> None:
    at = await create(store)
    ended, _ = await store.delete(at)
    assert ended is not None
    assert ended.user_id == 1
    assert ended.lifetime_seconds < 2
    assert await store.load(at) is None
    assert await store.handles("i1") == []
    assert await store.count_active() == 0
    assert (await store.delete(at))[0] is None


async def test_a_deletion_returns_the_last_fields_if_it_is_asked_for_them(store: SessionStore) -> None:
    at = await create(store, a=b"1")
    await store.save(at, Delta(values={".b": b"2"}), renew=False)
    fields = await store.load(at)
    ended, _ = await store.delete(at, with_fields=True)
    assert ended is not None
    assert ended.fields == fields
    assert (await store.delete(at, with_fields=True))[0] is None
    ended, _ = await store.delete(await create(store, a=b"1"))
    assert ended is not None
    assert ended.fields == {}


async def test_nothing_brings_an_ended_session_back(store: SessionStore) -> None:
    at = await create(store, a=b"1")
    await store.delete(at)
    assert await store.save(at, Delta(values={".a": b"2"}), renew=True) is None
    assert await store.renew(at, interval_ms=0) is None
    assert await store.change(at, ".a", b"1", b"2") is None
    assert await store.load(at) is None
    assert await store.count_active() == 0


async def test_rotation_keeps_the_data_and_kills_the_old_id(store: SessionStore) -> None:
    old = await create(store, a=b"1")
    new = address()
    assert await store.prepare_rotation(old, new, generation=5, signs_in=True) is not None
    # Until it is claimed the copy neither counts nor is listed, and the old one is good.
    assert await store.count_active() == 1
    assert await store.handles("i1") == [old.handle]
    await store.save(old, Delta(values={".late": b"2"}), renew=False)
    assert await store.claim_rotation(old, new) is not None
    fields = await store.load(new)
    assert fields is not None
    assert (fields[b".a"], fields[b".late"], fields[b"g"]) == (b"1", b"2", b"5")
    assert await store.load(old) is None
    assert await store.handles("i1") == [new.handle]
    assert await store.count_active() == 1


async def test_a_user_over_the_limit_is_told_the_oldest(store: SessionStore) -> None:
    first, second = await create(store), await create(store)
    third = address()
    created = await store.create(third, idle_ms=IDLE, lifetime_ms=LIFETIME, max_per_user=2, fields={"g": 0})
    # Two made in one millisecond are equally old.
    assert created.over_limit in [(first.handle,), (second.handle,)]
    assert set(await store.handles("i1")) == {first.handle, second.handle, third.handle}


async def test_a_session_that_is_about_to_be_replaced_does_not_count_against_the_limit(store: SessionStore) -> None:
    first, second, third = await create(store), await create(store), address()
    life = {"idle_ms": IDLE, "lifetime_ms": LIFETIME, "max_per_user": 2}
    assert (await store.create(third, **life, fields={"g": 0}, replaces=second.handle)).over_limit == ()
    await store.delete(second)
    fourth = await store.create(address(), **life, fields={"g": 0}, replaces=secrets.token_hex(11))
    assert fourth.over_limit in [(first.handle,), (third.handle,)]


async def test_a_user_lists_own_sessions_only(store: SessionStore) -> None:
    mine = [await create(store) for _ in range(3)]
    await create(store, address("i2"))
    await create(store, address(""))
    assert sorted(handle for handle, _ in await store.of_user("i1")) == sorted(at.handle for at in mine)


async def test_the_active_count_is_of_all_users_and_visitors(store: SessionStore, clock: RedisClock) -> None:
    for user in ("i1", "i1", "i2", "sx", "", ""):
        await create(store, address(user))
    assert await store.count_active() == 6
    clock.skew_ms += IDLE + 1000
    assert await store.count_active() == 0


async def test_counting_leaves_room_for_loads(store: SessionStore, client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    at, execute = await create(store), client.execute
    under_way, most = 0, 0

    async def counted(key: str, *command: Argument) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await execute(key, *command)
        finally:
            under_way -= 1

    monkeypatch.setattr(client, "execute", counted)
    counting = asyncio.create_task(store.count_active())
    assert await store.load(at) is not None
    assert not counting.done()
    assert await counting == 1
    assert most < TAG_COUNT / 10


async def test_each_expiry_is_swept_and_counted_once(store: SessionStore, clock: RedisClock) -> None:
    due = {(await create(store, address(user))).handle for user in ("i1", "i1", "")}
    clock.skew_ms += IDLE - 1000
    alive = await create(store)
    clock.skew_ms += 2000
    swept = await asyncio.gather(sweep_all(store), sweep_all(store))
    assert sorted(swept[0] + swept[1]) == sorted(due)
    assert await store.handles("i1") == [alive.handle]
    assert await sweep_all(store) == []
    assert await store.count_active() == 1


async def test_one_worker_sweeps_until_it_is_silent(store: SessionStore) -> None:
    assert await store.claim_sweep("a", hold_ms=60_000)
    assert not await store.claim_sweep("b", hold_ms=60_000)
    assert await store.claim_sweep("a", hold_ms=1)
    while not await store.claim_sweep("b", hold_ms=60_000):
        await asyncio.sleep(0)


async def test_a_write_that_comes_too_late_does_nothing(store: SessionStore, client: RedisClient, clock: RedisClock) -> None:
    at = await create(store, a=b"1")

    args: list[Argument] = [0, clock.now_ms() - 60_000, at.handle, at.user, 1000, 1, 1, 0, 0, ".a", b"2"]
    reply = await client.run(SCRIPTS["save"], store._key_names.of_session(at), args)
    assert reply == [-1]
    fields = await store.load(at)
    assert fields is not None
    assert fields[b".a"] == b"1"


async def test_a_clock_that_was_set_back_is_noticed_and_corrected(store: SessionStore, clock: RedisClock) -> None:
    at = await create(store)
    clock.offset_ms -= 3_600_000
    assert await store.save(at, Delta(values={".a": b"1"}), renew=False) is not None
    assert abs(clock.now_ms() - time.time() * 1000) < 60_000


async def test_nobody_ends_a_session_of_another_user_under_the_same_tag(store: SessionStore) -> None:
    owner = await create(store, address("i1"), a=b"1")
    same = next(
        user
        for user in (f"i{number}" for number in range(2, 100_000))
        if store.key(SessionRef(user, owner.handle)) == store.key(owner)
    )
    other = SessionRef(same, owner.handle)
    assert not await store.exists(other)
    assert (await store.delete(other))[0] is None
    assert await store.exists(owner)
    assert (await store.delete(owner))[0] is not None


async def test_the_first_write_of_a_worker_has_a_deadline_too(client: RedisClient) -> None:
    """Of a worker that started while Redis was away: one that comes any time later could bring an ended session back."""
    clock = RedisClock()
    clock.offset_ms -= 3_600_000
    await create(SessionStore(client, KeyNames(f"test-{secrets.token_hex(4)}"), clock, max_bytes=1000, timeout=0.5))
    assert abs(clock.now_ms() - time.time() * 1000) < 60_000


async def test_redis_ends_a_session_by_itself(store: SessionStore, client: RedisClient) -> None:
    at = address()
    await store.create(at, idle_ms=50, lifetime_ms=LIFETIME, max_per_user=0, fields={"g": 0})
    key = store._key_names.session(at)
    assert 0 < await client.execute(key, "PTTL", key) <= 50
    async with asyncio.timeout(5):
        while await store.load(at) is not None:
            await asyncio.sleep(0.01)  # Redis has no event to await here


async def test_a_flood_of_expired_sessions_is_swept_in_short_steps_and_counted_whole(
    store: SessionStore, clock: RedisClock, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await asyncio.gather(*(create(store, address("i9")) for _ in range(60)))
    steps = []
    run = client.run

    async def noted(script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        reply = await run(script, keys, args)
        steps.append(len(reply) // 2)
        return reply

    clock.skew_ms += IDLE + 1
    monkeypatch.setattr(client, "run", noted)
    assert sorted(await sweep_all(store)) == sorted(at.handle for at in made)
    assert max(steps) <= 25
    assert await sweep_all(store) == []
    assert await store.count_active() == 0
