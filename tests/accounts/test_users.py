from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from stateroom.accounts.chosen import MAX_EMAIL_LENGTH, email_errors, name_errors
from stateroom.accounts.user import User
from stateroom.accounts.users import GREATEST_ID, LEAST_ID, Users
from stateroom.database import Database
from stateroom.errors import Conflict
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.identity import user_key


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database, 10**9)


async def ada(users: Users, email: str = "ada@example.com") -> User:
    return await users.create(email, "Ada", "sha256$hash")


async def test_a_new_user_is_found_by_id_and_by_address(users: Users) -> None:
    before = int(time.time() * 1000)
    user = await ada(users)
    assert (user.email, user.name, user.password_hash) == ("ada@example.com", "Ada", "sha256$hash")
    assert LEAST_ID <= user.id <= GREATEST_ID
    assert before <= user.created_at <= int(time.time() * 1000)
    assert not user.is_disabled
    assert await users.by_id(user.id) == user
    assert await users.by_email("ada@example.com") == user


async def test_a_user_comes_with_the_generation_of_their_sessions(users: Users, database: Database) -> None:
    one, other = await ada(users), await ada(users, "bob@example.com")
    assert (one.generation, other.generation) == (0, 0)
    await Journal(database, 10**9).raise_generation(user_key(one.id), "password", ended_at=0)
    assert [each.generation for each in await users.list()] == [1, 0]
    found = await users.by_id(one.id), await users.by_email(one.email)
    assert [each.generation for each in found if each is not None] == [1, 1]


async def test_a_new_user_does_not_come_with_the_generation_of_others(users: Users, database: Database) -> None:
    for number, email in enumerate(["ada@example.com", "bob@example.com"]):
        user = await ada(users, email)
        for _ in range(number + 1):
            await Journal(database, 10**9).raise_generation(user_key(user.id), "password", ended_at=0)
    assert (await ada(users, "eve@example.com")).generation == 0


async def test_an_address_is_the_same_in_any_case_and_with_space_around_it(users: Users) -> None:
    user = await ada(users, " Ada@Example.COM ")
    assert user.email == "ada@example.com"
    assert await users.by_email("ADA@EXAMPLE.com\n") == user
    with pytest.raises(Conflict, match="an account with this email exists"):
        await ada(users, "aDa@example.com")


@pytest.mark.parametrize(
    ("typed", "address", "compared"),
    [
        ("Ada@Example.COM", "Ada@Example.COM", "ada@example.com"),
        (" ada@example.com\t", "ada@example.com", "ada@example.com"),
        ("\uff21\uff44\uff41\uff20example\uff0ecom", "Ada@example.com", "ada@example.com"),
        ("\u212aim@example.com", "Kim@example.com", "kim@example.com"),
        ("o\ufb03ce@example.com", "office@example.com", "office@example.com"),
    ],
)
async def test_the_address_is_kept_as_typed_and_compared_in_one_form(users: Users, typed: str, address: str, compared: str) -> None:
    assert email_errors(typed) == []
    user = await ada(users, typed)
    assert (user.address, user.email) == (address, compared)
    for spelling in (typed, address, compared.upper()):
        assert await users.by_email(spelling) == user
        with pytest.raises(Conflict):
            await ada(users, spelling)


async def test_a_row_of_an_earlier_release_has_one_address_and_counts_as_verified(users: Users, database: Database) -> None:
    user = await ada(users)
    await database.write(lambda connection: connection.execute(text("UPDATE users SET typed_email = NULL")))
    found = await users.by_id(user.id)
    assert found is not None
    assert (found.address, found.is_verified, found.verified_at) == ("ada@example.com", True, None)


async def test_an_address_is_verified_only_while_it_is_the_accounts(users: Users, database: Database) -> None:
    user = await users.create("ada@example.com", "Ada", "hash", must_verify=True)
    assert not user.is_verified
    assert not await database.write(lambda connection: users.verify(user.id, "old@example.com", within=connection))
    assert await users.by_id(user.id) == user
    assert await database.write(lambda connection: users.verify(user.id, "ada@example.com", within=connection))
    after = await users.by_id(user.id)
    assert after is not None
    assert after.is_verified
    assert after.verified_at is not None


