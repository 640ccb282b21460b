from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stateroom.accounts import Accounts, User
from stateroom.accounts.demo import DEMO_EMAIL, DEMO_PASSWORD
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.passwords import WAITING_PER_THREAD
from stateroom.backend.client import RedisClient
from stateroom.database import Database
from stateroom.errors import (
    BadInput,
    Conflict,
    DatabaseUnavailable,
    InvalidCredentials,
    Saturated,
    TooManyAttempts,
)
from stateroom.telemetry.metrics import Metrics

from ..logs import capture_events
from ..servers import Servers

EMAIL, PASSWORD, ADDRESS = "ada@example.com", "correct horse", "192.0.2.1"

Make = Callable[..., Accounts]


pytestmark = pytest.mark.usefixtures("counted_ids")


@pytest.fixture
async def users_database(servers: Servers, tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(servers.settings("fakeredis", database_url=None, state_dir=tmp_path))
    await made.upgrade()
    yield made
    await made.aclose()


@pytest.fixture
async def make(servers: Servers, fake: RedisClient, users_database: Database) -> AsyncIterator[Make]:
    """Makes services over one database and one store, and closes them after the test."""
    made: list[Accounts] = []

    def making(metrics: Metrics | None = None, **values: Any) -> Accounts:
        quick = {"bcrypt_rounds": 4, "login_attempts": 3, "login_attempts_per_address": 1000}
        settings = servers.settings("fakeredis", **(quick | values))
        outbox = Outbox(users_database)
        made.append(Accounts(settings, users_database, fake, metrics or Metrics(), outbox, report_unknown=lambda _: None))
        return made[-1]

    yield making
    for each in made:
        await each.aclose()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def accounts(make: Make, metrics: Metrics) -> Accounts:
    return make(metrics)


async def ada(accounts: Accounts) -> User:
    return await accounts.users.create(EMAIL, "Ada", await accounts.passwords.hash(PASSWORD))


async def change_password(accounts: Accounts, new: str, *, current: str = PASSWORD) -> User:
    """Change the first user's password in the transaction that ends the sessions."""
    user, store = await accounts.change_password(1, current, new, ADDRESS)
    await accounts.users._database.write(store)
    return user


async def guess(accounts: Accounts, times: int = 1, *, email: str = EMAIL, address: str = ADDRESS) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            await accounts.authenticate(email, "wrong", address)


def logins(metrics: Metrics, result: str) -> float | None:
    return metrics.registry.get_sample_value("stateroom_logins_total", {"result": result})


async def test_a_user_signs_in_with_the_password(accounts: Accounts, metrics: Metrics) -> None:
    user = await ada(accounts)
    assert await accounts.authenticate("ADA@example.com", PASSWORD, ADDRESS) == user
    assert await accounts.get(user.id) == user
    assert PASSWORD not in user.password_hash
    accounts.count_login(degraded=False)
    assert logins(metrics, "success") == 1


async def test_unknown_wrong_and_disabled_are_the_same_failure(accounts: Accounts, metrics: Metrics) -> None:
    user = await ada(accounts)
    failures = []
    with capture_events() as logs:
        for email, password in ((EMAIL, "wrong"), ("eve@example.com", PASSWORD), ("no address", PASSWORD)):
            with pytest.raises(InvalidCredentials) as caught:
                await accounts.authenticate(email, password, ADDRESS)
            failures.append(str(caught.value))
        await accounts.users.disable(user.id)
        with pytest.raises(InvalidCredentials) as caught:
            await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    assert {*failures, str(caught.value)} == {"invalid credentials"}
    assert logins(metrics, "failure") == 4
    assert [(each["event"], each["user_id"]) for each in logs] == [("sign_in_failed", each) for each in (1, None, None, 1)]
    assert "horse" not in str(logs)
    assert EMAIL not in str(logs)
    await accounts.users.enable(user.id)
    assert await accounts.authenticate(EMAIL, PASSWORD, ADDRESS) == user


async def test_unknown_user_and_wrong_password_take_the_same_time(make: Make) -> None:
    accounts = make(bcrypt_rounds=8, login_attempts=1000)
    await ada(accounts)
    took: dict[str, list[float]] = {EMAIL: [], "eve@example.com": []}
    for _ in range(100):
        for email, times in took.items():
            began = time.perf_counter()
            await guess(accounts, email=email)
            times.append(time.perf_counter() - began)
    known, unknown = (statistics.median(times) for times in took.values())
    assert abs(known - unknown) / known < 0.05


async def test_guessing_is_throttled_at_the_guessers_address_only(accounts: Accounts, metrics: Metrics) -> None:
    user = await ada(accounts)
    await guess(accounts, 3)
    with pytest.raises(TooManyAttempts) as caught:
        await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    assert 0 < caught.value.retry_after <= 300
    assert logins(metrics, "throttled") == 1
    assert await accounts.authenticate(EMAIL, PASSWORD, "192.0.2.2") == user


async def test_parallel_guesses_are_not_hashed_beyond_the_limit(accounts: Accounts, metrics: Metrics) -> None:
    await ada(accounts)
    hashed = metrics.registry.get_sample_value("stateroom_password_hash_duration_seconds_count") or 0
    guesses = (accounts.authenticate(EMAIL, f"guess {number}", ADDRESS) for number in range(30))
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert [type(each) for each in results].count(InvalidCredentials) == 3
    assert [type(each) for each in results].count(TooManyAttempts) == 27
    assert metrics.registry.get_sample_value("stateroom_password_hash_duration_seconds_count") == hashed + 3


async def test_a_good_sign_in_forgets_the_typos_before_it(accounts: Accounts) -> None:
    await ada(accounts)
    for _ in range(3):
        await guess(accounts, 2)
        await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)


