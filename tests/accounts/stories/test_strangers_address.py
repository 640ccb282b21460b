"""An account under an address that belongs to somebody else.

A stranger registers it. Only the owner of the address reads its mails, and the owner's mail scanner opens their links.
Nobody of them verifies the account for the stranger. A reset makes the account the owner's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import aiohttp
import pytest

from ...servers import Servers
from .fleet import COOKIE, NEW_PASSWORD, OWNER, PASSWORD, Answer, Browser, Fleet, running

STRANGERS = "stranger@example.net"
"""The stranger's own address."""
SOON_SECONDS = 2.0
ROUNDS = 8
"""Each takes a lease. In the first half the reset begins earlier, in the second half the stranger's step does."""
APART_SECONDS = 0.006


@pytest.fixture
async def stranger(fleet: Fleet) -> Browser:
    """Signed in to an account that was registered under the owner's address."""
    browser = fleet.browser()
    assert (await browser.register()).status == 202
    assert (await browser.sign_in()).status == 200
    return browser


async def ask_to_change(stranger: Browser, email: str = STRANGERS) -> None:
    answer = await stranger.post("/api/auth/email", email=email, password=PASSWORD)
    assert answer.status == 202, answer.body


async def test_a_mail_scanner_verifies_nothing(fleet: Fleet, stranger: Browser) -> None:
    token = await fleet.mailbox.token("verify", OWNER)
    scanner = fleet.browser()
    for worker in (0, 1):
        for method in ("GET", "HEAD", "OPTIONS"):
            for path in ("/verify", "/api/auth/email/verify", "/reset", "/api/auth/password/reset"):
                answer = await scanner.call(method, f"{path}?token={token}", worker=worker)
                assert answer.status < 500
                assert not await stranger.is_verified(worker)
    assert not scanner.cookie
    assert (await stranger.verify(token)).status == 200, "the link still works for whoever has the account"


async def test_the_owner_does_not_verify_the_strangers_account_by_mistake(fleet: Fleet, stranger: Browser) -> None:
    token = await fleet.mailbox.token("verify", OWNER)
    owner = fleet.browser()
    pressed = await owner.verify(token)
    assert (pressed.status, pressed.body["type"]) == (401, "urn:stateroom:problem:sign-in-required")
    guessed = await owner.verify(token, password="my own password")
    assert (guessed.status, guessed.body["error"]) == (401, "invalid credentials")
    assert not await stranger.is_verified()
    assert not owner.cookie


async def test_the_owners_other_account_does_not_verify_the_strangers(fleet: Fleet, stranger: Browser) -> None:
    token = await fleet.mailbox.token("verify", OWNER)
    owner = fleet.browser()
    await owner.register("other@example.com")
    assert (await owner.sign_in("other@example.com")).status == 200
    answer = await owner.verify(token)
    assert (answer.status, answer.body["type"]) == (400, "urn:stateroom:problem:token-invalid")
    assert not await stranger.is_verified()
    assert not await owner.is_verified()


async def test_the_stranger_can_do_nothing_but_verify(fleet: Fleet, stranger: Browser) -> None:
    for method, path in (("GET", "/api/sessions"), ("DELETE", "/api/sessions"), ("GET", "/api/dashboard"), ("GET", "/socket")):
        answer = await stranger.call(method, path)
        assert (answer.status, answer.body["type"]) == (403, "urn:stateroom:problem:verification-required"), path
    token = await stranger.post("/api/auth/token", email=OWNER, password=PASSWORD)
    assert (token.status, token.body["type"]) == (403, "urn:stateroom:problem:verification-required")


