"""Every error of the service is a problem document, and reveals nothing internal."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom import Settings, testing
from stateroom.app import make_app
from stateroom.errors import DatabaseUnavailable, Saturated

from ..conftest import ServiceClient
from ..logs import capture_events


async def problem(client: ServiceClient, method: str, path: str, **options: Any) -> tuple[dict[str, Any], dict[str, str]]:
    async with client.request(method, path, **options) as response:
        assert response.content_type == "application/problem+json"
        document = await response.json(content_type="application/problem+json")
        assert document["status"] == response.status
        assert {"type", "title", "status", "detail", "error", "request_id"} <= set(document)
        assert document["request_id"] == response.headers["X-Request-ID"]
        assert response.headers["Cache-Control"] == "no-store"
        return document, dict(response.headers)


@pytest.mark.parametrize(
    ("method", "path", "error", "detail"),
    [
        ("GET", "/nowhere", "there is nothing at this path", "there is nothing at this path; check the path, and an id in it"),
        (
            "PUT", "/api/auth/login",
            "PUT is not allowed at this path", "PUT is not allowed at this path; the header Allow lists the allowed methods",
        ),
        (
            "GET", "/api/profile",
            "Sign-in required", "Sign-in required; sign in, then send the session cookie, or the session_token as bearer",
        ),
    ],
)  # fmt: skip
async def test_the_detail_says_what_the_client_can_do(
    service: ServiceClient, method: str, path: str, error: str, detail: str
) -> None:
    document, _ = await problem(service, method, path)
    assert (document["error"], document["detail"]) == (error, detail)


async def test_a_path_that_is_not_there(service: ServiceClient) -> None:
    document, _ = await problem(service, "GET", "/no/such/<path>")
    assert (document["status"], document["type"]) == (404, "urn:stateroom:problem:not-found")
    assert "such" not in str(document)


async def test_a_method_that_is_not_allowed_names_those_that_are(service: ServiceClient) -> None:
    document, headers = await problem(service, "PUT", "/api/auth/login")
    assert document["status"] == 405
    assert headers["Allow"] == "POST"


async def test_401_has_a_challenge_that_opens_no_dialog(service: ServiceClient) -> None:
    document, headers = await problem(service, "GET", "/api/profile")
    assert document["status"] == 401
    assert headers["WWW-Authenticate"].split()[0] not in {"Basic", "Digest", "Negotiate"}


async def test_while_redis_is_away_what_needs_it_is_503_with_a_time_to_wait_and_keeps_its_cookie(service: ServiceClient) -> None:
    assert service.app is not None
    await testing.sign_in_as(service, 1)
    with testing.redis_down(service.app):
        document, headers = await problem(service, "GET", "/api/sessions")
        assert (document["status"], document["error"]) == (503, "session storage degraded")
        assert int(headers["Retry-After"]) >= 1
        assert "Set-Cookie" not in headers
    async with service.get("/api/auth/check") as response:
        assert (await response.json())["authenticated"] is True


@pytest.fixture
async def failing(service_settings: Settings, aiohttp_client: AiohttpClient) -> ServiceClient:
    """The service, with handlers that fail in different ways."""
    faults = {
        "bug": RuntimeError("SELECT secret FROM /etc/stateroom"),
        "slow": TimeoutError("10.1.2.3"),
        "database": DatabaseUnavailable("could not connect to 10.1.2.3:5432"),
        "saturated": Saturated("33 wait", retry_after=4),
        "conflict": web.HTTPConflict(text="10.1.2.3"),
        "redirect": web.HTTPFound("/elsewhere"),
    }

    async def fail(request: web.Request) -> web.Response:
        raise faults[request.match_info["fault"]]

    app = make_app(service_settings)
    app.router.add_get("/fail/{fault}", fail)
    return await aiohttp_client(app)


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("bug", 500, "Internal error"),
        ("slow", 503, "session storage degraded"),
        ("database", 503, "user database unavailable"),
        ("saturated", 503, "too many sign-ins at once"),
        ("conflict", 409, "Conflict"),
    ],
)
async def test_nothing_of_the_inside_leaves_with_an_error(failing: ServiceClient, fault: str, status: int, error: str) -> None:
    document, headers = await problem(failing, "GET", f"/fail/{fault}")
    assert (document["status"], document["error"]) == (status, error)
    assert document["detail"] != error
    for inside in ("SELECT", "/etc", "10.1.2.3", "Traceback", "RuntimeError", "33 wait"):
        assert inside not in str(document)
    if status == 503:
        assert int(headers["Retry-After"]) >= 1


async def test_a_saturated_service_says_when_to_come_back(failing: ServiceClient) -> None:
    _, headers = await problem(failing, "GET", "/fail/saturated")
    assert headers["Retry-After"] == "4"


async def test_a_bug_is_in_the_log_under_the_request_id(failing: ServiceClient) -> None:
    with capture_events() as logs:
        document, _ = await problem(failing, "GET", "/fail/bug")
    [entry] = [each for each in logs if each["event"] == "request_failed"]
    assert (entry["request_id"], entry["log_level"]) == (document["request_id"], "error")
    assert entry["exc_info"]


async def test_a_redirect_is_no_problem(failing: ServiceClient) -> None:
    async with failing.get("/fail/redirect", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")
        assert response.headers["X-Request-ID"]