async def test_one_address_does_not_fill_the_queue_for_everybody(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, release = make(login_attempts=1000), asyncio.Event()

    async def held(password: str, stored: str | None) -> bool:
        await release.wait()
        return False

    monkeypatch.setattr(ours.passwords, "verify", held)
    share = ours.passwords._threads * WAITING_PER_THREAD // 2
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        asking = [
            group.create_task(refusal(ours.authenticate(EMAIL, PASSWORD, f"2001:db8::{number:x}"))) for number in range(share + 1)
        ]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        [refused] = [each.result() for each in done]
        assert isinstance(refused, TooManyAttempts)
        assert refused.retry_after >= 1
        others = group.create_task(refusal(ours.authenticate(EMAIL, PASSWORD, "2001:db8:0:1::1")))
        release.set()
    assert isinstance(others.result(), InvalidCredentials)
    assert not ours.passwords._shares


async def refusal(asked: Awaitable[Any]) -> Exception:
    with pytest.raises((TooManyAttempts, InvalidCredentials)) as caught:
        await asked
    return caught.value


async def test_an_attempt_that_could_not_be_made_does_not_count(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    await ada(accounts)

    async def full(*_: object) -> bool:
        raise Saturated

    async def away(*_: object) -> User | None:
        raise DatabaseUnavailable

    for owner, name, fault in ((accounts.passwords, "verify", full), (accounts.users, "by_email", away)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fault)
            for _ in range(10):
                with pytest.raises((Saturated, DatabaseUnavailable)):
                    await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    await guess(accounts, 2)
    await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)


async def test_who_is_disabled_while_the_hash_is_computed_does_not_get_in(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await ada(accounts)
    _meanwhile(accounts, monkeypatch, lambda: accounts.users.disable(user.id))
    with pytest.raises(InvalidCredentials):
        await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)


async def test_a_password_that_is_changed_while_it_is_verified_is_the_old_one(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await ada(accounts)
    fresh = await accounts.passwords.hash("a better horse")

    async def change() -> None:
        assert await accounts.users.set_password_hash(user.id, fresh, seen=user.password_hash)

    with monkeypatch.context() as patch:
        _meanwhile(accounts, patch, change)
        with pytest.raises(InvalidCredentials):
            await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    assert (await accounts.authenticate(EMAIL, "a better horse", ADDRESS)).id == user.id


def _meanwhile(accounts: Accounts, patch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Run something once, after a user is read and before the first hash ends."""
    verify = accounts.passwords.verify
    waiting = [happens]

    async def verify_slowly(password: str, stored: str | None) -> bool:
        result = await verify(password, stored)
        if waiting:
            await waiting.pop()()
        return result

    patch.setattr(accounts.passwords, "verify", verify_slowly)


async def test_new_settings_reach_a_stored_hash_at_the_next_sign_in(make: Make) -> None:
    user = await ada(make())
    later = make(bcrypt_rounds=5, password_pepper="of the house")
    signed_in = await later.authenticate(EMAIL, PASSWORD, ADDRESS)
    stored = (await later.get(user.id)).password_hash
    assert re.match(r"p:[0-9a-f]{4}\$\$2b\$05\$", stored)
    assert signed_in.password_hash == stored
    assert (await later.authenticate(EMAIL, PASSWORD, ADDRESS)).password_hash == stored


async def test_two_sign_ins_at_once_both_get_in_while_the_hash_is_renewed(make: Make) -> None:
    user = await ada(make())
    later = make(bcrypt_rounds=5)
    both = await asyncio.gather(*(later.authenticate(EMAIL, PASSWORD, ADDRESS) for _ in range(3)))
    assert {each.id for each in both} == {user.id}


async def test_a_password_that_is_changed_while_its_hash_is_renewed_is_the_old_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = make()
    await ada(earlier)
    later = make(bcrypt_rounds=5)
    hash_again = later.passwords.hash

    async def hash_slowly(password: str) -> str:
        await change_password(earlier, "a better horse")
        return await hash_again(password)

    monkeypatch.setattr(later.passwords, "hash", hash_slowly)
    with pytest.raises(InvalidCredentials):
        await later.authenticate(EMAIL, PASSWORD, ADDRESS)


async def test_a_hash_that_cannot_be_renewed_now_fails_no_sign_in(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await ada(make())
    later = make(bcrypt_rounds=5)

    async def full(_: str) -> str:
        raise Saturated

    with monkeypatch.context() as patch:
        patch.setattr(later.passwords, "hash", full)
        assert await later.authenticate(EMAIL, PASSWORD, ADDRESS) == user
    assert (await later.authenticate(EMAIL, PASSWORD, ADDRESS)).password_hash != user.password_hash


async def test_a_password_is_verified_for_who_is_signed_in_and_throttled(accounts: Accounts) -> None:
    user = await ada(accounts)
    assert await accounts.verify_password(user.id, PASSWORD, ADDRESS) == user
    for _ in range(3):
        with pytest.raises(InvalidCredentials):
            await accounts.verify_password(user.id, "wrong", ADDRESS)
    with pytest.raises(TooManyAttempts):
        await accounts.verify_password(user.id, PASSWORD, ADDRESS)
    with pytest.raises(DatabaseUnavailable, match="does not know this user"):
        await accounts.verify_password(7, PASSWORD, ADDRESS)


async def test_a_changed_password_is_the_only_one(accounts: Accounts) -> None:
    user = await ada(accounts)
    with pytest.raises(InvalidCredentials):
        await accounts.change_password(user.id, "wrong", "a better horse", ADDRESS)
    assert (await change_password(accounts, "a better horse")).id == user.id
    await guess(accounts)
    with pytest.raises(InvalidCredentials):
        await accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    assert (await accounts.authenticate(EMAIL, "a better horse", ADDRESS)).id == user.id


async def test_a_new_password_that_will_not_do_is_named_and_nothing_changes(accounts: Accounts) -> None:
    user = await ada(accounts)
    for new in ("short", "password1", "x" * 1025):
        with pytest.raises(BadInput) as caught:
            await accounts.change_password(user.id, PASSWORD, new, ADDRESS)
        assert [error.field for error in caught.value.errors] == ["new_password"]
    assert await accounts.authenticate(EMAIL, PASSWORD, ADDRESS) == user


async def test_of_two_changes_at_once_one_wins(accounts: Accounts) -> None:
    user = await ada(accounts)
    chosen = ["a better horse", "a faster horse"]
    changes = (change_password(accounts, new) for new in chosen)
    results = await asyncio.gather(*changes, return_exceptions=True)
    won = [new for new, result in zip(chosen, results, strict=True) if isinstance(result, User)]
    assert len(won) == 1
    assert {type(each) for each in results} <= {User, Conflict, InvalidCredentials}
    assert (await accounts.authenticate(EMAIL, won[0], ADDRESS)).id == user.id


async def test_the_demo_password_signs_in_on_a_loopback_address_in_embedded_mode_only(make: Make) -> None:
    there = make(redis_mode="embedded")
    await there.users.create(DEMO_EMAIL, "Demo", await there.passwords.hash(DEMO_PASSWORD))
    assert (await there.authenticate(DEMO_EMAIL, DEMO_PASSWORD, ADDRESS)).name == "Demo"
    for elsewhere in (make(redis_mode="single"), make(redis_mode="embedded", host="0.0.0.0")):
        with pytest.raises(InvalidCredentials):
            await elsewhere.authenticate(DEMO_EMAIL, DEMO_PASSWORD, ADDRESS)
    own = "a better horse"
    await change_password(there, own, current=DEMO_PASSWORD)
    assert (await make(redis_mode="single").authenticate(DEMO_EMAIL, own, ADDRESS)).name == "Demo", "it is somebody's own now"


async def test_an_endless_password_costs_no_more_than_a_long_one(accounts: Accounts) -> None:
    long = "x" * 1024
    await accounts.users.create(EMAIL, "Ada", await accounts.passwords.hash(long))
    with pytest.raises(InvalidCredentials):
        await accounts.authenticate(EMAIL, long + "x" * 50_000, ADDRESS)
    assert (await accounts.authenticate(EMAIL, long, ADDRESS)).email == EMAIL
