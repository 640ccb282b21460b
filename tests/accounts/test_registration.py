"""Who may make an account, what the client learns, and what is mailed."""

from __future__ import annotations

import asyncio

import pytest

from stateroom.accounts import User
from stateroom.accounts.registration import INVITED
from stateroom.errors import BadInput, Conflict, InvalidCredentials, RegistrationClosed, TokenInvalid, TooManyAttempts

from .conftest import MakeDomain
from .domain import ADDRESS, EMAIL, PASSWORD, Domain

OPEN = {"email_verification": "off"}


async def register(domain: Domain, email: str = EMAIL, address: str = ADDRESS, *, invitation: str | None = None) -> User | None:
    return (await domain.registration.register(email, PASSWORD, " Ada ", address, invitation=invitation)).user


async def test_who_registers_can_sign_in(make_domain: MakeDomain) -> None:
    domain = make_domain(**OPEN)
    user = await register(domain, " Ada@Example.com ")
    assert user is not None
    assert (user.email, user.address, user.name) == (EMAIL, "Ada@Example.com", "Ada")
    assert user.is_verified
    assert user.verified_at is None, "nobody has proved the address"
    assert (await domain.accounts.authenticate("ADA@example.com", PASSWORD, ADDRESS)).id == user.id
    assert await domain.post.rows() == []


async def test_every_field_that_is_invalid_is_named(domain: Domain) -> None:
    with pytest.raises(BadInput) as caught:
        await domain.registration.register("nobody", "short", "\n", ADDRESS)
    assert [error.field for error in caught.value.errors] == ["email", "password", "name"]
    assert "short" not in caught.value.detail


async def test_a_taken_address_is_a_conflict_and_finding_them_out_is_throttled(make_domain: MakeDomain) -> None:
    domain = make_domain(**OPEN, login_attempts=3)
    await domain.ada()
    for _ in range(3):
        with pytest.raises(Conflict, match="an account with this email exists"):
            await register(domain)
    with pytest.raises(TooManyAttempts):
        await register(domain)


async def test_accounts_are_not_made_without_end_from_one_address(make_domain: MakeDomain) -> None:
    domain = make_domain(**OPEN, login_attempts=1, login_attempts_per_address=3)
    for number in range(2):
        await register(domain, f"{number}@example.com")
    await domain.accounts.authenticate("0@example.com", PASSWORD, ADDRESS)  # The account itself has no failure.
    await domain.accounts.attempts.aclose()
    await register(domain, "2@example.com")
    with pytest.raises(TooManyAttempts):
        await register(domain, "3@example.com")
    await register(domain, "3@example.com", "192.0.2.2")


@pytest.mark.parametrize("mode", ["off", "optional", "required"])
async def test_whether_a_new_account_must_be_verified(make_domain: MakeDomain, mode: str) -> None:
    domain = make_domain(email_verification=mode)
    await register(domain)
    user = await domain.accounts.users.by_email(EMAIL)
    assert user is not None
    assert user.is_verified is (mode == "off")
    assert await domain.post.kinds() == ([] if mode == "off" else ["verify"])


async def test_nobody_learns_who_has_an_account_and_the_owner_is_told(domain: Domain) -> None:
    before = await domain.ada("Ada@example.com")
    assert await register(domain, "ADA@example.com") is None
    assert await register(domain, "bob@example.com") is None
    assert await domain.read(before) == before
    told, verify = sorted(await domain.post.letters(), key=lambda each: each.kind)
    assert (told.kind, told.to, told.values["link"]) == ("taken", "Ada@example.com", "")
    assert (verify.kind, verify.to) == ("verify", "bob@example.com")


async def test_of_parallel_registrations_one_makes_the_account_and_nobody_learns_which(domain: Domain) -> None:
    assert await asyncio.gather(*(register(domain) for _ in range(4))) == [None] * 4
    assert len(await domain.accounts.users.list()) == 1
    assert sorted(kind for kind, *_ in await domain.post.rows()) == ["taken", "taken", "taken", "verify"]


