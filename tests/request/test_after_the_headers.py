"""After the headers have left no new value can reach the client, and no second response is written into the first."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import stateroom
from stateroom import SESSIONS, testing
from stateroom.errors import HeadersSent

from .conftest import OpenSite

BODY = b"begun "


async def _sign_in(request: web.Request) -> None:
    await stateroom.sign_in(request, "bob")


async def _save(request: web.Request) -> None:
    session = stateroom.get_session(request)
    session["n"] = 1
    await session.save()


async def _change(request: web.Request) -> None:
    await stateroom.get_session(request).change("n", lambda value: 1)


async def _write(request: web.Request) -> None:
    stateroom.get_session(request)["n"] = 1


async def _large(request: web.Request) -> None:
    stateroom.get_session(request)["n"] = "x" * 1_000_000
    await stateroom.get_session(request).save()


async def _bug(request: web.Request) -> None:
    raise RuntimeError("a bug")


async def _answer(request: web.Request) -> None:
    raise web.HTTPFound("/elsewhere")


STEPS: dict[str, Any] = {
    "sign_in": _sign_in, "reauthenticate": stateroom.reauthenticate, "revoke_others": stateroom.revoke_others,
    "save": _save, "change": _change, "write": _write, "large": _large, "bug": _bug, "answer": _answer,
    "sign_out": stateroom.sign_out,
}  # fmt: skip


async def stream(request: web.Request) -> web.StreamResponse:
    """Begin to answer, then take the step. A step that raises `HeadersSent` is told in the stream."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(BODY)
    try:
        await STEPS[request.query["step"]](request)
    except HeadersSent:
        await response.write(b"too late")
    else:
        await response.write(b"done")
    if "catch" not in request.query:
        await STEPS[request.query["step"]](request)
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    made = web.WebSocketResponse()
    await made.prepare(request)
    async for message in made:
        await STEPS[message.data](request)
        await made.send_str("done")
    return made


async def complete(request: web.Request) -> web.StreamResponse:
    """The whole answer has left before the step."""
    response = web.Response(text="complete")
    await response.prepare(request)
    await response.write_eof()
    await STEPS[request.query["step"]](request)
    return response


async def by_bearer(request: web.Request) -> web.WebSocketResponse:
    made = web.WebSocketResponse()
    await made.prepare(request)
    await stateroom.sign_in(request, "bob", transport="bearer")
    await made.send_str(stateroom.bearer_value(request))
    stateroom.get_session(request)["mine"] = True
    return made


@pytest.mark.parametrize("step", ["sign_in", "reauthenticate", "revoke_others"])
async def test_a_step_that_needs_a_cookie_does_nothing(open_site: OpenSite, step: str) -> None:
    site = await open_site(stream)
    browser, other = site.browser(), site.browser()
    await other.post("/in/ada")
    await browser.post("/in/ada")
    value = browser.value
    assert (await browser.get("/stream", params={"step": step, "catch": "1"})).body == "begun too late"
    assert browser.value == value
    assert (await browser.who())["user"] == (await other.who())["user"] == "ada"
    assert await site.stored() == 2


@pytest.mark.parametrize("step", ["save", "change"])
async def test_a_visitors_first_save_stores_nothing_that_nobody_can_open(open_site: OpenSite, step: str) -> None:
    site = await open_site(stream)
    browser = site.browser()
    assert (await browser.get("/stream", params={"step": step, "catch": "1"})).body == "begun too late"
    assert browser.value == ""
    assert await site.stored() == 0


async def test_what_a_stream_has_written_is_saved_at_its_end(open_site: OpenSite) -> None:
    site = await open_site(stream)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await browser.get("/stream", params={"step": "write"})).body == "begun done"
    assert (await browser.who())["data"] == {"n": 1}


async def test_a_sign_out_in_a_stream_ends_the_session(open_site: OpenSite) -> None:
    site = await open_site(stream)
    browser = site.browser()
    await browser.post("/in/ada")
    await browser.get("/stream", params={"step": "sign_out", "catch": "1"})
    assert (await browser.who())["ended"] == "logout"