async def test_a_reset_ends_what_the_stranger_has(fleet: Fleet, stranger: Browser) -> None:
    second = fleet.browser()
    await second.sign_in(worker=1)
    signed_in = await fleet.browser().post("/api/auth/login", email=OWNER, password=PASSWORD, transport="bearer")
    app = fleet.browser(Authorization=f"Bearer {signed_in.body['session_token']}")
    assert [await each.is_signed_in(1) for each in (stranger, second, app)] == [True] * 3
    verify = await fleet.mailbox.token("verify", OWNER)
    await ask_to_change(stranger)
    change = await fleet.mailbox.token("change", STRANGERS)

    owner = fleet.browser()
    assert (await owner.reset(await fleet.reset_token(), worker=1)).status == 200

    for worker in (0, 1):
        assert [await each.is_signed_in(worker) for each in (stranger, second, app)] == [False] * 3
        for token in (verify, change):
            late = await fleet.browser().verify(token, worker, password=PASSWORD)
            assert (late.status, late.body["type"]) == (400, "urn:stateroom:problem:token-invalid")
        assert (await fleet.browser().sign_in(worker=worker)).status == 401, "the stranger's password is gone"
        assert (await owner.sign_in(OWNER, NEW_PASSWORD, worker=worker)).status == 200
        assert await owner.is_verified(worker), "whoever resets has read the mail"
    assert not any(each.to == STRANGERS for each in await fleet.mailbox.deliver())


@pytest.mark.parametrize("verification", ["optional", "off"])
async def test_a_reset_ends_access_tokens_and_open_streams_of_an_account_that_nobody_verified(
    servers: Servers, tmp_path: Path, database_url: str, verification: str
) -> None:
    async with running(servers, tmp_path, database_url=database_url, email_verification=verification) as fleet:
        stranger = fleet.browser()
        assert (await stranger.register()).status == 201
        token = await stranger.post("/api/auth/token", email=OWNER, password=PASSWORD)
        program = fleet.browser(Authorization=f"Bearer {token.body['access_token']}")
        assert await program.is_signed_in(1)
        url = fleet.servers[1].make_url("/socket")
        async with fleet.http.ws_connect(url, headers={"Cookie": f"{COOKIE}={stranger.cookie}"}) as socket:
            assert await socket.receive_str() == "open"
            assert (await fleet.browser().reset(await fleet.reset_token())).status == 200
            async with asyncio.timeout(SOON_SECONDS):
                message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4401, "session ended: password")
        assert [await program.is_signed_in(worker) for worker in (0, 1)] == [False, False]
        assert [await stranger.is_signed_in(worker) for worker in (0, 1)] == [False, False]


async def test_a_mail_that_waits_for_the_stranger_is_not_sent_after_the_reset(fleet: Fleet, stranger: Browser) -> None:
    reset = await fleet.reset_token()
    await ask_to_change(stranger)
    assert await fleet.mailbox.waiting() == 1
    assert (await fleet.browser().reset(reset)).status == 200
    assert not [each for each in await fleet.mailbox.deliver() if each.kind != "password_set"]
    assert await fleet.mailbox.waiting() == 0


async def test_a_mail_that_is_being_sent_during_the_reset_proves_nothing(fleet: Fleet, stranger: Browser) -> None:
    """A sender has claimed it, and sends it after the reset."""
    reset = await fleet.reset_token()
    await ask_to_change(stranger)
    claimed = await fleet.mailbox.claim()
    assert claimed.kind == "change"
    assert (await fleet.browser().reset(reset)).status == 200
    assert await fleet.mailbox.send(claimed) is None


