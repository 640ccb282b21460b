"""docs/quickstart.md is the program examples/members.py, in parts, and the program does what the page says."""

from __future__ import annotations

import re
import runpy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import CookieJar, web
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS, testing
from stateroom.drills import topology
from stateroom.drills.node import Node

from .conftest import ServiceClient
from .documents import examples, page

PROGRAM = Path(__file__).parents[1] / "examples" / "members.py"
ADA = {"email": "ada@example.com", "password": "correct horse"}
CHANGE = {"current password": "correct horse", "new password": "battery staple"}
BOB = {"email": "bob@example.com", "password": "correct horse"}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A Valkey server for this test alone, because tests pause it."""
    async with topology.single(tmp_path / "valkey") as node:
        yield node


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the program defines. It hashes quickly."""
    monkeypatch.setattr(bcrypt, "gensalt", lambda salt=bcrypt.gensalt: salt(4))
    return runpy.run_path(str(PROGRAM))


@pytest.fixture
def app(node: Node, names: dict[str, Any], tmp_path: Path) -> web.Application:
    settings = {"_env_file": None, "redis_host": node.host, "redis_port": node.port, "state_dir": tmp_path}
    keys = {"cookie_keys": testing.settings().cookie_keys[0].get_secret_value(), "cookie_secure": False}
    made: web.Application = names["make_app"](str(tmp_path / "members.db"), **settings, **keys)
    return made


@pytest.fixture
async def browser(app: web.Application, aiohttp_client: AiohttpClient) -> ServiceClient:
    return await aiohttp_client(app, cookie_jar=CookieJar(unsafe=True))


@pytest.fixture
async def other(browser: ServiceClient, aiohttp_client: AiohttpClient) -> ServiceClient:
    """Another browser of the same server."""
    client: Any = await aiohttp_client(browser.server, cookie_jar=CookieJar(unsafe=True))
    other: ServiceClient = client
    return other


