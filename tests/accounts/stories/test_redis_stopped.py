"""Registration with verification, a reset, a change of address and a resent mail, while Redis hangs or is gone.

Each works in bounded time, and holds after Redis is back, with its data or without.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stateroom.drills.node import until

from ...patience import at_most
from ...servers import Servers
from .fleet import NEW_PASSWORD, OWNER, PASSWORD, Answer, Browser, Fleet, running

CALL_SECONDS = 1.5
"""A read time-out (0.5 s), a lease (0.5 s), and as much for the machine."""
OTHER = "other@example.com"


@dataclass
class Outage:
    """Redis hangs, or it is killed and comes back without data."""

    fleet: Fleet
    kind: str

    async def begin(self) -> None:
        if self.kind == "hangs":
            self.fleet.node.pause()
        else:
            await self.fleet.node.kill()

    async def end(self) -> None:
        if self.kind == "hangs":
            self.fleet.node.resume()
        else:
            await self.fleet.node.start()
        await self.fleet.are_settled()

    async def call(self, browser: Browser, path: str, worker: int = 0, **body: object) -> Answer:
        with at_most(CALL_SECONDS):
            return await browser.post(path, worker, **body)


@pytest.fixture(params=["hangs", "dies and comes back empty"])
async def outage(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, database_url: str) -> AsyncIterator[Outage]:
    """It has not begun yet."""
    async with running(servers, tmp_path, database_url=database_url, redis_read_timeout=0.5, redis_min_idle=0) as fleet:
        yield Outage(fleet, request.param)
        if fleet.node.is_running:
            fleet.node.resume()


@pytest.mark.parametrize("proof", ["session", "password"])
async def test_somebody_registers_signs_in_and_verifies(outage: Outage, proof: str) -> None:
    fleet, owner = outage.fleet, outage.fleet.browser()
    await outage.begin()
    told = await outage.call(owner, "/api/auth/register", email=OWNER, password=PASSWORD, name="Owner")
    again = await outage.call(owner, "/api/auth/register", email=OWNER, password="not the same", name="Owner")
    assert (told.status, told.body) == (again.status, again.body)
    assert (told.status, told.body) == (202, {"message": "check your mail", "verification": "required"})
    assert not owner.cookie
    signed_in = await outage.call(owner, "/api/auth/login", 1, email=OWNER, password=PASSWORD)
    assert (signed_in.status, signed_in.body["degraded"], signed_in.body["verification"]) == (200, True, "required")
    resent = await outage.call(owner, "/api/auth/email/verification")
    assert resent.status == 202, resent.body
    token = await fleet.mailbox.token("verify", OWNER)
    if proof == "session":
        verified = await outage.call(owner, "/api/auth/email/verify", 1, token=token)
    else:
        verified = await outage.call(fleet.browser(), "/api/auth/email/verify", 1, token=token, password=PASSWORD)
    assert verified.status == 200, verified.body
    used = await outage.call(owner, "/api/auth/email/verify", token=token)
    assert (used.status, used.body["type"]) == (400, "urn:stateroom:problem:token-invalid")
    assert await owner.is_verified()

    await outage.end()
    for worker in (0, 1):
        check = await owner.get("/api/auth/check", worker)
        assert (check.body["authenticated"], check.body["degraded"]) == (True, False)
        assert await owner.is_verified(worker)
        listed = await owner.get("/api/sessions", worker)
        assert [each["current"] for each in listed.body["sessions"]] == [True], "the session of the outage is a stored one"
        assert (await owner.verify(token, worker)).status == 400


async def test_a_reset_ends_every_session_and_they_stay_ended(outage: Outage) -> None:
    fleet, owner = outage.fleet, outage.fleet.browser()
    thief, since = fleet.browser(), fleet.browser()
    await owner.register()
    await thief.sign_in()
    assert (await thief.verify(await fleet.mailbox.token("verify", OWNER))).status == 200
    await outage.begin()
    assert (await since.sign_in(worker=1)).body["degraded"] is True
    asked = await outage.call(owner, "/api/auth/password/forgot", email=OWNER)
    nobody = await outage.call(owner, "/api/auth/password/forgot", email="nobody@example.com")
    assert (asked.status, asked.body) == (nobody.status, nobody.body)
    assert asked.status == 202
    token = await fleet.mailbox.token("reset", OWNER)
    assert not any(each.to == "nobody@example.com" for each in fleet.mailbox.sent)
    reset = await outage.call(owner, "/api/auth/password/reset", 1, token=token, new_password=NEW_PASSWORD)
    assert reset.status == 200, reset.body
    again = await outage.call(owner, "/api/auth/password/reset", token=token, new_password="another one")
    assert (again.status, again.body["type"]) == (400, "urn:stateroom:problem:token-invalid")
    for worker in (0, 1):
        assert [await each.is_signed_in(worker) for each in (thief, since)] == [False, False], "during the outage"
    assert (await owner.sign_in(OWNER, NEW_PASSWORD)).body["degraded"] is True
    cookies = thief.cookie, since.cookie

    await outage.end()
    for worker in (0, 1):
        for browser, cookie in zip((thief, since), cookies, strict=True):
            browser.cookie = cookie
            assert not await browser.is_signed_in(worker), "after the outage"
        assert await owner.is_signed_in(worker)
        assert (await fleet.browser().sign_in(worker=worker)).status == 401


@pytest.mark.parametrize("proof", ["session", "password"])
async def test_an_address_is_changed(outage: Outage, proof: str) -> None:
    fleet, owner = outage.fleet, outage.fleet.browser()
    await owner.register()
    await owner.sign_in()
    assert (await owner.verify(await fleet.mailbox.token("verify", OWNER))).status == 200
    await outage.begin()
    asked = await outage.call(owner, "/api/auth/email", email=OTHER, password=PASSWORD)
    assert asked.status == 202, asked.body
    token = await fleet.mailbox.token("change", OTHER)
    assert [each.to for each in fleet.mailbox.sent if each.kind == "change_asked"] == [OWNER]
    browser, more = (owner, {}) if proof == "session" else (fleet.browser(), {"password": PASSWORD})
    confirmed = await outage.call(browser, "/api/auth/email/verify", 1, token=token, **more)
    assert (confirmed.status, confirmed.body["user"]["email"]) == (200, OTHER)
    assert [(each.kind, each.to) for each in await fleet.mailbox.deliver()] == [("changed", OWNER)]

    await outage.end()
    for worker in (0, 1):
        profile = await owner.get("/api/profile", worker)
        assert (profile.body["user"]["email"], profile.body["session"]["degraded"]) == (OTHER, False)
        assert (await fleet.browser().sign_in(OWNER, worker=worker)).status == 401
        assert (await fleet.browser().sign_in(OTHER, worker=worker)).status == 200


async def test_mails_are_limited_while_redis_is_gone(servers: Servers, tmp_path: Path) -> None:
    async with running(servers, tmp_path, workers=1, mail_requests=3, redis_read_timeout=0.5, redis_min_idle=0) as fleet:
        await fleet.node.kill()

        async def is_noticed() -> bool:
            return fleet.states() == {"away"}

        await until(is_noticed, "the worker knows that Redis is gone")
        answers = [await fleet.browser().post("/api/auth/password/forgot", email=OWNER) for _ in range(4)]
        assert [each.status for each in answers] == [202, 202, 202, 429]
        assert answers[-1].retry_after is not None
