"""The contract's answers, over HTTP, on a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import TestServer, make_mocked_request

from stateroom import SESSIONS, Settings, testing
from stateroom.api import bodies
from stateroom.api.bodies import read_whole
from stateroom.app import make_app
from stateroom.errors import BadInput

from ..conftest import ServiceClient

pytestmark = pytest.mark.usefixtures("counted_ids")

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
CREDENTIALS = {"email": ADA["email"], "password": ADA["password"]}


async def post(client: ServiceClient, path: str, body: object = None, **options: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(path, json=body, **options) as response:
        return response.status, await response.json(content_type=None)


async def get(client: ServiceClient, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    async with client.get(path, **options) as response:
        return response.status, await response.json(content_type=None)


async def get_as(client: ServiceClient, value: Any, path: str) -> tuple[int, dict[str, Any]]:
    """Send a request with this cookie, not with the client's own cookies."""
    headers = {"Cookie": f"session_id={value}"}
    async with (
        ClientSession(cookie_jar=DummyCookieJar()) as session,
        session.get(client.make_url(path), headers=headers) as response,
    ):
        return response.status, await response.json(content_type=None)


def cookie(client: ServiceClient) -> str:
    [found] = [morsel.value for morsel in client.session.cookie_jar if morsel.key == "session_id"]
    return found


async def register(client: ServiceClient, **changes: str) -> dict[str, Any]:
    status, body = await post(client, "/api/auth/register", ADA | changes)
    assert status == 201, body
    return body


async def test_a_first_hour(service: ServiceClient) -> None:
    assert await get(service, "/api/auth/check") == (
        200,
        {"authenticated": False, "user_id": 0, "degraded": False, "expires_in": 0},
    )
    body = await register(service)
    user = {"id": 1, "email": "ada@example.com", "name": "Ada"}
    assert body == {"user": user, "message": "registration successful"}
    status, body = await get(service, "/api/auth/check")
    assert (status, body["authenticated"], body["user_id"], body["degraded"]) == (200, True, 1, False)
    assert 3590 <= body["expires_in"] <= 3600

    status, body = await get(service, "/api/profile")
    assert status == 200
    assert body["user"] == user
    assert set(body["session"]) == {"id", "created_at", "expires_at", "last_access", "degraded"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["session"]["created_at"])

    assert await post(service, "/api/auth/login", CREDENTIALS) == (200, {"user": user, "message": "login successful"})
    for path in ("/api/dashboard", "/api/flashes"):
        async with service.head(path) as response:  # It must not take a message that no page would show.
            assert response.status == 200
    status, body = await get(service, "/api/dashboard")
    assert status == 200
    assert (body["message"], body["user_id"]) == ("Welcome to your dashboard", 1)
    assert body["flashes"] == {"flash_success": "Welcome, Ada.\nWelcome back, Ada."}
    assert (await get(service, "/api/dashboard"))[1]["flashes"] == {}

    old = cookie(service)
    assert await post(service, "/api/auth/logout") == (200, {"message": "logout successful"})
    assert [m for m in service.session.cookie_jar if m.key == "session_id"] == []
    status, body = await get_as(service, old, "/api/auth/check")
    assert (status, body) == (
        200,
        {"authenticated": False, "user_id": 0, "degraded": False, "expires_in": 0, "ended": "logout"},
    )


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"email", "password", "name"}),
        (ADA | {"email": "no address"}, {"email"}),
        (ADA | {"password": "short"}, {"password"}),
        (ADA | {"password": "x" * 1025}, {"password"}),
        (ADA | {"name": ""}, {"name"}),
        (ADA | {"name": "a\nb"}, {"name"}),
        (ADA | {"email": 7}, {"email"}),
        ({"email": "no address", "password": "short", "name": ""}, {"email", "password", "name"}),
        ({"email": "no address", "password": 7}, {"email", "password", "name"}),
        ({"email": 7, "password": "short", "name": "a\nb"}, {"email", "password", "name"}),
        ({"password": "short", "name": "Ada"}, {"email", "password"}),
    ],
)
async def test_what_is_wrong_with_a_registration_is_named_by_field(
    service: ServiceClient, body: dict[str, Any], fields: set[str]
) -> None:
    status, problem = await post(service, "/api/auth/register", body)
    assert status == 400
    order = [name for name in ("email", "password", "name") if name in fields]
    assert [each["field"] for each in problem["errors"]] == order
    assert problem["detail"] == f"these fields are invalid: {', '.join(order)}; correct the request and send it again"
    assert problem["error"] == "; ".join(f"{each['field']}: {each['message']}" for each in problem["errors"])
    assert "short" not in str(problem)
    assert problem["request_id"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": "{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"data": {"email": "x"}}, 415),
        ({"data": "[1]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": "\xff", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": '{"email": "' + "x" * 70_000 + '"}', "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
async def test_the_api_takes_small_json_objects_only(service: ServiceClient, options: dict[str, Any], status: int) -> None:
    async with service.post("/api/auth/login", **options) as response:
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["status"]) == (status, status)
        assert problem["error"]


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/api/auth/password", {}, ["current_password", "new_password"]),
        ("/api/auth/password", {"current_password": 7, "new_password": "short"}, ["current_password", "new_password"]),
        ("/api/auth/password", {"new_password": "short"}, ["current_password", "new_password"]),
        (
            "/api/auth/login",
            {"password": 7, "remember": "yes", "transport": "pigeon"},
            ["email", "password", "remember", "transport"],
        ),
        ("/api/auth/token", {}, ["email", "password"]),
        ("/api/auth/reauthenticate", {}, ["password"]),
    ],
)
async def test_every_bad_field_of_a_body_is_named_at_once(
    service: ServiceClient, path: str, body: dict[str, Any], fields: list[str]
) -> None:
    await register(service)
    status, problem = await post(service, path, body)
    assert (status, [each["field"] for each in problem["errors"]]) == (400, fields)
    assert "short" not in str(problem)