async def went(browser: ServiceClient, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """The status, and where the response leads or the text that it shows."""
    method = "GET" if form is None else "POST"
    async with browser.request(method, path, data=form, allow_redirects=False) as response:
        return response.status, response.headers.get("Location") or await response.text()


async def shown(browser: ServiceClient, path: str) -> str:
    status, text = await went(browser, path)
    assert status == 200, text
    return text


def test_the_page_is_the_program() -> None:
    [_, program] = PROGRAM.read_text(encoding="utf-8").split('"""\n\n', maxsplit=1)
    assert "\n\n".join(examples("quickstart.md", "python")) == program


def test_the_program_runs_where_the_page_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run: list[tuple[str, int]] = []
    monkeypatch.setattr(web, "run_app", lambda app, *, host, port: run.append((host, port)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "none")  # the program gives its own
    runpy.run_path(str(PROGRAM), run_name="__main__")
    assert run == [("127.0.0.1", 8082)]
    assert "http://127.0.0.1:8082/" in page("quickstart.md")


async def test_a_visitor_signs_up_and_keeps_the_list(browser: ServiceClient) -> None:
    assert await went(browser, "/", {"item": "tea & honey"}) == (303, "/")
    assert "Added." in await shown(browser, "/")
    assert (await went(browser, "/sign-up", ADA | {"password": "short"}))[0] == 422
    assert await went(browser, "/sign-up", ADA) == (303, "/")
    text = await shown(browser, "/")
    assert "<li>tea &amp; honey" in text
    assert "Welcome." in text
    assert "Welcome." not in await shown(browser, "/")
    assert (await went(browser, "/sign-up", ADA))[0] == 422


async def test_an_anonymous_visitor_is_led_to_the_sign_in_and_back(browser: ServiceClient) -> None:
    await went(browser, "/sign-up", ADA)
    assert await went(browser, "/sign-out", {}) == (303, "/")
    assert "You are signed out." in await shown(browser, "/")
    status, there = await went(browser, "/account/?page=2")
    assert (status, there) == (303, "/sign-in?next=%2Faccount%2F%3Fpage%3D2")
    assert (await went(browser, there, ADA | {"password": "wrong"}))[0] == 401
    assert (await went(browser, there, BOB))[0] == 401
    assert await went(browser, there, ADA) == (303, "/account/?page=2")
    assert "(this one)" in await shown(browser, "/account/?page=2")


@pytest.mark.parametrize(
    "foreign", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example", "evil.example"]
)
async def test_the_sign_in_leads_to_no_other_site(browser: ServiceClient, foreign: str) -> None:
    await went(browser, "/sign-up", ADA)
    async with browser.post("/sign-in", params={"next": foreign}, data=ADA, allow_redirects=False) as response:
        assert response.headers["Location"] == "/"


async def test_a_change_of_password_ends_the_other_sessions(browser: ServiceClient, other: ServiceClient) -> None:
    await went(browser, "/sign-up", ADA)
    await went(other, "/sign-in", ADA)
    assert (await shown(browser, "/account/")).count("<li>") == 2
    assert (await went(browser, "/account/password", CHANGE | {"current password": "wrong"}))[0] == 422
    assert (await shown(other, "/account/")).count("<li>") == 2
    assert await went(browser, "/account/password", CHANGE) == (303, "/account/")
    assert "You are signed out everywhere else." in await shown(browser, "/account/")
    status, there = await went(other, "/account/")
    assert (status, there) == (303, "/sign-in?next=%2Faccount%2F&ended=password")
    assert "Your session has ended." in await shown(other, there)
    assert (await went(other, there, ADA))[0] == 401
    assert await went(other, there, ADA | {"password": "battery staple"}) == (303, "/account/")


async def test_a_sign_in_with_the_old_password_does_not_outlive_its_change(
    browser: ServiceClient, other: ServiceClient, app: web.Application, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await went(browser, "/sign-up", ADA)
    matches = names["sign_in"].__globals__["matches"]

    async def slowly(password: str, stored: str) -> bool:
        monkeypatch.setitem(names["sign_in"].__globals__, "matches", matches)
        assert await went(browser, "/account/password", CHANGE) == (303, "/account/")
        good: bool = await matches(password, stored)
        return good

    monkeypatch.setitem(names["sign_in"].__globals__, "matches", slowly)
    status, there = await went(other, "/sign-in", ADA)
    assert (status, there) == (303, "/sign-in?next=%2F&ended=password")
    assert len(await app[SESSIONS].list(1)) == 1


async def test_of_two_changes_of_a_password_one_holds(
    browser: ServiceClient, other: ServiceClient, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await went(browser, "/sign-up", ADA)
    await went(other, "/sign-in", ADA)
    hash_of = names["sign_in"].__globals__["hash_of"]

    async def slowly(password: str) -> str:
        monkeypatch.setitem(names["sign_in"].__globals__, "hash_of", hash_of)
        assert await went(other, "/account/password", CHANGE) == (303, "/account/")
        hashed: str = await hash_of(password)
        return hashed

    monkeypatch.setitem(names["sign_in"].__globals__, "hash_of", slowly)
    there = await went(browser, "/account/password", CHANGE | {"new password": "something else"})
    assert there == (303, "/sign-in?next=%2F&ended=password")
    assert await went(other, "/sign-in", ADA | {"password": "battery staple"}) == (303, "/")


async def test_while_redis_is_unavailable_pages_say_so(browser: ServiceClient, other: ServiceClient, node: Node) -> None:
    await went(browser, "/sign-up", ADA)
    await went(browser, "/", {"item": "tea"})
    node.pause()
    try:
        text = await shown(browser, "/")
        assert "You're still signed in." in text
        assert "The list is temporarily unavailable." in text
        assert "This list is temporarily unavailable." in await shown(browser, "/account/")
        async with browser.post("/", data={"item": "honey"}, allow_redirects=False) as response:
            assert (response.status, response.content_type) == (503, "text/html")
            assert int(response.headers["Retry-After"]) >= 1
            assert "Try again soon" in await response.text()
        assert await went(other, "/sign-in?next=/account/", ADA) == (303, "/account/")
        assert await went(browser, "/account/password", CHANGE) == (303, "/account/")
        assert await went(other, "/account/") == (303, "/sign-in?next=%2Faccount%2F&ended=password")
        assert await went(browser, "/sign-out", {}) == (303, "/")
        assert (await went(browser, "/account/"))[1].startswith("/sign-in")
    finally:
        node.resume()


async def test_a_fault_when_data_is_saved_is_a_page_too(
    browser: ServiceClient, app: web.Application, names: dict[str, Any]
) -> None:
    await went(browser, "/sign-up", ADA)
    find = names["find"]
    with pytest.MonkeyPatch.context() as patch:
        context = testing.redis_down(app)

        async def find_then_lose_redis(*arguments: Any) -> Any:
            context.__enter__()
            return await find(*arguments)

        patch.setitem(names["sign_in"].__globals__, "find", find_then_lose_redis)
        status, text = await went(browser, "/sign-up", ADA)
        context.__exit__(None, None, None)
    assert (status, re.findall("<h1>(.*?)</h1>", text)) == (503, ["Try again soon"])
