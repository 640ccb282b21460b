from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stateroom.accounts.passwords import KIND_LENGTH, MAX_PASSWORD_LENGTH, NICENESS, WAITING_PER_THREAD, Passwords
from stateroom.errors import Saturated, SettingsError
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers

ROUNDS = 4
Make = Callable[..., Passwords]


@pytest.fixture
async def make(servers: Servers) -> AsyncIterator[Make]:
    """Makes `Passwords` with quick hashes. Its threads end after the test."""
    made: list[Passwords] = []

    def making(metrics: Metrics | None = None, **values: Any) -> Passwords:
        made.append(Passwords(servers.settings("fakeredis", **{"bcrypt_rounds": ROUNDS, **values}), metrics or Metrics()))
        return made[-1]

    yield making
    for each in made:
        await each.aclose()


def prepared(password: str) -> bytes:
    return Passwords._prepare(PLAIN, password, "sha256")


PLAIN = object.__new__(Passwords)


async def test_a_password_is_known_again_and_another_is_not(make: Make) -> None:
    ours = make()
    stored = await ours.hash("correct horse")
    assert stored.startswith("sha256$$2b$04$")
    assert "correct" not in stored
    assert await ours.verify("correct horse", stored)
    assert not await ours.verify("correct horses", stored)
    assert stored != await ours.hash("correct horse")


@pytest.mark.parametrize(
    ("chosen", "other"),
    [
        ("Correct horse", "correct horse"),
        ("correct horse ", "correct horse"),
        ("caf\u00e9 horse", "cafe\u0301 horse"),
        ("nul\0horse", "nul\0horses"),
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("x" * MAX_PASSWORD_LENGTH, "x" * (MAX_PASSWORD_LENGTH - 1)),
        ("lone \ud800 surrogate", "lone \ud801 surrogate"),
    ],
)
async def test_a_password_counts_exactly_as_typed_to_its_last_character(make: Make, chosen: str, other: str) -> None:
    ours = make()
    stored = await ours.hash(chosen)
    assert await ours.verify(chosen, stored)
    assert not await ours.verify(other, stored)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100), st.text(max_size=100))
def test_different_passwords_are_different_to_bcrypt(one: str, other: str) -> None:
    assert (prepared(one) == prepared(other)) == (one == other)
    assert len(prepared(one)) == 44, "bcrypt looks at 72 bytes"
    assert b"\0" not in prepared(one)


async def test_nobodys_password_is_never_right(make: Make) -> None:
    ours = make()
    for password in ("", "password", "O" * 31, "x" * MAX_PASSWORD_LENGTH):
        assert not await ours.verify(password, None)


async def test_a_pepper_may_be_added_later(make: Make) -> None:
    before, after = make(), make(password_pepper="of the house")
    old = await before.hash("correct horse")
    assert not before.needs_rehash(old)
    assert await after.verify("correct horse", old)
    assert after.needs_rehash(old)
    new = await after.hash("correct horse")
    assert re.match(r"p:[0-9a-f]{4}\$\$2b\$04\$", new)
    assert await after.verify("correct horse", new)
    assert not after.needs_rehash(new)


async def test_a_peppered_hash_is_worth_nothing_without_its_pepper(make: Make) -> None:
    stored = await make(password_pepper="of the house").hash("correct horse")
    assert not await make(password_pepper="another").verify("correct horse", stored)
    assert not await make().verify("correct horse", "sha256" + stored[6:])
    assert not await make().verify("correct horse", stored)


async def test_startup_refuses_passwords_whose_pepper_is_missing(make: Make) -> None:
    pepper = make(password_pepper="of the house")
    kind = (await pepper.hash("correct horse"))[:KIND_LENGTH]
    pepper.survey([kind, "pepper$$2b$04$", "sha256$$2b$04$", ""])
    for of_a_release in (kind, "pepper$$2b$04$"):
        with pytest.raises(SettingsError, match="PASSWORD_PEPPER is not set, but"):
            make().survey([of_a_release])
    with pytest.raises(SettingsError, match="PASSWORD_PEPPER is not the value"):
        make(password_pepper="another").survey([kind])
    make(password_pepper="another").survey(["pepper$$2b$04$"])


async def test_a_hash_of_an_earlier_release_with_the_pepper_is_good_and_stays(make: Make) -> None:
    pepper = make(password_pepper="of the house")
    before = "pepper" + (await pepper.hash("correct horse"))[6:]
    assert await pepper.verify("correct horse", before)
    assert not await pepper.verify("wrong horse", before)
    assert not pepper.needs_rehash(before)


