"""A new cookie goes out with whatever answer follows the step that made it, a 500 too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import stateroom
from stateroom import SESSIONS
from stateroom.errors import Conflict, StoreUnavailable
from stateroom.sessions.protocol.sign_ins import SignIns

from .conftest import OpenSite

STEPS: dict[str, Callable[[web.Request], Awaitable[object]]] = {
    "sign_in": lambda request: stateroom.sign_in(request, "ada"),
    "reauthenticate": stateroom.reauthenticate,
    "revoke_others": stateroom.revoke_others,
}
FAULTS = {"bug": RuntimeError("a bug"), "refusal": Conflict("no"), "unavailable": StoreUnavailable("away")}


async def fail(request: web.Request) -> web.Response:
    await STEPS[request.query["step"]](request)
    stateroom.get_session(request)["never"] = "saved"
    raise FAULTS[request.query["fault"]]


async def nothing(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, "ada")
    stateroom.get_session(request)["never"] = "saved"
    return None  # type: ignore[return-value]


async def first_save(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    session["kept"] = 1
    await session.save()
    raise RuntimeError("a bug")


async def out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    raise RuntimeError("a bug")


async def large(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, "ada")
    stateroom.get_session(request)["large"] = "x" * 1_000_000
    return web.json_response({})


async def caught(request: web.Request) -> web.Response:
    try:
        await stateroom.sign_in(request, "bob")
    except StoreUnavailable:
        stateroom.get_session(request)["note"] = "try again"
    return web.json_response({})


@web.middleware
async def other_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware outside of the sessions, which replaces answers by its own."""
    try:
        answer = await handler(request)
    except RuntimeError:
        return web.Response(status=500, text="sorry")
    return web.Response(status=answer.status, text="mine")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
async def test_the_new_cookie_goes_out_and_what_was_written_is_not_saved(open_site: OpenSite, step: str, fault: str) -> None:
    site = await open_site(fail)
    browser = site.browser()
    await browser.post("/in/ada")
    old = browser.value
    answer = await browser.post("/fail", params={"step": step, "fault": fault})
    assert answer.status == {"bug": 500, "refusal": 409, "unavailable": 503}[fault]
    assert browser.value != old
    assert await browser.who() == {"user": "ada", "data": {}, "ended": None}
    assert await site.sessions_of("ada") == 1


@pytest.mark.parametrize("step", STEPS)
async def test_an_outer_middlewares_answer_has_the_cookie_too(open_site: OpenSite, step: str) -> None:
    site = await open_site(fail, outer=[other_answer])
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/fail", params={"step": step, "fault": "bug"})).body == "sorry"
    assert (await browser.who()) == "mine"
    browser.session.cookie_jar.clear()
    answer = await browser.post("/in/bob")
    assert (answer.body, len(answer.set_cookie)) == ("mine", 1)
    assert await site.sessions_of("ada") == await site.sessions_of("bob") == 1


async def test_a_handler_without_a_return_is_aiohttps_own_error(open_site: OpenSite, caplog: pytest.LogCaptureFixture) -> None:
    site = await open_site(nothing)
    browser = site.browser()
    assert (await browser.post("/nothing")).status == 500
    assert "Missing return statement on request handler" in caplog.text
    assert await browser.who() == {"user": "ada", "data": {}, "ended": None}


async def test_a_visitors_first_save_reaches_the_visitor(open_site: OpenSite) -> None:
    site = await open_site(first_save)
    browser = site.browser()
    assert (await browser.post("/first_save")).status == 500
    assert (await browser.who())["data"] == {"kept": 1}
    assert await site.stored() == 1


async def test_a_sign_out_takes_the_cookie_away(open_site: OpenSite) -> None:
    site = await open_site(out)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.post("/out")).status == 200
    assert browser.value == ""


async def test_a_sign_in_with_too_much_data_signs_in(open_site: OpenSite) -> None:
    site = await open_site(large)
    browser = site.browser()
    assert (await browser.post("/large")).status == 413
    assert await browser.who() == {"user": "ada", "data": {}, "ended": None}


async def test_after_a_failed_sign_in_the_session_is_what_it_was(open_site: OpenSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await open_site(caught)
    browser = site.browser()
    await browser.post("/in/ada")
    await browser.post("/put", json={"cart": 1})

    async def fail_to_replace(self: SignIns, *arguments: object, **named: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(SignIns, "_replace", fail_to_replace)
    assert (await browser.post("/caught")).status == 200
    assert await browser.who() == {"user": "ada", "data": {"cart": 1, "note": "try again"}, "ended": None}
    assert len(await site.app[SESSIONS].list("ada")) == 1