@pytest.mark.parametrize(
    ("path", "wanted"), [("/api/auth/login", "application/json"), ("/login", "application/x-www-form-urlencoded")]
)
async def test_415_names_the_type_that_it_wants(service: ServiceClient, path: str, wanted: str) -> None:
    """RFC 9110 section 15.5.16: the header `Accept` of the answer."""
    async with service.post(path, data="<a/>", headers={"Content-Type": "text/xml"}) as response:
        assert response.status == 415
        assert response.headers["Accept"] == wanted
        if path.startswith("/api/"):
            problem = await response.json(content_type="application/problem+json")
            assert problem["detail"] == f"the body's media type is not accepted; send {wanted}"
            assert problem["error"] == "the body's media type is not accepted"


async def test_a_body_that_cannot_be_read_is_no_fault_of_ours(service: ServiceClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with service.post("/api/auth/login", data=b"{}", headers=headers) as response:
        assert response.status == 400
        assert (await response.json(content_type=None))[
            "error"
        ] == "the body is incomplete, or not encoded as Content-Encoding says"


@pytest.fixture
async def impatient(service_settings: Settings) -> AsyncIterator[TestServer]:
    """The service, which closes a connection half a second after a refused body. The default of aiohttp is 10 s."""
    server = TestServer(make_app(service_settings))
    await server.start_server(lingering_time=0.5)
    yield server
    await server.close()


async def test_a_body_that_never_comes_is_not_waited_for(impatient: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(impatient.host, impatient.port)
    head = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"}")
        writer.write(b"x" * 99 + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b"", "the connection is closed, and takes no other request"
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"urn:stateroom:problem:request-timeout" in answer


async def test_a_body_that_breaks_off_is_no_fault_of_ours() -> None:
    body = StreamReader(BaseProtocol(asyncio.get_running_loop()), limit=100)
    body.feed_data(b"{")
    body.set_exception(ConnectionResetError("Connection lost"))
    with pytest.raises(BadInput, match="the body is incomplete"):
        await read_whole(make_mocked_request("POST", "/", payload=body))


async def test_an_address_has_one_account_whatever_its_case(service: ServiceClient) -> None:
    await register(service)
    status, problem = await post(service, "/api/auth/register", ADA | {"email": "ADA@Example.com"})
    assert (status, problem["error"]) == (409, "an account with this email exists")
    assert (await post(service, "/api/auth/login", CREDENTIALS | {"email": "ADA@example.com"}))[0] == 200


async def test_unknown_user_and_wrong_password_are_the_same_answer(service: ServiceClient) -> None:
    await register(service)
    answers = []
    for body in (CREDENTIALS | {"password": "wrong"}, CREDENTIALS | {"email": "eve@example.com"}):
        status, problem = await post(service, "/api/auth/login", body)
        problem.pop("request_id")
        answers.append((status, problem))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert answers[0][1]["error"] == "invalid credentials"


async def test_every_sign_in_gets_a_new_id_and_kills_the_old_one(service: ServiceClient) -> None:
    await register(service)
    seen: list[str] = [cookie(service)]
    for path, body in [
        ("/api/auth/login", CREDENTIALS),
        ("/api/auth/reauthenticate", {"password": ADA["password"]}),
        ("/api/auth/password", {"current_password": ADA["password"], "new_password": "a better horse"}),
    ]:
        status, answer = await post(service, path, body)
        assert status == 200, answer
        assert cookie(service) not in seen
        seen.append(cookie(service))
    for value in seen[:-1]:
        _, body = await get_as(service, value, "/api/auth/check")
        assert not body["authenticated"]
        assert body["ended"] in {"rotated", "password"}
    assert (await get(service, "/api/auth/check"))[1]["authenticated"] is True


async def test_a_password_change_ends_every_other_session(service: ServiceClient) -> None:
    await register(service)
    other = cookie(service)
    service.session.cookie_jar.clear()
    await post(service, "/api/auth/login", CREDENTIALS)
    change = {"current_password": ADA["password"], "new_password": "a better horse"}
    assert (await post(service, "/api/auth/password", change | {"current_password": "wrong"}))[0] == 401
    status, body = await post(service, "/api/auth/password", change)
    assert (status, body["revoked"]) == (200, 1)
    status, problem = await get_as(service, other, "/api/profile")
    assert (status, problem["reason"]) == (401, "password")
    assert problem["type"].endswith("session-ended")
    assert (await post(service, "/api/auth/login", CREDENTIALS))[0] == 401
    assert (await post(service, "/api/auth/login", CREDENTIALS | {"password": "a better horse"}))[0] == 200


async def test_without_a_session_protected_calls_answer_sign_in_required(service: ServiceClient) -> None:
    for path in ("/api/profile", "/api/dashboard", "/api/sessions"):
        status, problem = await get(service, path)
        assert status == 401
        assert problem["type"].endswith("sign-in-required")


async def test_an_anonymous_visitor_may_log_out_and_ask_for_flashes(service: ServiceClient) -> None:
    assert await post(service, "/api/auth/logout") == (200, {"message": "logout successful"})
    assert await get(service, "/api/flashes") == (200, {})


async def test_a_bearer_session_sets_no_cookie_and_ends_the_same_way(service: ServiceClient) -> None:
    await register(service)
    service.session.cookie_jar.clear()
    async with service.post("/api/auth/login", json=CREDENTIALS | {"transport": "bearer"}) as response:
        body = await response.json()
        assert "Set-Cookie" not in response.headers
    headers = {"Authorization": f"Bearer {body['session_token']}"}
    assert (await get(service, "/api/profile", headers=headers))[0] == 200
    assert (await post(service, "/api/auth/logout", headers=headers))[0] == 200
    assert (await get(service, "/api/profile", headers=headers))[1]["reason"] == "logout"


async def test_a_bearer_session_that_ends_all_others_stays_signed_in(service: ServiceClient) -> None:
    await register(service)
    service.session.cookie_jar.clear()
    tokens = [(await post(service, "/api/auth/login", CREDENTIALS | {"transport": "bearer"}))[1]["session_token"] for _ in range(2)]
    async with service.delete("/api/sessions", headers={"Authorization": f"Bearer {tokens[0]}"}) as response:
        assert response.status == 200
        answer = await response.json()
    assert answer["revoked"] == 2
    for token, status in ((answer["session_token"], 200), (tokens[0], 401), (tokens[1], 401)):
        assert (await get(service, "/api/profile", headers={"Authorization": f"Bearer {token}"}))[0] == status


async def test_another_applications_bearer_does_not_hide_the_cookie(service: ServiceClient) -> None:
    await register(service)
    foreign = {"Authorization": "Bearer xyz"}
    assert (await get(service, "/api/profile", headers=foreign))[0] == 200
    value = cookie(service)
    assert (await post(service, "/api/auth/logout", headers=foreign))[0] == 200
    assert (await get_as(service, value, "/api/profile"))[1]["reason"] == "logout"


async def test_a_bearer_that_has_ended_is_not_replaced_by_the_cookie(service: ServiceClient) -> None:
    await register(service)
    _, ended = await post(service, "/api/auth/login", CREDENTIALS | {"transport": "bearer"})
    service.session.cookie_jar.clear()
    bearer = {"Authorization": f"Bearer {ended['session_token']}"}
    assert (await post(service, "/api/auth/logout", headers=bearer))[0] == 200
    await post(service, "/api/auth/login", CREDENTIALS)
    status, problem = await get(service, "/api/profile", headers=bearer)
    assert (status, problem["reason"]) == (401, "logout")


async def test_a_remembered_sign_in_outlives_the_browser(service: ServiceClient) -> None:
    await register(service)
    async with service.post("/api/auth/login", json=CREDENTIALS | {"remember": True}) as response:
        assert "Max-Age=2592000" in response.headers["Set-Cookie"]
    async with service.post("/api/auth/login", json=CREDENTIALS) as response:
        assert "Max-Age" not in response.headers["Set-Cookie"]


async def test_the_cookie_is_issued_anew_when_it_is_renewed_and_not_before(service: ServiceClient) -> None:
    await register(service)
    assert service.app is not None
    clock = testing.clock(service.app)
    async with service.get("/api/auth/check") as response:
        assert "Set-Cookie" not in response.headers
    clock.move(seconds=61)
    async with service.get("/api/auth/check", headers={"X-Session-Renew": "no"}) as response:
        assert "Set-Cookie" not in response.headers
        assert (await response.json())["expires_in"] < 3540
    async with service.get("/api/auth/check") as response:
        assert "Set-Cookie" in response.headers
    assert (await get(service, "/api/auth/check"))[1]["expires_in"] > 3590


async def test_sessions_end_by_idleness_and_by_the_absolute_deadline(service: ServiceClient) -> None:
    await register(service)
    assert service.app is not None
    clock = testing.clock(service.app)
    for _ in range(13):
        clock.move(minutes=55)
        assert (await get(service, "/api/auth/check"))[1]["authenticated"] is True
    clock.move(minutes=55)
    status, body = await get(service, "/api/auth/check")
    assert (status, body["authenticated"], body["ended"]) == (200, False, "expired")
    await post(service, "/api/auth/login", CREDENTIALS)
    clock.move(minutes=61)
    assert (await get(service, "/api/profile"))[1]["reason"] == "expired"


async def test_a_mail_address_is_throttled_with_a_time_to_wait(service: ServiceClient) -> None:
    await register(service)
    wrong = CREDENTIALS | {"password": "wrong"}
    for _ in range(10):
        assert (await post(service, "/api/auth/login", wrong))[0] == 401
    async with service.post("/api/auth/login", json=CREDENTIALS) as response:
        assert response.status == 429
        assert 0 < int(response.headers["Retry-After"]) <= 300
    # Another account at the same address is not blocked.
    service.session.cookie_jar.clear()
    await register(service, email="eve@example.com")
    assert (await post(service, "/api/auth/login", CREDENTIALS | {"email": "eve@example.com"}))[0] == 200


async def test_revoking_needs_a_fresh_sign_in(service: ServiceClient) -> None:
    await register(service)
    assert service.app is not None
    testing.clock(service.app).move(seconds=901)
    async with service.delete("/api/sessions") as response:
        problem = await response.json(content_type=None)
        assert response.status == 401
        assert problem["type"].endswith("reauthentication-required")
    assert (await post(service, "/api/auth/reauthenticate", {"password": "wrong"}))[0] == 401
    assert (await post(service, "/api/auth/reauthenticate", {"password": ADA["password"]}))[0] == 200
    async with service.delete("/api/sessions") as response:
        assert (response.status, (await response.json())["revoked"]) == (200, 0)


async def test_sessions_are_listed_and_revoked_by_handle(service: ServiceClient) -> None:
    await register(service)
    first = cookie(service)
    service.session.cookie_jar.clear()
    await post(
        service,
        "/api/auth/login",
        CREDENTIALS,
        headers={"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile"},
    )
    _, body = await get(service, "/api/sessions")
    current, other = body["sessions"]
    assert (current["current"], other["current"]) == (True, False)
    assert current["device_type"] == "mobile"
    assert current["ip_address"] == "127.0.0.1"
    assert set(current) == {
        "id", "current", "created_at", "last_access", "expires_at", "ip_address", "user_agent", "device_type", "location",
    }  # fmt: skip
    async with service.delete(f"/api/sessions/{other['id']}") as response:
        assert response.status == 200
    assert (await get_as(service, first, "/api/profile"))[1]["reason"] == "revoked"
    async with service.delete(f"/api/sessions/{other['id']}") as response:
        assert response.status == 404
    assert [each["id"] for each in (await get(service, "/api/sessions"))[1]["sessions"]] == [current["id"]]


async def test_nobody_revokes_another_users_session(service: ServiceClient) -> None:
    await register(service)
    victim = cookie(service)
    handle = (await get(service, "/api/profile"))[1]["session"]["id"]
    service.session.cookie_jar.clear()
    await register(service, email="eve@example.com")
    async with service.delete(f"/api/sessions/{handle}") as response:
        assert response.status == 404
    assert (await get_as(service, victim, "/api/profile"))[0] == 200
    # The handle is public, so it must not authenticate.
    for headers in ({"Cookie": f"session_id={handle}"}, {"Authorization": f"Bearer {handle}"}):
        service.session.cookie_jar.clear()
        assert (await get(service, "/api/profile", headers=headers))[0] == 401


async def test_a_disabled_user_is_out_and_stays_out(service: ServiceClient) -> None:
    from stateroom.accounts import ACCOUNTS

    await register(service)
    assert service.app is not None
    await service.app[ACCOUNTS].users.disable(1)
    assert await service.app[SESSIONS].revoke_all(1, reason="disabled") == 1
    assert (await get(service, "/api/profile"))[1]["reason"] == "disabled"
    assert (await post(service, "/api/auth/login", CREDENTIALS))[0] == 401
    await service.app[ACCOUNTS].users.enable(1)
    assert (await post(service, "/api/auth/login", CREDENTIALS))[0] == 200