async def test_other_rounds_ask_for_a_new_hash(make: Make) -> None:
    stored = await make().hash("correct horse")
    assert make(bcrypt_rounds=ROUNDS + 1).needs_rehash(stored)
    assert await make(bcrypt_rounds=ROUNDS + 1).verify("correct horse", stored)


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("seven77", "at least 8"),
        ("x" * (MAX_PASSWORD_LENGTH + 1), "at most 1024"),
        ("password1", "most common"),
        ("PassWord123", "most common"),
        ("qwertyuiop", "most common"),
    ],
)
async def test_what_is_wrong_with_a_password_is_said(make: Make, password: str, words: str) -> None:
    [error] = make().errors(password)
    assert error.field == "password"
    assert words in error.message
    assert password not in error.message


@pytest.mark.parametrize(
    "password", ["eight888", "x" * MAX_PASSWORD_LENGTH, "        ", "pässwörd", "correct horse battery staple"]
)
async def test_any_composition_will_do(make: Make, password: str) -> None:
    assert make().errors(password, "new_password") == []


async def test_the_built_in_list_is_of_use(make: Make) -> None:
    listed = make()._blocklist
    assert len([each for each in listed if len(each) >= 8]) > 2000
    assert {"12345678", "iloveyou", "sunshine", "football", "1q2w3e4r", "password1", "trustno1"} <= listed


async def test_the_list_may_be_ones_own_or_off(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\nStateroom\n  our company  \n", encoding="utf-8")
    own = make(password_blocklist=str(path))
    assert own.errors("stateroom")
    assert own.errors("OUR COMPANY")
    assert not own.errors("password123")
    assert not make(password_blocklist="off").errors("password123")
    assert not make(redis_mode="embedded").errors("password123"), "the demo user has a common one"
    assert make(redis_mode="embedded", password_blocklist=str(path)).errors("stateroom")


async def test_a_list_that_cannot_be_read_stops_the_start(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^PASSWORD_BLOCKLIST: .*nowhere.* cannot be read"):
        make(password_blocklist=str(tmp_path / "nowhere"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"^PASSWORD_BLOCKLIST: .*binary.* cannot be read"):
        make(password_blocklist=str(tmp_path / "binary"))


async def test_the_loop_turns_while_a_hash_is_computed(make: Make) -> None:
    ours = make(bcrypt_rounds=10)
    hashing = asyncio.create_task(ours.hash("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns >= 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a thread be nicer than its process")
async def test_hashing_threads_are_nicer_than_the_loop(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(password: bytes, salt: bytes) -> bytes:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return salt

    monkeypatch.setattr(bcrypt, "hashpw", look)
    await make().hash("correct horse")
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert seen == [min(ours + NICENESS, 19)] or seen == [NICENESS]
    assert ours < NICENESS


class Held:
    """A bcrypt that waits until the test releases it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        monkeypatch.setattr(bcrypt, "hashpw", self._hash)

    def _hash(self, password: bytes, salt: bytes) -> bytes:
        assert self.go.wait(10)
        return salt


async def test_a_full_queue_is_refused_with_a_time_to_wait_and_empties(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    held, metrics = Held(monkeypatch), Metrics()
    ours = make(metrics)
    room = ours._threads * (1 + WAITING_PER_THREAD)
    asking = [asyncio.create_task(ours.hash("correct horse")) for _ in range(room)]
    await asyncio.sleep(0)
    assert depth(metrics) == ours._threads * WAITING_PER_THREAD
    with pytest.raises(Saturated) as caught:
        await ours.hash("one too many")
    assert caught.value.status == 503
    assert 1 <= caught.value.retry_after <= 10
    held.go.set()
    await asyncio.gather(*asking)
    assert depth(metrics) == 0
    await ours.hash("room again")
    assert metrics.registry.get_sample_value("stateroom_password_hash_duration_seconds_count") == room + 1


async def test_who_goes_away_still_counts_until_the_thread_is_free(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    held, metrics = Held(monkeypatch), Metrics()
    ours = make(metrics)
    asking = [asyncio.create_task(ours.hash("correct horse")) for _ in range(ours._threads * (1 + WAITING_PER_THREAD))]
    await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert all(each.cancelled() for each in asking)
    with pytest.raises(Saturated):
        await ours.hash("one too many")
    held.go.set()
    async with asyncio.timeout(5):
        while ours._under_way:
            await asyncio.sleep(0.005)
    assert depth(metrics) == 0


async def test_closing_ends_the_threads_and_drops_who_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    ours = make()
    asking = [asyncio.create_task(ours.hash("correct horse")) for _ in range(ours._threads + 1)]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, held.go.set)
    await ours.aclose()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(results[-1], asyncio.CancelledError)
    assert [each for each in threading.enumerate() if each.name.startswith("stateroom-bcrypt")] == []


def depth(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("stateroom_password_hash_queue_depth")
