"""When the session and its cookie are renewed. A proxy adds our `Set-Cookie` to a response that a cache may store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stateroom import testing

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import ENDPOINTS, FORWARD, PAGE, ask, cookie_of, register, running
from .conftest import RuleThat


async def expires_in(client: ServiceClient) -> int:
    async with client.get("/api/auth/check", headers={"X-Session-Renew": "no"}) as response:
        return int((await response.json())["expires_in"])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_page_renews_the_cookie_and_anything_else_the_session_alone(client: ServiceClient, endpoint: str) -> None:
    await register(client)
    assert client.app is not None
    clock = testing.clock(client.app)
    for headers, renews_cookie in (({"Accept": "image/*"}, False), (PAGE | {"Sec-Fetch-Mode": "cors"}, False), (PAGE, True)):
        clock.move(minutes=10)
        before = await expires_in(client)
        answer = await ask(client, endpoint, headers)
        assert answer.status == 200
        assert ("Set-Cookie" in answer.headers) is renews_cookie
        assert await expires_in(client) > before + timedelta(minutes=9).total_seconds()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_page_renews_a_cookie_that_other_requests_have_left_old(client: ServiceClient, endpoint: str) -> None:
    await register(client)
    assert client.app is not None
    clock = testing.clock(client.app)
    clock.move(minutes=10)
    assert "Set-Cookie" not in (await ask(client, endpoint, {"Accept": "application/json"})).headers
    asked_not_to = await ask(client, endpoint, PAGE | {"X-Session-Renew": "no"})
    assert "Set-Cookie" not in asked_not_to.headers
    old = cookie_of(client)
    page = await ask(client, endpoint, PAGE)
    assert (page.status, "Set-Cookie" in page.headers) == (200, True)
    assert cookie_of(client) != old
    assert "Set-Cookie" not in (await ask(client, endpoint, PAGE)).headers


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_the_headers_of_a_page_alone_renew_no_cookie(client: ServiceClient, endpoint: str) -> None:
    """A cache may take the headers of an answer to HEAD into a page that it has kept (RFC 9111, section 4.3.5)."""
    await register(client)
    assert client.app is not None
    clock = testing.clock(client.app)
    for method, renews_cookie in (("HEAD", False), ("GET", True)):
        clock.move(minutes=10)
        before = await expires_in(client)
        answer = await ask(client, endpoint, PAGE, method=method)
        assert (answer.status, "Set-Cookie" in answer.headers) == (200, renews_cookie)
        assert await expires_in(client) > before + timedelta(minutes=9).total_seconds()


async def test_a_page_of_a_client_that_does_not_renew_renews_nothing(client: ServiceClient) -> None:
    await register(client)
    assert client.app is not None
    testing.clock(client.app).move(minutes=10)
    before = await expires_in(client)
    answer = await ask(client, FORWARD, PAGE | {"X-Session-Renew": "no"})
    assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)
    assert await expires_in(client) <= before


async def test_cookies_that_contradict_each_other_are_dropped_by_a_page(servers: Servers, tmp_path: Path) -> None:
    async with running(servers, tmp_path, access_default="signed-in") as client:
        values = []
        for number in range(2):
            client.session.cookie_jar.clear()
            await register(client, email=f"{number}@example.com")
            values.append(cookie_of(client))
        client.session.cookie_jar.clear()
        both = {"Cookie": "; ".join(f"session_id={value}" for value in values)}
        answer = await ask(client, FORWARD, both)
        assert (answer.status, "Set-Cookie" in answer.headers) == (401, False)
        answer = await ask(client, FORWARD, PAGE | both)
        assert (answer.status, "Set-Cookie" in answer.headers) == (302, True)


async def test_an_open_page_sets_no_cookie_for_a_stranger(client: ServiceClient, rule: RuleThat) -> None:
    rule(anyone=True)
    answer = await ask(client, FORWARD, PAGE)
    assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)
