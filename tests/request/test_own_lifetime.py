"""One session may have a lifetime of its own, within those that the settings allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

import stateroom
from stateroom import SESSIONS, testing

from .conftest import OpenSite


async def enter_for(request: web.Request) -> web.Response:
    query = request.query
    session = await stateroom.sign_in(request, "ada", max_age=float(query["seconds"]), remember="remember" in query)
    assert session.expires_at is not None
    return web.json_response({"seconds": (session.expires_at - datetime.now(UTC)).total_seconds()})


async def again(request: web.Request) -> web.Response:
    await stateroom.reauthenticate(request)
    return web.json_response({})


@pytest.mark.parametrize("remember", [{}, {"remember": "1"}])
@pytest.mark.parametrize("rotates", [False, True])
async def test_a_session_ends_when_its_own_lifetime_is_over(open_site: OpenSite, remember: dict[str, str], rotates: bool) -> None:
    site = await open_site(enter_for, again)
    browser = site.browser()
    await browser.post("/enter_for", params={"seconds": "300", **remember})
    for _ in range(4):
        testing.clock(site.app).move(seconds=61)
        if rotates:
            await browser.post("/again")
        assert (await browser.who())["user"] == "ada"
    testing.clock(site.app).move(seconds=61)
    assert await browser.who() == {"user": None, "data": {}, "ended": "expired"}


async def test_it_is_no_longer_than_the_settings_allow(open_site: OpenSite) -> None:
    site = await open_site(enter_for, session_max_age=600, session_absolute_max_age=3600)
    answer = await site.browser().post("/enter_for", params={"seconds": "1e9"})
    assert 590 < answer.body["seconds"] < 601


@pytest.mark.parametrize("seconds", ["0", "-5", "nan"])
async def test_a_lifetime_below_a_second_is_refused_and_nobody_is_signed_in(open_site: OpenSite, seconds: str) -> None:
    site = await open_site(enter_for)
    browser = site.browser()
    assert (await browser.post("/enter_for", params={"seconds": seconds})).status == 500
    assert (await browser.who())["user"] is None
    assert await site.stored() == 0


async def test_a_session_with_its_own_lifetime_is_one_of_the_users(open_site: OpenSite) -> None:
    site = await open_site(enter_for)
    await site.browser().post("/enter_for", params={"seconds": "300"})
    [listed] = await site.app[SESSIONS].list("ada")
    assert timedelta(seconds=290) < listed.expires_at - listed.created_at <= timedelta(seconds=300)
