"""What mailed links prove: verification, change of the address, reset of the password."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stateroom.accounts import User
from stateroom.accounts.mail.counts import MOST_AN_HOUR
from stateroom.errors import (
    BadInput,
    Conflict,
    InvalidCredentials,
    NotFound,
    SignInRequired,
    StateroomError,
    TokenInvalid,
    TooManyAttempts,
)

from ..logs import capture_events
from .conftest import MakeDomain
from .domain import ADDRESS, EMAIL, PASSWORD, Domain, token_of

NEW = "a better horse"


async def confirm(
    domain: Domain, token: str, user_id: int | None = None, password: str | None = None, *, address: str = ADDRESS
) -> User:
    return await domain.proofs.confirm(token, user_id=user_id, password=password, address=address)


async def unverified(domain: Domain, email: str = EMAIL) -> tuple[User, str]:
    """An account whose address is not verified, and the token that was mailed to it."""
    user = await domain.ada(email, must_verify=True)
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    return user, await domain.post.token("verify")


async def changing(domain: Domain, user: User, new: str = "new@example.com") -> str:
    """The token of a change of the address that the user has asked for."""
    await domain.proofs.ask_to_change(user.id, new, PASSWORD, ADDRESS)
    return await domain.post.token("change")


async def forgotten(domain: Domain, email: str = EMAIL) -> str:
    await domain.proofs.forget(email, ADDRESS)
    return await domain.post.token("reset")


async def is_void(domain: Domain, token: str, user: User) -> bool:
    try:
        await confirm(domain, token, user.id)
    except TokenInvalid:
        return True
    return False


# Confirming


@pytest.mark.parametrize("by", ["session", "password"])
async def test_the_link_and_the_session_or_the_password_verify(domain: Domain, by: str) -> None:
    user, token = await unverified(domain)
    assert not user.is_verified
    after = await (confirm(domain, token, user.id) if by == "session" else confirm(domain, token, password=PASSWORD))
    assert after == await domain.read(user)
    assert after.is_verified
    assert after.verified_at is not None
    assert await is_void(domain, token, user)


async def test_the_link_alone_verifies_nothing(domain: Domain) -> None:
    user, token = await unverified(domain)
    eve = await domain.ada("eve@example.com")
    with pytest.raises(SignInRequired):
        await confirm(domain, token)
    with pytest.raises(TokenInvalid):
        await confirm(domain, token, eve.id)
    with pytest.raises(InvalidCredentials):
        await confirm(domain, token, password="a guess")
    with pytest.raises(InvalidCredentials):
        await confirm(domain, token, eve.id, "a guess")
    assert not (await domain.read(user)).is_verified
    assert (await confirm(domain, token, user.id)).is_verified, "the attempts did not use the link up"


async def test_the_password_stands_in_for_the_session_of_another_account(domain: Domain) -> None:
    user, token = await unverified(domain)
    eve = await domain.ada("eve@example.com")
    assert (await confirm(domain, token, eve.id, PASSWORD)).id == user.id
    assert (await domain.read(user)).is_verified


async def test_guessing_the_password_at_a_link_is_throttled(make_domain: MakeDomain) -> None:
    domain = make_domain(login_attempts=3)
    user, token = await unverified(domain)
    for _ in range(3):
        with pytest.raises(InvalidCredentials):
            await confirm(domain, token, password="a guess")
    for refused in (confirm(domain, token, password=PASSWORD), domain.accounts.authenticate(EMAIL, PASSWORD, ADDRESS)):
        with pytest.raises(TooManyAttempts):
            await refused
    assert (await confirm(domain, token, password=PASSWORD, address="192.0.2.2")).id == user.id


async def test_links_that_lead_nowhere_are_throttled_too(make_domain: MakeDomain) -> None:
    domain = make_domain(login_attempts=3)
    for _ in range(3):
        with pytest.raises(TokenInvalid):
            await confirm(domain, "x" * 43, password=PASSWORD)
    with pytest.raises(TooManyAttempts):
        await confirm(domain, "x" * 43, password=PASSWORD)


@pytest.mark.parametrize("cause", ["expired", "sessions ended", "reset", "disabled", "erased", "changed", "of a reset"])
async def test_what_makes_a_verification_invalid(domain: Domain, cause: str) -> None:
    user, token = await unverified(domain)
    match cause:
        case "expired":
            await domain.let_expire()
        case "sessions ended":
            await domain.end_all(user)
        case "reset":
            await domain.reset(await forgotten(domain), NEW)
        case "disabled":
            await domain.accounts.users.disable(user.id)
        case "erased":
            await domain.accounts.erase(user)
        case "changed":
            await confirm(domain, await changing(domain, user), user.id)
        case "of a reset":
            token = await forgotten(domain)
    assert await is_void(domain, token, user)


async def test_asking_again_mails_a_new_link_unless_the_address_is_verified(domain: Domain) -> None:
    user, token = await unverified(domain)
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    again = await domain.post.token("verify")
    assert again != token
    await confirm(domain, again, user.id)
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    assert await domain.post.rows() == []


async def test_a_verification_that_waits_is_not_mailed_after_the_sessions_ended(domain: Domain) -> None:
    user = await domain.ada(must_verify=True)
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    await domain.end_all(user)
    assert await domain.post.letters() == []


# Changing the address


async def test_the_old_address_stays_until_the_new_one_is_confirmed_and_is_told(domain: Domain) -> None:
    user = await domain.ada("Ada@example.com")
    await domain.proofs.ask_to_change(user.id, "New@Example.com", PASSWORD, ADDRESS)
    asked, told = sorted(await domain.post.letters(), key=lambda each: each.kind)
    assert (asked.kind, asked.to) == ("change", "New@Example.com")
    assert (told.kind, told.to, told.values["link"]) == ("change_asked", "Ada@example.com", "")
    assert await domain.read(user) == user
    token = asked.values["link"].partition("token=")[2]
    after = await confirm(domain, token, user.id)
    assert (after.email, after.address, after.is_verified) == ("new@example.com", "New@Example.com", True)
    [told] = await domain.post.letters()
    assert (told.kind, told.to) == ("changed", "Ada@example.com")
    assert await domain.accounts.users.by_email("ada@example.com") is None
    assert await domain.accounts.authenticate("NEW@example.com", PASSWORD, ADDRESS) == after
    assert await is_void(domain, token, user)


async def test_an_address_that_nobody_proved_is_not_told(domain: Domain) -> None:
    """It may be a stranger's, and the account could otherwise send that stranger any number of mails."""
    user = await domain.ada(must_verify=True)
    token = await changing(domain, user)
    assert (await confirm(domain, token, password=PASSWORD)).is_verified
    assert await domain.post.rows() == []