async def test_an_address_changes_only_from_the_one_that_was_seen(users: Users, database: Database) -> None:
    user = await users.create("ada@example.com", "Ada", "hash", must_verify=True)
    await ada(users, "bob@example.com")

    async def change(former: str, to: str) -> bool:
        return await database.write(lambda connection: users.change_email(user.id, former, to, within=connection))

    assert not await change("old@example.com", "new@example.com")
    with pytest.raises(IntegrityError):
        await change("ada@example.com", "Bob@example.com")
    assert await users.by_id(user.id) == user
    assert await change("ada@example.com", "New@example.com")
    after = await users.by_email("new@example.com")
    assert after is not None
    assert (after.id, after.address, after.is_verified) == (user.id, "New@example.com", True)


async def test_what_follows_in_the_transaction_decides_whether_there_is_a_user(users: Users) -> None:
    async def refuse(_: object, user: User) -> None:
        raise ValueError(user.email)

    with pytest.raises(ValueError, match=r"ada@example\.com"):
        await users.create("ada@example.com", "Ada", "hash", and_then=refuse)
    assert await users.list() == []


async def test_of_two_at_once_one_gets_the_address(users: Users) -> None:
    results = await asyncio.gather(*(ada(users) for _ in range(4)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["Conflict"] * 3 + ["User"]
    assert len(await users.list()) == 1


async def test_an_unknown_user_is_none(users: Users) -> None:
    assert await users.by_id(7) is None
    for email in ("eve@example.com", "", "no address", "nul\0@example.com", "\ud800@example.com", "x" * 70_000):
        assert await users.by_email(email) is None


async def test_the_oldest_account_is_listed_first(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stateroom.accounts.users._now_ms", itertools.count(1).__next__)
    for name in ("c", "a", "b"):
        await ada(users, f"{name}@example.com")
    assert [each.email[0] for each in await users.list()] == ["c", "a", "b"]


async def test_disabling_is_noted_once_and_undone_by_enabling(users: Users) -> None:
    user = await ada(users)
    await users.disable(user.id)
    first = await users.by_id(user.id)
    assert first is not None
    assert first.is_disabled
    assert first.disabled_at is not None
    assert first.disabled_at >= user.created_at
    await users.disable(user.id)
    assert await users.by_id(user.id) == first
    await users.enable(user.id)
    assert await users.by_id(user.id) == user


async def test_a_hash_is_stored_only_over_the_one_that_was_seen(users: Users) -> None:
    user = await ada(users)
    assert await users.set_password_hash(user.id, "new", seen="sha256$hash")
    assert not await users.set_password_hash(user.id, "newer", seen="sha256$hash")
    changed = await users.by_id(user.id)
    assert changed is not None
    assert changed.password_hash == "new"


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com",
        "a@b",
        "ada.l+tag@sub.example.co.uk",
        "o'hara!#$%&*/=?^_`{|}~-@example.com",
        "x" * (MAX_EMAIL_LENGTH - 12) + "@example.com",
        f"a@{'b' * 63}.com",
    ],
)
def test_what_browsers_take_as_an_address_we_take(email: str) -> None:
    assert email_errors(email) == []


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@example..com",
        "ada@exam ple.com",
        "a da@example.com",
        "ada@example.com\nx",
        "ada@b@c.com",
        "äda@example.com",
        f"a@{'b' * 64}.com",
        "x" * (MAX_EMAIL_LENGTH - 11) + "@example.com",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(email: str) -> None:
    [error] = email_errors(email)
    assert error.field == "email"
    assert error.message == ("must be an email address, for example ada@example.com" if email.strip() else "is required")


@pytest.mark.parametrize("name", ["A", "Ada Lovelace", "Ædå 李 O'Hara", "x" * 200])
def test_a_name_is_what_somebody_calls_themselves(name: str) -> None:
    assert name_errors(name) == []


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "a\0b", "a\x1b[31m", "a\u202eb", "\ud800"])
def test_a_name_has_no_control_characters_and_is_not_empty(name: str) -> None:
    assert [error.field for error in name_errors(name)] == ["name"]
