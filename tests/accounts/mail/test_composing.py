"""What a waiting mail says at the moment when it is sent, and when it is not sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from stateroom.accounts import User
from stateroom.accounts.mail.counts import MOST_AN_HOUR
from stateroom.accounts.mail.letter import Kind, Letter
from stateroom.accounts.mail_tokens import LIFETIME_MS, mail_tokens
from stateroom.sessions.journal.database_time import NowMs

from ..conftest import MakeDomain
from ..domain import ADDRESS, EMAIL, PASSWORD, Domain, token_of

KINDS: list[Kind] = ["verify", "change", "change_asked", "reset", "taken", "invitation"]


async def asked(domain: Domain, kind: Kind) -> User:
    """An account, and a mail of this kind that waits."""
    user = await domain.ada("Ada@example.com", must_verify=kind == "verify")
    match kind:
        case "verify":
            await domain.proofs.ask_to_verify(user.id, ADDRESS)
        case "reset":
            await domain.proofs.forget("ADA@example.com", ADDRESS)
        case "taken":
            await domain.registration.register("ADA@example.com", PASSWORD, "Eve", ADDRESS)
        case "invitation":
            await domain.invite("Bob@example.com")
        case _:
            await domain.proofs.ask_to_change(user.id, "New@example.com", PASSWORD, ADDRESS)
    return user


async def letter(domain: Domain, kind: Kind) -> Letter | None:
    found = [each for each in await domain.post.letters() if each.kind == kind]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("kind", "to", "page", "name"),
    [
        ("verify", "Ada@example.com", "/verify", ""),
        ("change", "New@example.com", "/verify", "Ada"),
        ("change_asked", "Ada@example.com", None, "Ada"),
        ("reset", "Ada@example.com", "/reset", "Ada"),
        ("taken", "Ada@example.com", None, "Ada"),
        ("invitation", "Bob@example.com", "/invitation", ""),
    ],
)
async def test_a_letter_goes_to_the_address_as_its_owner_typed_it_and_links_to_a_page(
    domain: Domain, kind: Kind, to: str, page: str | None, name: str
) -> None:
    await asked(domain, kind)
    made = await letter(domain, kind)
    assert made is not None
    assert (made.to, made.values["name"], made.values["site"]) == (to, name, "example.com")
    if page is None:
        assert made.values["link"] == ""
    else:
        assert made.values["link"] == f"https://example.com{page}?token={token_of(made)}"
    assert made.values["days"] == ("7" if kind == "invitation" else "0")


@pytest.mark.parametrize("kind", ["verify", "change", "reset", "invitation"])
async def test_each_attempt_has_the_same_link(domain: Domain, kind: Kind) -> None:
    await asked(domain, kind)
    mail = await domain.outbox.claim()
    assert mail is not None
    first = await domain.post.compose(mail)
    assert first is not None
    assert await domain.post.compose(mail) == first
    assert await domain.count("mail_tokens") == 1


@pytest.mark.parametrize("kind", ["verify", "change", "reset", "invitation"])
async def test_after_a_late_attempt_the_link_is_valid_for_as_long_as_its_mail_says(domain: Domain, kind: Kind) -> None:
    await asked(domain, kind)
    mail = await domain.outbox.claim()
    assert mail is not None
    assert await domain.post.compose(mail) is not None
    almost_over = update(mail_tokens).values(expires_at=NowMs() + 1000)
    await domain.database.write(lambda connection: connection.execute(almost_over))
    made = await domain.post.compose(replace(mail, attempts=1))
    assert made is not None
    left = await domain.database.read(lambda connection: connection.scalar(select(mail_tokens.c.expires_at - NowMs())))
    assert left is not None
    assert left > LIFETIME_MS[kind] - 30_000  # type: ignore[index]


@pytest.mark.parametrize("kind", ["verify", "change", "reset", "taken"])
@pytest.mark.parametrize("cause", ["disabled", "erased"])
async def test_an_account_that_is_closed_gets_no_mail(domain: Domain, kind: Kind, cause: str) -> None:
    user = await asked(domain, kind)
    if cause == "erased":
        await domain.accounts.erase(user)
    else:
        await domain.accounts.users.disable(user.id)
    assert await letter(domain, kind) is None
    assert await domain.count("mail_tokens") == 0


@pytest.mark.parametrize(("kind", "is_sent"), [("verify", False), ("change", False), ("reset", True), ("taken", True)])
async def test_after_all_sessions_ended_what_the_account_asked_for_is_not_sent(
    domain: Domain, kind: Kind, *, is_sent: bool
) -> None:
    user = await asked(domain, kind)
    await domain.end_all(user)
    assert (await letter(domain, kind) is not None) is is_sent


async def test_no_verification_is_sent_to_an_address_that_is_verified_or_not_the_accounts_any_more(domain: Domain) -> None:
    user = await asked(domain, "verify")
    mail = await domain.outbox.claim()
    assert mail is not None
    await domain.database.write(lambda connection: domain.accounts.users.verify(user.id, user.email, within=connection))
    assert await domain.post.compose(mail) is None


async def test_a_mail_that_another_worker_claims_is_not_composed(domain: Domain, make_domain: MakeDomain) -> None:
    await asked(domain, "reset")
    mail = await domain.outbox.claim()
    assert mail is not None
    assert await make_domain().post.compose(mail) is None
    assert await domain.count("mail_tokens") == 0


async def test_an_owner_gets_a_few_live_links_and_no_more(domain: Domain) -> None:
    await domain.ada()
    for number in range(MOST_AN_HOUR + 2):
        await domain.proofs.forget(EMAIL, f"192.0.2.{number}")
    links = {token_of(each) for each in await domain.post.letters()}
    assert len(links) == MOST_AN_HOUR
    for each in links:
        assert await domain.tokens.find(each, "reset") is not None, "the links sent before still work"