async def test_asking_for_a_change_needs_the_password_and_a_free_address(make_domain: MakeDomain) -> None:
    domain = make_domain(login_attempts=2)
    user = await domain.ada()
    await domain.ada("bob@example.com")
    cases: list[tuple[str, str, type[StateroomError]]] = [
        ("new@example.com", "a guess", InvalidCredentials),
        ("Bob@example.com", PASSWORD, Conflict),
        (EMAIL, PASSWORD, BadInput),
        ("nobody", PASSWORD, BadInput),
        ("new@example.com", "a guess", InvalidCredentials),
        ("bob@example.com", "a guess", InvalidCredentials),
        ("new@example.com", PASSWORD, TooManyAttempts),
    ]
    for email, password, error in cases:
        with pytest.raises(error):
            await domain.proofs.ask_to_change(user.id, email, password, ADDRESS)
        await domain.accounts.attempts.aclose()
    assert await domain.post.rows() == []


async def test_the_spelling_of_the_own_address_can_be_changed(domain: Domain) -> None:
    user = await domain.ada()
    after = await confirm(domain, await changing(domain, user, "Ada@Example.com"), user.id)
    assert (after.email, after.address) == (EMAIL, "Ada@Example.com")


async def test_an_address_that_was_taken_meanwhile_is_a_conflict(domain: Domain) -> None:
    user = await domain.ada()
    token = await changing(domain, user)
    bob = await domain.ada("new@example.com")
    with pytest.raises(Conflict):
        await confirm(domain, token, user.id)
    assert await domain.read(user) == user
    await domain.accounts.erase(bob)
    assert await is_void(domain, token, user), "whatever named the erased address is gone"


async def test_of_two_changes_the_one_that_was_asked_for_last_counts(domain: Domain) -> None:
    user = await domain.ada()
    first = await changing(domain, user)
    second = await changing(domain, user, "newer@example.com")
    assert await is_void(domain, first, user)
    assert (await confirm(domain, second, user.id)).email == "newer@example.com"


async def test_a_change_that_was_asked_for_does_not_outlive_another(domain: Domain) -> None:
    user = await domain.ada()
    await domain.proofs.ask_to_change(user.id, "new@example.com", PASSWORD, ADDRESS)
    await domain.end_all(user)
    assert await domain.post.kinds() == ["change_asked"]
    token = await changing(domain, user)
    reset = await forgotten(domain)
    await confirm(domain, token, user.id)
    with pytest.raises(TokenInvalid):
        await domain.reset(reset, NEW)


# Resetting the password


