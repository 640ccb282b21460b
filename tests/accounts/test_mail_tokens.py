"""Tokens of mailed links: what they are bound to, and when they are valid."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest
from sqlalchemy import or_, select, text, update

from stateroom.accounts import User
from stateroom.accounts.mail_tokens import LIFETIME_MS, MailToken, MailTokens, Purpose, compared_email, mail_tokens
from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal.database_time import NowMs

from .conftest import MakeDomain
from .domain import Domain, new_key

MAIL_ID = "0123456789abcdef" * 2
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@pytest.fixture
def tokens(domain: Domain) -> MailTokens:
    return domain.tokens


@pytest.fixture
async def ada(domain: Domain) -> User:
    return await domain.ada()


async def issue(domain: Domain, purpose: Purpose = "reset", user: User | None = None, *, mail_id: str = MAIL_ID) -> str:
    email = "ada@example.com" if user is None else user.email
    return await domain.database.write(lambda c: domain.tokens.issue(c, mail_id, purpose, email=email, user=user))


async def find(domain: Domain, token: str, purpose: Purpose = "reset") -> MailToken:
    found = await domain.tokens.find(token, purpose)
    assert found is not None
    return found


async def use(domain: Domain, token: MailToken) -> bool:
    return await domain.database.write(lambda connection: domain.tokens.use(connection, token))


def test_it_has_256_bits_and_is_the_same_at_each_attempt(tokens: MailTokens) -> None:
    token = tokens.derive(MAIL_ID, "reset")
    assert len(token) == 43
    assert tokens.derive(MAIL_ID, "reset") == token
    others = {tokens.derive(MAIL_ID, each) for each in PURPOSES} | {tokens.derive("f" * 32, "reset")}
    assert len(others) == len(PURPOSES) + 1


def test_it_cannot_be_derived_without_the_key_or_for_another_deployment(database: Database) -> None:
    keys = new_key(), new_key()
    made = {
        MailTokens(database, lambda own=own: own, lambda key=key: key).derive(MAIL_ID, "reset")  # type: ignore[misc]
        for key in keys
        for own in (("a" * 32, ""), ("b" * 32, ""), ("a" * 32, "https://example.com"))
    }
    assert len(made) == 6


async def test_the_table_does_not_hold_it(domain: Domain, ada: User) -> None:
    token = await issue(domain, "reset", ada)

    async def rows(connection: object) -> str:
        return str((await connection.execute(select(mail_tokens))).all())  # type: ignore[attr-defined]

    assert token not in await domain.database.read(rows)


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_it_is_good_for_its_purpose_only(domain: Domain, ada: User, purpose: Purpose) -> None:
    token = await issue(domain, purpose, ada)
    found = await find(domain, token, purpose)
    assert (found.purpose, found.user_id, found.email, found.mail_id) == (purpose, ada.id, "ada@example.com", MAIL_ID)
    others = [each for each in PURPOSES if each != purpose]
    assert await domain.tokens.find(token, *others) is None
    assert await domain.tokens.find(token, *PURPOSES) == found


async def test_it_is_not_found_in_a_copy_of_the_database_with_another_name(make_domain: MakeDomain) -> None:
    domain, copy = make_domain(deployment="production"), make_domain(deployment="staging")
    token = await issue(domain, "reset", await domain.ada())
    assert await domain.tokens.find(token, "reset") is not None
    assert await copy.tokens.find(token, "reset") is None


@pytest.mark.parametrize(
    "token", ["", "x", "x" * 42, "x" * 44, "x" * 43, "=" * 43, "\0" * 43, "\ud800" * 43, "é" * 43, "x" * 70_000]
)
async def test_what_is_no_token_is_not_found(domain: Domain, token: str) -> None:
    assert await domain.tokens.find(token, *PURPOSES) is None


async def test_it_is_used_once_also_by_parallel_transactions(domain: Domain, ada: User) -> None:
    found = await find(domain, await issue(domain, "reset", ada))
    assert sorted(await asyncio.gather(*(use(domain, found) for _ in range(5)))) == [False] * 4 + [True]


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_it_expires_by_the_databases_clock(
    domain: Domain, ada: User, monkeypatch: pytest.MonkeyPatch, purpose: Purpose
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    token = await issue(domain, purpose, ada)
    found = await find(domain, token, purpose)
    now = await domain.database.read(lambda connection: connection.scalar(select(NowMs())))
    assert now is not None
    assert now - 60_000 < found.expires_at - LIFETIME_MS[purpose] <= now
    for moved in (f"UPDATE mail_tokens SET expires_at = {now + 60_000}", f"UPDATE mail_tokens SET expires_at = {now}"):
        assert await domain.tokens.find(token, purpose) is not None
        await domain.database.write(lambda connection, moved=moved: connection.execute(text(moved)))  # type: ignore[misc]
    assert await domain.tokens.find(token, purpose) is None
    assert not await use(domain, found)


async def test_those_that_are_over_are_deleted_when_another_is_made(domain: Domain, ada: User) -> None:
    await issue(domain, "reset", ada)
    await domain.let_expire()
    await issue(domain, "verify", ada)
    assert await domain.count("mail_tokens") == 1


@pytest.mark.parametrize("is_restored", [False, True])
async def test_whatever_ends_all_sessions_makes_it_invalid(domain: Domain, ada: User, *, is_restored: bool) -> None:
    token = await issue(domain, "verify", ada)
    found = await find(domain, token, "verify")
    await domain.end_all(ada, seen=7 if is_restored else 0)
    assert await domain.tokens.find(token, "verify") is None
    assert not await use(domain, found)
    after = await issue(domain, "verify", await domain.read(ada), mail_id="f" * 32)
    assert await domain.tokens.find(after, "verify") is not None


async def test_the_sessions_of_another_user_have_no_part_in_it(domain: Domain, ada: User) -> None:
    bob = await domain.ada("bob@example.com")
    token = await issue(domain, "verify", ada)
    await domain.end_all(bob)
    assert await domain.tokens.find(token, "verify") is not None


async def test_the_end_of_everybodys_sessions_makes_it_invalid_but_no_invitation(domain: Domain) -> None:
    ada = await domain.ada()
    token, invitation = await issue(domain, "reset", ada), await issue(domain, "invitation")
    found, invited = await find(domain, token), await find(domain, invitation, "invitation")
    await domain.journal.change_epoch("everybody", ended_at=0)
    assert await domain.tokens.find(token, "reset") is None
    assert not await use(domain, found)
    assert (await domain.ada("bob@example.com")).epoch != ada.epoch
    assert await domain.tokens.find(invitation, "invitation") == invited
    assert await use(domain, invited)


async def test_one_that_is_valid_stays_valid_at_the_next_attempt(domain: Domain, ada: User) -> None:
    token = await issue(domain, "reset", ada)
    assert await issue(domain, "reset", ada) == token
    await find(domain, token)
    assert await domain.count("mail_tokens") == 1


async def test_a_mail_that_comes_back_with_an_old_database_has_another_link(domain: Domain) -> None:
    ada = await domain.ada()
    await domain.proofs.forget("ada@example.com", "192.0.2.1")
    mail = await domain.outbox.claim()
    assert mail is not None
    letter = await domain.post.compose(mail)
    assert letter is not None
    await domain.end_all(ada)
    again = await domain.post.compose(mail)
    assert again is not None
    assert again.values["link"] != letter.values["link"]


async def test_its_mail_is_not_sent_again_once_it_was_used(domain: Domain) -> None:
    await domain.ada()
    await domain.proofs.forget("ada@example.com", "192.0.2.1")
    mail = await domain.outbox.claim()
    assert mail is not None
    letter = await domain.post.compose(mail)
    assert letter is not None
    assert await domain.post.compose(mail) == letter, "a retry has the same link"
    found = await find(domain, domain.tokens.derive(mail.id, "reset"))
    assert await use(domain, found)
    assert await domain.post.compose(mail) is None
    assert await domain.tokens.find(domain.tokens.derive(mail.id, "reset"), "reset") is None


async def test_using_one_and_making_all_void_do_not_wait_for_each_other(domain: Domain, ada: User) -> None:
    """Otherwise PostgreSQL ends one of both after a second, and the user gets 503."""
    for round_ in range(20):
        mail_id = f"{round_:032x}"
        await domain.outbox.write(lambda c, i=mail_id: domain.outbox.put(c, "verify", address=ada.email, user_id=ada.id, mail_id=i))  # type: ignore[misc]
        found = await find(domain, await issue(domain, "verify", ada, mail_id=mail_id), "verify")
        both = (use(domain, found), domain.database.write(lambda connection: domain.tokens.void(connection, ada.id)))
        results = await asyncio.gather(*both, return_exceptions=True)
        assert not [each for each in results if isinstance(each, DatabaseUnavailable)]


async def test_voiding_is_for_one_user_and_for_the_named_purposes(domain: Domain, ada: User) -> None:
    bob = await domain.ada("bob@example.com")
    verify, reset = await issue(domain, "verify", ada), await issue(domain, "reset", ada)
    others = await issue(domain, "verify", bob, mail_id="f" * 32)
    await domain.database.write(lambda connection: domain.tokens.void(connection, ada.id, "verify"))
    assert await domain.tokens.find(verify, "verify") is None
    assert await domain.tokens.find(reset, "reset") is not None
    await domain.database.write(lambda connection: domain.tokens.void(connection, ada.id))
    assert await domain.tokens.find(reset, "reset") is None
    assert await domain.tokens.find(others, "verify") is not None


async def test_an_expired_token_in_the_transaction_of_a_host_that_died_holds_back_no_other_link(domain: Domain, ada: User) -> None:
    if domain.database.is_sqlite:
        pytest.skip("in SQLite a process that ends leaves no lock")
    await issue(domain)
    await domain.database.write(lambda connection: connection.execute(update(mail_tokens).values(expires_at=0)))
    async with domain.database.begin() as connection:
        await connection.execute(update(mail_tokens).values(expires_at=1))
        token = await issue(domain, user=ada, mail_id="f" * 32)
    assert (await find(domain, token)).user_id == ada.id


async def test_tokens_of_a_user_or_an_address_are_found_by_indexes(database: Database) -> None:
    is_theirs = or_(mail_tokens.c.user_id == 1, compared_email == "ada@example.com")
    async with database.begin() as connection:
        query = (
            select(mail_tokens.c.digest)
            .where(is_theirs)
            .compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        )
        if not database.is_sqlite:  # it reads all rows of a small table otherwise
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = str((await connection.execute(text(f"{explain} {query}"))).all())
    assert "ix_mail_tokens_lower_email" in plan
    assert "ix_mail_tokens_user_id" in plan