@pytest.mark.parametrize("step", ["sign_in", "large", "answer"])
async def test_an_error_aborts_the_stream(open_site: OpenSite, step: str, caplog: pytest.LogCaptureFixture) -> None:
    site = await open_site(stream)
    browser = site.browser()
    await browser.post("/in/ada")
    async with browser.session.get(f"{site.url}/stream", params={"step": step}) as response:
        body = await response.content.readexactly(len(BODY))
        with pytest.raises(aiohttp.ClientPayloadError):
            body += await response.content.read()
    assert body == BODY
    assert (await browser.who())["user"] == "ada"


@pytest.mark.parametrize(
    ("step", "code"), [("large", 1011), ("sign_in", 1011), ("reauthenticate", 1011), ("answer", 1011), ("bug", 1011)]
)
async def test_an_error_closes_the_websocket(open_site: OpenSite, step: str, code: int) -> None:
    site = await open_site(socket)
    browser = site.browser()
    await browser.post("/in/ada")
    async with browser.session.ws_connect(f"{site.url}/socket") as client:
        await client.send_str(step)
        message = await client.receive(5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
    assert (await browser.who())["user"] == "ada"


async def test_while_redis_is_down_the_websocket_says_try_again(open_site: OpenSite) -> None:
    site = await open_site(socket)
    browser = site.browser()
    await browser.post("/in/ada")
    async with browser.session.ws_connect(f"{site.url}/socket") as client:
        with testing.redis_down(site.app):
            await client.send_str("change")
            message = await client.receive(5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1013)


async def test_a_visitors_websocket_closes_when_it_would_have_to_store_a_session(open_site: OpenSite) -> None:
    site = await open_site(socket)
    async with site.browser().session.ws_connect(f"{site.url}/socket") as client:
        await client.send_str("save")
        assert (await client.receive(5)).data == 1011
    assert await site.stored() == 0


@pytest.mark.parametrize("step", ["sign_in", "large", "answer"])
async def test_a_complete_answer_stays_complete(open_site: OpenSite, step: str) -> None:
    site = await open_site(complete)
    browser = site.browser()
    await browser.post("/in/ada")
    for _ in range(3):
        assert (await browser.get("/complete", params={"step": step})).body == "complete"
    assert (await browser.who())["user"] == "ada"


async def test_a_sign_in_by_bearer_leaves_the_requests_own_session_alone(open_site: OpenSite) -> None:
    site = await open_site(by_bearer)
    browser = site.browser()
    await browser.post("/in/ada")
    async with browser.session.ws_connect(f"{site.url}/by_bearer") as client:
        bearer = await client.receive_str()
        await client.receive(5)
    assert await browser.who() == {"user": "ada", "data": {"mine": True}, "ended": None}
    phone = await site.browser().get("/who", headers={"Authorization": f"Bearer {bearer}"})
    assert phone.body == {"user": "bob", "data": {}, "ended": None}


async def test_a_websocket_that_only_receives_can_keep_its_session_alive(open_site: OpenSite) -> None:
    renewed = asyncio.Event()

    async def feed(request: web.Request) -> web.WebSocketResponse:
        session, made = stateroom.get_session(request), web.WebSocketResponse()
        await made.prepare(request)
        for _ in range(4):
            testing.clock(request.app).move(seconds=40)
            assert await session.renew()
        renewed.set()
        await made.receive()
        return made

    site = await open_site(feed, session_max_age=90, session_renew_interval=30)
    browser = site.browser()
    await browser.post("/in/ada")
    async with browser.session.ws_connect(f"{site.url}/feed") as client:
        await asyncio.wait_for(renewed.wait(), 10)
        assert (await browser.who())["user"] == "ada"
        await client.close()


async def test_a_renewal_of_an_ended_session_says_so(open_site: OpenSite) -> None:
    async def renew(request: web.Request) -> web.Response:
        session = stateroom.get_session(request)
        testing.clock(request.app).move(seconds=120)
        await request.app[SESSIONS].revoke_all("ada")
        return web.json_response({"renewed": await session.renew()})

    site = await open_site(renew)
    browser = site.browser()
    await browser.post("/in/ada")
    answer = await browser.post("/renew")
    assert (answer.status, answer.body["reason"]) == (401, "revoked")