@pytest.mark.parametrize("email", [EMAIL, "ADA@example.com", "nobody@example.com", "disabled@example.com"])
async def test_asking_for_a_reset_writes_one_row_with_the_address_as_typed(domain: Domain, email: str) -> None:
    await domain.ada()
    disabled = await domain.ada("disabled@example.com")
    await domain.accounts.users.disable(disabled.id)
    await domain.proofs.forget(email, ADDRESS)
    assert await domain.post.rows() == [("reset", None, email, "{}")]
    letters = await domain.post.letters()
    assert [each.to for each in letters] == ([EMAIL] if email.lower() == EMAIL else [])


async def test_a_reset_sets_the_password_verifies_and_tells_the_owner(domain: Domain) -> None:
    user = await domain.ada(must_verify=True)
    token = await forgotten(domain)
    assert (await domain.reset(token, NEW)).id == user.id
    after = await domain.read(user)
    assert after.is_verified
    assert after.verified_at is not None
    assert after.generation == 1
    with pytest.raises(InvalidCredentials):
        await domain.accounts.authenticate(EMAIL, PASSWORD, ADDRESS)
    assert (await domain.accounts.authenticate(EMAIL, NEW, ADDRESS)).id == user.id
    with pytest.raises(TokenInvalid):
        await domain.reset(token, "a third horse")


async def test_a_reset_tells_the_owner_of_a_verified_address(domain: Domain) -> None:
    await domain.ada()
    await domain.reset(await forgotten(domain), NEW)
    assert await domain.post.kinds() == ["password_set"]


async def test_a_reset_works_after_a_restore_that_forgot_generations(domain: Domain) -> None:
    user = await domain.ada()
    await domain.reset(await forgotten(domain), NEW, seen=41)
    assert (await domain.read(user)).generation == 42


async def test_a_reset_keeps_no_change_that_somebody_else_asked_for(domain: Domain) -> None:
    stranger = await domain.ada(must_verify=True)
    mailed = await changing(domain, stranger, "stranger@example.com")
    await domain.proofs.ask_to_change(stranger.id, "other@example.com", PASSWORD, "192.0.2.2")
    await domain.proofs.forget(EMAIL, ADDRESS)
    [token] = [each for each in await domain.post.letters() if each.kind == "reset"]
    await domain.reset(token.values["link"].partition("token=")[2], NEW)
    assert await is_void(domain, mailed, stranger)
    assert (await domain.read(stranger)).email == EMAIL
    assert "change" not in await domain.post.kinds()


@pytest.mark.parametrize("cause", ["expired", "sessions ended", "password changed", "disabled", "erased", "of a change"])
async def test_what_makes_a_reset_invalid(domain: Domain, cause: str) -> None:
    user = await domain.ada()
    token = await forgotten(domain)
    match cause:
        case "expired":
            await domain.let_expire()
        case "sessions ended":
            await domain.end_all(user)
        case "password changed":
            _, store = await domain.accounts.change_password(user.id, PASSWORD, NEW, ADDRESS)
            await domain.end_all(user, along=store)
        case "disabled":
            await domain.accounts.users.disable(user.id)
        case "erased":
            await domain.accounts.erase(user)
        case "of a change":
            token = await changing(domain, user)
    before = await domain.accounts.users.by_id(user.id)
    with pytest.raises(TokenInvalid):
        await domain.reset(token, "a third horse")
    assert await domain.accounts.users.by_id(user.id) == before


async def test_sessions_that_end_while_the_new_password_is_hashed_make_a_reset_invalid(domain: Domain) -> None:
    user = await domain.ada()
    _, store = await domain.proofs.reset(await forgotten(domain), NEW, ADDRESS)
    await domain.end_all(user)
    with pytest.raises(TokenInvalid):
        await domain.end_all(user, along=store)
    assert (await domain.read(user)).password_hash == user.password_hash


async def test_a_new_password_that_is_too_weak_does_not_use_the_link_up(domain: Domain) -> None:
    user = await domain.ada()
    token = await forgotten(domain)
    with pytest.raises(BadInput) as caught:
        await domain.reset(token, "short")
    assert [error.field for error in caught.value.errors] == ["new_password"]
    assert (await domain.reset(token, NEW)).id == user.id


# Limits, and what is turned off


def asks(domain: Domain, user: User) -> list[Callable[[], Awaitable[Any]]]:
    """The three calls that cause mails."""
    return [
        lambda: domain.proofs.ask_to_verify(user.id, ADDRESS),
        lambda: domain.proofs.ask_to_change(user.id, "new@example.com", PASSWORD, ADDRESS),
        lambda: domain.proofs.forget(user.email, ADDRESS),
    ]