@pytest.mark.parametrize("step", ["ask for the change", "confirm the change", "send the link", "sign in", "change the password"])
async def test_of_a_reset_and_a_step_of_the_stranger_at_the_same_time_the_reset_wins(  # noqa: C901
    fleet: Fleet, stranger: Browser, step: str
) -> None:
    """Unless the step was complete before. Then the link of the reset is void, and the stranger has left the address."""
    password, email = PASSWORD, OWNER
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        ahead = (number - ROUNDS // 2) * APART_SECONDS
        worker, theirs = number % 2, f"stranger{number}@example.net"
        reset = await fleet.reset_token(email)
        if step in {"confirm the change", "send the link"}:
            await stranger.post("/api/auth/email", email=theirs, password=password)
        change = await fleet.mailbox.token("change", theirs) if step == "confirm the change" else ""

        async def strangers_step(
            change: str = change, theirs: str = theirs, worker: int = worker, password: str = password, email: str = email
        ) -> Answer | None:
            match step:
                case "ask for the change":
                    return await stranger.post("/api/auth/email", worker, email=theirs, password=password)
                case "confirm the change":
                    return await stranger.verify(change, worker)
                case "send the link":
                    await fleet.mailbox.deliver()
                    return None
                case "sign in":
                    return await stranger.sign_in(email, password, worker=worker)
                case _:
                    return await stranger.post(
                        "/api/auth/password", worker, current_password=password, new_password="the stranger's new one"
                    )

        async def late(delay: float, work: Awaitable[Answer | None]) -> Answer | None:
            await asyncio.sleep(delay)  # so that each of both is first in some rounds
            return await work

        owners, answer = await asyncio.gather(
            late(max(0, ahead), fleet.browser().reset(reset, f"the owner's number {number}", worker=1 - worker)),
            late(max(0, -ahead), strangers_step()),
        )
        assert owners is not None
        assert owners.status in {200, 400, 503}, owners.body
        outcomes[f"reset {owners.status}, step {answer.status if answer else None}"] += 1
        if owners.status == 200:
            await fleet.mailbox.deliver()
            for mail in fleet.mailbox.sent:
                if mail.to == theirs:
                    assert (await fleet.browser().verify(mail.token, password=f"the owner's number {number}")).status == 400
            assert [await stranger.is_signed_in(each) for each in (0, 1)] == [False, False]
            owner = fleet.browser()
            assert (await owner.sign_in(email, f"the owner's number {number}")).status == 200, "the account has its address"
            assert (await fleet.browser().sign_in(theirs, f"the owner's number {number}")).status == 401
            password = f"the owner's number {number}"
        else:
            assert answer is not None
            if step == "confirm the change":
                assert answer.status == 200
                email = theirs
            elif step == "change the password":
                assert answer.status == 200
                password = "the stranger's new one"
        assert (await stranger.sign_in(email, password)).status == 200, "the next round begins with a stranger who is signed in"
    print(step, dict(outcomes))
    assert any(each.startswith("reset 200") for each in outcomes)


async def test_the_owner_registers_over_the_strangers_account(fleet: Fleet, stranger: Browser) -> None:
    owner = fleet.browser()
    answer = await owner.register(OWNER.upper(), "the owner's password")
    assert (answer.status, answer.value) == (202, None)
    assert [each.kind for each in await fleet.mailbox.deliver() if each.to == OWNER] == ["verify", "taken"]
    assert (await owner.sign_in(OWNER, "the owner's password")).status == 401, "the account is the stranger's until a reset"
    assert not await stranger.is_verified()
    assert (await owner.reset(await fleet.reset_token())).status == 200
    assert (await owner.sign_in(OWNER, NEW_PASSWORD)).status == 200
    assert not await stranger.is_signed_in()


async def test_a_change_to_the_owners_address_proves_nothing_without_the_owners_mail(fleet: Fleet, stranger: Browser) -> None:
    """A stranger with a verified account of their own asks for the owner's address: the link is in the owner's mail alone."""
    assert (await fleet.browser().reset(await fleet.reset_token())).status == 200  # this account is the owner's now
    thief = fleet.browser()
    assert (await thief.register(STRANGERS)).status == 202
    await thief.sign_in(STRANGERS)
    assert (await thief.verify(await fleet.mailbox.token("verify", STRANGERS))).status == 200
    taken = await thief.post("/api/auth/email", email=OWNER, password=PASSWORD)
    assert taken.status == 409
    assert (await thief.post("/api/auth/email", email="free@example.com", password=PASSWORD)).status == 202
    token = await fleet.mailbox.token("change", "free@example.com")
    assert (await fleet.browser().verify(token)).status == 401
    assert (await fleet.browser().verify(token, password="wrong password")).status == 401
    assert (await thief.get("/api/profile")).body["user"]["email"] == STRANGERS
