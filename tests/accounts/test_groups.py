from __future__ import annotations

import asyncio

import pytest

from stateroom.accounts.groups import MAX_GROUPS, Groups, join
from stateroom.database import Database
from stateroom.errors import BadInput

from .domain import Domain

ADA, BOB = 7, 8


@pytest.fixture
def groups(database: Database) -> Groups:
    return Groups(database)


async def test_a_user_joins_and_leaves_groups(groups: Groups) -> None:
    assert await groups.of(ADA) == []
    assert await groups.change(ADA, add=["staff", "finance"]) == ["finance", "staff"]
    assert await groups.change(ADA, add=["staff", "admin"], remove=["finance"]) == ["admin", "staff"]
    assert await groups.change(ADA, remove=["unknown"]) == ["admin", "staff"]
    assert await groups.change(ADA, add=["staff"], remove=["staff"]) == ["admin", "staff"], "adding wins"
    assert await groups.of(BOB) == []


async def test_a_name_twice_is_one_group(groups: Groups, database: Database) -> None:
    assert await groups.change(ADA, add=["staff", "staff"]) == ["staff"]
    await database.write(lambda connection: join(connection, BOB, ["staff", "staff"]))
    assert await groups.of(BOB) == ["staff"]


@pytest.mark.parametrize("name", ["a", "staff", "0", "team.a_b-c", "x" * 64])
async def test_a_name_of_small_letters_and_digits_is_valid(groups: Groups, name: str) -> None:
    assert await groups.change(ADA, add=[name]) == [name]


@pytest.mark.parametrize("name", ["", "Staff", "-staff", ".x", "a b", "a,b", "a\n", "é", "x" * 65, "a\0"])
async def test_another_name_is_refused_and_nothing_changes(groups: Groups, name: str) -> None:
    await groups.change(ADA, add=["staff"])
    with pytest.raises(BadInput):
        await groups.change(ADA, add=["admin", name], remove=["staff"])
    assert await groups.of(ADA) == ["staff"]


async def test_there_is_a_limit(groups: Groups) -> None:
    with pytest.raises(BadInput, match="at most 100"):
        await groups.change(ADA, add=[f"group-{number}" for number in range(MAX_GROUPS + 1)])
    assert await groups.of(ADA) == []


async def test_the_limit_counts_the_groups_from_before(groups: Groups) -> None:
    await groups.change(ADA, add=[f"group-{number}" for number in range(MAX_GROUPS)])
    with pytest.raises(BadInput, match="at most 100"):
        await groups.change(ADA, add=["one-more"])
    assert len(await groups.change(ADA, add=["one-more"], remove=["group-0"])) == MAX_GROUPS


async def test_two_who_add_a_group_at_once_both_succeed(groups: Groups) -> None:
    assert await asyncio.gather(*(groups.change(ADA, add=["staff"]) for _ in range(8))) == [["staff"]] * 8


async def test_an_erased_user_leaves_no_group_no_token_and_no_mail(domain: Domain) -> None:
    ada, bob = await domain.ada("Ada@example.com"), await domain.ada("bob@example.com")
    for user in (ada, bob):
        await domain.accounts.groups.change(user.id, add=["staff"])
        await domain.proofs.forget(user.email, "192.0.2.1")
    await domain.post.letters()
    await domain.invite("Ada@example.com")
    await domain.post.letters()
    await domain.proofs.forget("ADA@example.com", "192.0.2.1")
    assert await domain.count("mail_tokens") == 3
    await domain.accounts.erase(ada)
    assert await domain.accounts.groups.of(ada.id) == []
    assert await domain.accounts.groups.of(bob.id) == ["staff"]
    assert await domain.count("mail_tokens") == 1
    assert await domain.accounts.users.by_id(ada.id) is None
    assert await domain.post.rows() == []