@pytest.mark.parametrize("which", range(3))
async def test_the_mails_of_one_account_are_limited(make_domain: MakeDomain, which: int) -> None:
    domain = make_domain(mail_requests=2)
    user = await domain.ada(must_verify=True)
    ask = asks(domain, user)[which]
    await ask()
    await ask()
    waiting = await domain.post.rows()
    for other in asks(domain, user):
        with pytest.raises(TooManyAttempts):
            await other()
    assert await domain.post.rows() == waiting
    await domain.proofs.forget("bob@example.com", ADDRESS)
    await domain.proofs.forget(user.email, "192.0.2.2")


async def test_the_mails_that_one_address_asks_for_are_limited(make_domain: MakeDomain) -> None:
    domain = make_domain(mail_requests=5, mail_requests_per_address=2)
    for name in ("ada", "bob"):
        await domain.proofs.forget(f"{name}@example.com", ADDRESS)
    with pytest.raises(TooManyAttempts) as caught:
        await domain.proofs.forget("eve@example.com", ADDRESS)
    assert 0 < caught.value.retry_after <= 3600
    await domain.proofs.forget("eve@example.com", "192.0.2.2")


async def test_who_asks_again_can_use_either_link(domain: Domain) -> None:
    user, first = await unverified(domain)
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    second = await domain.post.token("verify")
    assert await domain.tokens.find(first, "verify") is not None
    await domain.proofs.confirm(second, user_id=user.id, password=None, address=ADDRESS)
    assert await domain.tokens.find(first, "verify") is None


async def test_an_owner_gets_few_links_an_hour_whoever_asks(domain: Domain) -> None:
    await domain.ada()
    for number in range(MOST_AN_HOUR + 3):
        await domain.proofs.forget(EMAIL, f"192.0.2.{number}")
        await domain.registration.register(EMAIL, PASSWORD, "Eve", f"192.0.2.{number}")
    assert await domain.post.kinds() == ["reset"] * MOST_AN_HOUR + ["taken"] * MOST_AN_HOUR
    await domain.let_expire()
    await domain.proofs.forget(EMAIL, ADDRESS)
    assert await domain.post.kinds() == ["reset"]


async def test_without_mail_the_calls_name_the_setting(make_domain: MakeDomain) -> None:
    domain = make_domain(mail_url=None, mail_from=None, email_verification="off")
    user = await domain.ada()
    for ask in asks(domain, user):
        with pytest.raises(NotFound, match="MAIL_URL"):
            await ask()
    _, store = await domain.accounts.change_password(user.id, PASSWORD, NEW, ADDRESS)
    await domain.end_all(user, along=store)
    assert await domain.post.rows() == []


async def test_no_address_and_no_token_is_logged(domain: Domain) -> None:
    with capture_events() as logs:
        user, token = await unverified(domain)
        with pytest.raises(InvalidCredentials):
            await confirm(domain, token, password="a guess")
        await confirm(domain, token, user.id)
        change = await changing(domain, user)
        await confirm(domain, change, user.id)
        reset = await forgotten(domain, "new@example.com")
        await domain.reset(reset, NEW)
    assert [each["event"] for each in logs if "email" in each["event"]] == ["email_verified", "email_change_asked", "email_changed"]
    for secret in (EMAIL, "new@example.com", token, change, reset, PASSWORD, NEW):
        assert secret not in str(logs)


async def test_each_link_has_at_most_one_effect_when_all_are_opened_at_once(domain: Domain) -> None:
    user, verify = await unverified(domain)
    change, reset = await changing(domain, user), await forgotten(domain)
    steps: list[Awaitable[Any]] = []
    for number in range(3):
        steps += [confirm(domain, verify, user.id), confirm(domain, change, user.id), domain.reset(reset, f"password {number} x")]
    results = await asyncio.gather(*steps, return_exceptions=True)
    assert {type(each) for each in results} <= {User, TokenInvalid}
    assert [isinstance(each, User) for each in results].count(True) == 1, "a link that was used makes all others invalid"


async def test_an_address_that_nobody_proved_is_told_no_word_of_the_account(make_domain: MakeDomain) -> None:
    """Without verification a stranger may have the account, and chooses its name and its next address."""
    domain = make_domain(email_verification="off")
    stranger = await domain.accounts.users.create(
        "ada@example.com", "Win money at evil.example", await domain.accounts.passwords.hash(PASSWORD)
    )
    await domain.proofs.ask_to_change(stranger.id, "evil.example/win@example.com", PASSWORD, ADDRESS)
    letters = {letter.kind: letter for letter in await domain.post.letters()}
    await domain.proofs.confirm(token_of(letters["change"]), user_id=stranger.id, password=None, address=ADDRESS)
    [letters["changed"]] = await domain.post.letters()
    for kind in ("change_asked", "changed"):
        assert letters[kind].to == "ada@example.com"
        assert (letters[kind].values["name"], letters[kind].values["email"]) == ("", ""), kind
