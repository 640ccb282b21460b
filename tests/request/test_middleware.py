"""The sessions of an application, over HTTP, with a real server."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar, TCPConnector, web
from aiohttp.test_utils import make_mocked_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import SESSIONS, testing
from stateroom.settings import Settings
from stateroom.setup import DATABASE

from ..conftest import ServiceClient
from ..servers import Servers
from .sites import Gate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


GATE = web.AppKey("gate", Gate)


async def read(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "data": dict(session), "id": session.id})


async def write(request: web.Request) -> web.Response:
    stateroom.get_session(request).update(await request.json())
    return web.json_response({})


async def count(request: web.Request) -> web.Response:
    value = await stateroom.get_session(request).change("n", lambda n: (n or 0) + 1)
    return web.json_response({"n": value})


async def append(request: web.Request) -> web.Response:
    stateroom.get_session(request)["cart"].append(request.match_info["sku"])
    return web.json_response({})


async def slow_write(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    await request.app[GATE].wait()
    session["late"] = True
    return web.json_response({})


async def slow_read(request: web.Request) -> web.Response:
    await request.app[GATE].wait()
    return web.json_response({"user": stateroom.get_session(request).user_id})


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, request.match_info["user"])
    return web.json_response({})


async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


async def redirect(request: web.Request) -> web.Response:
    stateroom.get_session(request)["before"] = "redirect"
    raise web.HTTPFound("/read")


async def stream(request: web.Request) -> web.StreamResponse:
    session = stateroom.get_session(request)
    session["a"] = 1
    response = web.StreamResponse()
    await response.prepare(request)
    session["b"] = 2
    await session.save()
    await response.write(b"done")
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    session = stateroom.get_session(request)
    session["seen"] = True
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        session["last"] = message.data
        await session.save()
        await socket.send_str("saved")
    return socket


async def fail(request: web.Request) -> web.Response:
    stateroom.get_session(request)["never"] = "saved"
    raise RuntimeError("a bug")


async def flash(request: web.Request) -> web.Response:
    stateroom.flash(stateroom.get_session(request), "info", request.match_info["text"])
    return web.json_response({})


async def flashes(request: web.Request) -> web.Response:
    return web.json_response(await stateroom.take_flashes(stateroom.get_session(request)))


@stateroom.require_auth
async def mine(request: web.Request) -> web.Response:
    return web.json_response({"user": stateroom.get_session(request).user_id})


@stateroom.require_auth(fresh=300)
async def fresh(request: web.Request) -> web.Response:
    return web.json_response({})


@stateroom.background
async def poll(request: web.Request) -> web.Response:
    return web.json_response({})


class View(web.View):
    @stateroom.require_auth
    async def get(self) -> web.Response:
        return web.json_response({"user": stateroom.get_session(self.request).user_id})


def make_app(app_settings: Settings) -> web.Application:
    app = web.Application()
    stateroom.setup(app, app_settings)
    app[GATE] = Gate()
    for path, handler in {
        "/read": read, "/stream": stream, "/websocket": websocket, "/redirect": redirect, "/mine": mine,
        "/fresh": fresh, "/poll": poll, "/flashes": flashes, "/fail": fail, "/slow-read": slow_read,
    }.items():  # fmt: skip
        app.router.add_get(path, handler)
    for path, handler in {
        "/write": write, "/count": count, "/append/{sku}": append, "/slow": slow_write, "/sign-in/{user}": sign_in,
        "/sign-out": sign_out, "/flash/{text}": flash,
    }.items():  # fmt: skip
        app.router.add_post(path, handler)
    app.router.add_view("/view", View)
    return app


@pytest.fixture
def app_settings(servers: Servers) -> Settings:
    return servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}", session_max_bytes=50_000)


@pytest.fixture
async def app(app_settings: Settings) -> web.Application:
    return make_app(app_settings)


@pytest.fixture
async def browser(app: web.Application, aiohttp_client: AiohttpClient) -> ServiceClient:
    """A client with a cookie jar and many connections."""
    return await aiohttp_client(app, connector=TCPConnector(limit=300), cookie_jar=CookieJar(unsafe=True))


@pytest.fixture
async def raw(browser: ServiceClient) -> AsyncIterator[ClientSession]:
    """A client of the application without a cookie jar: the test sets the cookies."""
    async with ClientSession(browser.make_url("/"), cookie_jar=DummyCookieJar()) as session:
        yield session


async def post(client: ServiceClient, path: str, body: object = None, **options: Any) -> int:
    async with client.post(path, json=body, **options) as response:
        await response.read()
        return response.status


async def get(client: ServiceClient, path: str) -> Any:
    async with client.get(path) as response:
        return await response.json(content_type=None)


def value_of(client: ServiceClient) -> str:
    [found] = [morsel.value for morsel in client.session.cookie_jar if morsel.key == "session_id"]
    return found


async def keys_in_redis(app: web.Application) -> int:
    """The keys of this application. Keys of other tests may expire meanwhile."""
    found = await app[SESSIONS]._parts.client.execute("", "KEYS", f"{app[SESSIONS].settings.redis_key_prefix}:*")
    return len(found)


async def test_parallel_requests_keep_each_others_keys(browser: ServiceClient) -> None:
    await post(browser, "/write", {"first": 1})
    statuses = await asyncio.gather(*(post(browser, "/write", {f"key{n}": n}) for n in range(200)))
    assert set(statuses) == {200}
    data = (await get(browser, "/read"))["data"]
    assert data == {"first": 1} | {f"key{n}": n for n in range(200)}


async def test_a_look_up_that_found_nobody_signs_nobody_in() -> None:
    with pytest.raises(TypeError, match="not None"):
        await stateroom.sign_in(make_mocked_request("POST", "/"), None)  # type: ignore[arg-type]


async def test_parallel_changes_of_one_counter_all_count(browser: ServiceClient) -> None:
    await post(browser, "/write", {"n": 0})
    answers = await asyncio.gather(*(post(browser, "/count") for _ in range(200)))
    assert answers == [200] * 200
    assert (await get(browser, "/read"))["data"] == {"n": 200}


async def test_a_visitors_first_change_is_kept_too(browser: ServiceClient) -> None:
    await post(browser, "/count")
    await post(browser, "/count")
    assert (await get(browser, "/read"))["data"] == {"n": 2}


async def test_changes_from_two_workers_all_count(
    browser: ServiceClient, app_settings: Settings, aiohttp_client: AiohttpClient
) -> None:
    await post(browser, "/write", {"n": 0})
    second = await aiohttp_client(make_app(app_settings), cookie_jar=CookieJar(unsafe=True))
    second.session.cookie_jar.update_cookies({"session_id": value_of(browser)}, second.make_url("/"))
    await asyncio.gather(*(post(each, "/count") for each in (browser, second) for _ in range(50)))
    assert (await get(second, "/read"))["data"] == {"n": 100}


async def test_slow_requests_do_not_bring_a_logged_out_session_back(
    browser: ServiceClient, app: web.Application, raw: ClientSession
) -> None:
    await post(browser, "/sign-in/ada")
    value = value_of(browser)
    headers = {"Cookie": f"session_id={value}"}

    async def slow(path: str) -> tuple[int, Any, str | None]:
        call = raw.get if path == "/slow-read" else raw.post
        async with call(path, headers=headers) as response:
            return response.status, await response.json(content_type=None), response.headers.get("Set-Cookie")

    # Half of them write, half are due for renewal. Neither may store the session again.
    under_way = [asyncio.create_task(slow("/slow" if n % 2 else "/slow-read")) for n in range(50)]
    await app[GATE].until(50)
    testing.clock(app).move(seconds=120)
    assert await post(browser, "/sign-out") == 200
    app[GATE].opened.set()
    answers = await asyncio.gather(*under_way)
    assert {cookie for _, _, cookie in answers} == {None}
    writers = [(status, body) for status, body, _ in answers[1::2]]
    assert {status for status, _ in writers} == {401}
    assert {body["reason"] for _, body in writers} == {"logout"}
    async with raw.get("/mine", headers=headers) as response:
        assert (response.status, (await response.json(content_type=None))["reason"]) == (401, "logout")
    assert await app[SESSIONS].count_active() == 0


async def test_a_thousand_anonymous_requests_store_nothing(browser: ServiceClient, app: web.Application) -> None:
    # Housekeeping has its own key, which comes and goes. The test keeps it present.
    await app[SESSIONS]._parts.store.claim_sweep("test", hold_ms=60_000)
    before = await keys_in_redis(app)
    for _ in range(10):
        answers = await asyncio.gather(*(get(browser, "/read") for _ in range(100)))
        assert all(answer["data"] == {} for answer in answers)
    assert await keys_in_redis(app) == before
    assert list(browser.session.cookie_jar) == []


async def test_a_request_without_a_cookie_sends_nothing_to_redis(
    browser: ServiceClient, app: web.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with testing.redis_down(app):
        assert (await get(browser, "/read"))["data"] == {}


async def test_a_request_without_a_cookie_sends_nothing_to_the_database(
    service: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.app is not None
    database = service.app[DATABASE]
    asked: list[str] = []

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*arguments: Any) -> Any:
            task = asyncio.current_task()
            name = task.get_name() if task is not None else ""
            if not name.startswith("stateroom "):  # Background tasks have names.
                asked.append(name)
            return call(*arguments)

        return calling

    for call in ("connect", "begin", "read", "write"):
        monkeypatch.setattr(database, call, noted(getattr(database, call)))
    for path in ("/api/auth/check", "/api/flashes", "/livez", "/readyz", "/"):
        async with service.get(path) as response:
            assert response.status == 200
    assert asked == []
    async with service.post("/api/auth/login", json={"email": "nobody@example.com", "password": "whatever"}) as response:
        assert response.status == 401
    assert asked != []


async def test_nothing_that_redis_holds_opens_a_session(browser: ServiceClient, app: web.Application, raw: ClientSession) -> None:
    await post(browser, "/write", {"secret": "cart"})
    await post(browser, "/sign-in/ada")
    client = app[SESSIONS]._parts.client
    prefix = app[SESSIONS].settings.redis_key_prefix
    held: set[bytes] = set()
    for key in await client.execute("", "KEYS", f"{prefix}:*"):
        held.add(key)
        held.update(key.split(b":"))
        kind = await client.execute("", "TYPE", key)
        if kind == b"hash":
            for name, value in (await client.execute("", "HGETALL", key)).items():
                held |= {name, value}
        elif kind == b"zset":
            for member in await client.execute("", "ZRANGE", key, 0, -1):
                held.add(member)
                held.update(member.split(b":"))
    texts = [text.decode() for text in held if text.isascii()]
    assert len(texts) > 10
    for text in texts:
        if any(c in text for c in '"\\\r\n'):
            continue
        for headers in ({"Cookie": f"session_id={text}"}, {"Authorization": f"Bearer {text}"}):
            async with raw.get("/read", headers=headers) as response:
                assert (await response.json())["user"] is None
    # Redis does not contain the token that opens the session.
    token = app[SESSIONS]._parts.key_ring.open(value_of(browser))
    assert token is not None
    assert not any(token.token in text or token.token.hex().encode() in text for text in held)


def test_mangled_cookies_are_anonymous_visitors(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    """10,000 bad cookies at one application: no 5xx, no cookie set, nothing logged."""
    runner = asyncio.Runner()
    app = make_app(servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}"))

    async def start() -> tuple[web.AppRunner, str, str]:
        app_runner = web.AppRunner(app, access_log=None)
        await app_runner.setup()
        await web.TCPSite(app_runner, "127.0.0.1", 0).start()
        session = await app[SESSIONS].create("ada", data={"a": 1})
        host, port = app_runner.addresses[0][:2]
        return app_runner, f"http://{host}:{port}", app[SESSIONS].seal(session)

    app_runner, url, good = runner.run(start())
    session = runner.run(_open_session())
    header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
    mangled = st.one_of(
        header_text,
        st.builds(lambda cut: good[:cut], st.integers(0, len(good) - 1)),
        st.builds(lambda at, c: good[:at] + c + good[at + 1 :], st.integers(0, len(good) - 2), st.sampled_from("AZaz09-_.~ ;,")),
        st.builds(lambda extra: good + extra, st.text("ABC-_09", min_size=1, max_size=20)),
        st.just("A" * 8000),
        st.binary(min_size=20, max_size=200).map(lambda raw: raw.hex()),
    )

    seen = 0

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(mangled.filter(lambda text: text.strip() != good), min_size=100, max_size=100))
    def check(values: list[str]) -> None:
        nonlocal seen
        seen += len(values)
        for status, body, set_cookie in runner.run(_ask_all(session, url, values)):
            assert status == 200
            assert body["user"] is None
            assert set_cookie is None

    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        check()
        records = [record for record in caplog.records if record.name.startswith("stateroom")]
    finally:
        runner.run(session.close())
        runner.run(app_runner.cleanup())
        runner.close()
    assert seen >= 10_000
    assert [record.getMessage() for record in records if "housekeeping" not in record.getMessage()] == []


async def _open_session() -> ClientSession:
    return ClientSession(cookie_jar=DummyCookieJar(), connector=TCPConnector(limit=50))


async def _ask_all(session: ClientSession, url: str, values: list[str]) -> list[tuple[int, Any, str | None]]:
    async def ask(value: str) -> tuple[int, Any, str | None]:
        async with session.get(f"{url}/read", headers={"Cookie": f"session_id={value}"}) as response:
            return response.status, json.loads(await response.read()), response.headers.get("Set-Cookie")

    return await asyncio.gather(*(ask(value) for value in values))


async def test_a_mutated_value_is_noticed_and_saved(browser: ServiceClient) -> None:
    await post(browser, "/write", {"cart": ["a"]})
    await post(browser, "/append/b")
    assert (await get(browser, "/read"))["data"] == {"cart": ["a", "b"]}


async def test_a_raised_redirect_saves_and_sets_the_cookie(browser: ServiceClient) -> None:
    assert (await get(browser, "/redirect"))["data"] == {"before": "redirect"}


async def test_a_stream_saves_before_its_headers_leave_and_when_asked(browser: ServiceClient) -> None:
    async with browser.get("/stream") as response:
        assert await response.text() == "done"
        assert "session_id=" in response.headers["Set-Cookie"]
    assert (await get(browser, "/read"))["data"] == {"a": 1, "b": 2}


async def test_a_websocket_saves_before_it_opens_and_when_asked(browser: ServiceClient) -> None:
    await post(browser, "/write", {"a": 1})
    async with browser.ws_connect("/websocket") as socket:
        assert (await get(browser, "/read"))["data"] == {"a": 1, "seen": True}
        await socket.send_str("hello")
        assert await socket.receive_str() == "saved"
    assert (await get(browser, "/read"))["data"]["last"] == "hello"


async def test_a_failed_handler_saves_nothing(browser: ServiceClient) -> None:
    await post(browser, "/write", {"a": 1})
    async with browser.get("/fail") as response:
        assert response.status == 500
    assert (await get(browser, "/read"))["data"] == {"a": 1}


async def test_flash_messages_of_parallel_requests_are_each_shown_once(browser: ServiceClient) -> None:
    await post(browser, "/write", {"a": 1})
    await asyncio.gather(*(post(browser, f"/flash/m{n}") for n in range(20)))
    taken = [each for each in await asyncio.gather(*(get(browser, "/flashes") for _ in range(20))) if each]
    assert sorted(line for each in taken for line in each["flash_info"].split("\n")) == sorted(f"m{n}" for n in range(20))
    assert await get(browser, "/flashes") == {}


async def test_signing_in_takes_an_anonymous_cart_along_but_not_another_users(browser: ServiceClient) -> None:
    await post(browser, "/write", {"cart": [1]})
    await post(browser, "/sign-in/ada")
    assert await get(browser, "/read") | {"id": ""} == {"user": "ada", "data": {"cart": [1]}, "id": ""}
    await post(browser, "/sign-in/bob")
    assert await get(browser, "/read") | {"id": ""} == {"user": "bob", "data": {}, "id": ""}


async def test_a_token_that_the_client_made_up_is_never_adopted(browser: ServiceClient, app: web.Application) -> None:
    other = make_app(testing.settings(redis_host=app[SESSIONS].settings.redis_host, redis_port=app[SESSIONS].settings.redis_port))
    other[SESSIONS]._parts.deployment.id = app[SESSIONS]._parts.deployment.id
    forged = other[SESSIONS]._parts.key_ring.seal(
        b"f" * 32, user_id="ada", generation=0, auth_time=1, deadline=2**50, idle_ms=1, issued_at=1, is_persistent=False
    )
    browser.session.cookie_jar.update_cookies({"session_id": forged}, browser.make_url("/"))
    assert (await get(browser, "/read"))["user"] is None
    await post(browser, "/write", {"a": 1})
    assert value_of(browser) != forged


async def test_guards_refuse_whom_they_should(browser: ServiceClient, app: web.Application) -> None:
    for path in ("/mine", "/view", "/fresh"):
        assert (await get(browser, path))["type"].endswith("sign-in-required")
    await post(browser, "/sign-in/ada")
    assert await get(browser, "/mine") == {"user": "ada"}
    assert await get(browser, "/view") == {"user": "ada"}
    assert await get(browser, "/fresh") == {}
    testing.clock(app).move(seconds=301)
    assert (await get(browser, "/fresh"))["type"].endswith("reauthentication-required")
    assert await get(browser, "/mine") == {"user": "ada"}


async def test_background_requests_do_not_extend_the_session(browser: ServiceClient, app: web.Application) -> None:
    await post(browser, "/sign-in/ada")
    clock = testing.clock(app)
    for _ in range(3):
        clock.move(minutes=19)
        await get(browser, "/poll")
    clock.move(minutes=4)
    assert (await get(browser, "/mine"))["reason"] == "expired"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "{own}"}, 200),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_unsafe_requests_from_other_sites_are_refused(browser: ServiceClient, headers: dict[str, str], status: int) -> None:
    own = str(browser.make_url("/")).rstrip("/")
    filled = {name: value.replace("{own}", own) for name, value in headers.items()}
    assert await post(browser, "/write", {"a": 1}, headers=filled) == status


async def test_when_redis_fails_a_session_is_a_503_and_the_cookie_stays(browser: ServiceClient, app: web.Application) -> None:
    await post(browser, "/sign-in/ada")
    with testing.redis_down(app):
        async with browser.get("/mine") as response:
            problem = await response.json(content_type=None)
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert problem["error"] == "session storage degraded"
            assert "Set-Cookie" not in response.headers
    assert await get(browser, "/mine") == {"user": "ada"}


async def test_too_much_data_is_refused_and_the_stored_session_untouched(browser: ServiceClient) -> None:
    await post(browser, "/write", {"a": 1})
    async with browser.post("/write", json={"big": "x" * 60_000}) as response:
        assert response.status == 413
        assert "SESSION_MAX_BYTES" in (await response.json(content_type=None))["detail"]
    assert (await get(browser, "/read"))["data"] == {"a": 1}