async def test_a_registration_buys_no_more_guesses(make_domain: MakeDomain) -> None:
    domain = make_domain(login_attempts=3)
    await domain.ada()
    for _ in range(2):
        with pytest.raises(InvalidCredentials):
            await domain.accounts.authenticate(EMAIL, "a guess", ADDRESS)
    assert await register(domain) is None
    await domain.accounts.attempts.aclose()
    with pytest.raises(TooManyAttempts):
        await domain.accounts.authenticate(EMAIL, "a guess", ADDRESS)


@pytest.mark.parametrize(("mode", "is_invited"), [("closed", False), ("closed", True), ("invited", False)])
async def test_a_registration_that_is_closed_writes_nothing(make_domain: MakeDomain, mode: str, *, is_invited: bool) -> None:
    domain = make_domain(registration=mode)
    await domain.invite(EMAIL)
    invitation = await domain.post.token("invitation") if is_invited else None
    with pytest.raises(RegistrationClosed):
        await register(domain, invitation=invitation)
    assert await domain.accounts.users.list() == []


@pytest.mark.parametrize("mode", ["open", "invited"])
async def test_an_invitation_proves_the_address_and_joins_the_groups(make_domain: MakeDomain, mode: str) -> None:
    domain = make_domain(registration=mode)
    await domain.invite("Ada@example.com", "staff", "finance")
    user = await register(domain, "ada@Example.com", invitation=await domain.post.token("invitation"))
    assert user is not None, "who was invited may learn it"
    assert user.is_verified
    assert user.verified_at is not None
    assert await domain.accounts.groups.of(user.id) == ["finance", "staff"]
    assert await domain.post.rows() == [], "there is nothing to verify"


async def test_an_invitation_is_for_one_address(make_domain: MakeDomain) -> None:
    domain = make_domain(registration="invited")
    await domain.invite(EMAIL)
    token = await domain.post.token("invitation")
    with pytest.raises(BadInput, match=INVITED):
        await register(domain, "eve@example.com", invitation=token)
    assert await domain.accounts.users.list() == []
    assert await register(domain, invitation=token) is not None, "the invitation was not used up"


async def test_an_invitation_is_used_once(make_domain: MakeDomain) -> None:
    domain = make_domain(registration="invited")
    await domain.invite(EMAIL)
    token = await domain.post.token("invitation")
    results = await asyncio.gather(*(register(domain, invitation=token) for _ in range(4)), return_exceptions=True)
    assert [isinstance(each, User) for each in results].count(True) == 1
    assert {type(each) for each in results} <= {User, Conflict, TokenInvalid}
    with pytest.raises(TokenInvalid):
        await register(domain, invitation=token)


async def test_an_invitation_is_void_after_its_time_and_when_it_is_withdrawn(make_domain: MakeDomain) -> None:
    domain = make_domain(registration="invited")
    await domain.invite("Ada@Example.com")
    token = await domain.post.token("invitation")
    await domain.invite("Ada@Example.com")
    await domain.database.write(lambda connection: domain.tokens.void_invitations(connection, EMAIL))
    assert await domain.post.rows() == []
    with pytest.raises(TokenInvalid):
        await register(domain, invitation=token)
    await domain.invite(EMAIL)
    later = await domain.post.token("invitation")
    await domain.let_expire()
    with pytest.raises(TokenInvalid):
        await register(domain, invitation=later)


async def test_a_token_of_another_purpose_is_no_invitation(make_domain: MakeDomain) -> None:
    domain = make_domain(registration="invited")
    await domain.ada()
    await domain.proofs.forget(EMAIL, ADDRESS)
    for token in (await domain.post.token("reset"), "x" * 43, "", "é"):
        with pytest.raises(TokenInvalid if token else RegistrationClosed):
            await register(domain, "bob@example.com", invitation=token)
