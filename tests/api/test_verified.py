"""What an account may do before its address is verified, for every route of the application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom.api.forward import HANDLERS
from stateroom.api.mounts import OWN

from ..servers import Servers
from .mailed import ADA, MAIL, Mailed, problem, start

MAY = {
    ("GET", "/api/auth/check"), ("POST", "/api/auth/logout"), ("GET", "/api/profile"), ("POST", "/api/auth/password"),
    ("POST", "/api/auth/email"), ("POST", "/api/auth/email/verify"), ("POST", "/api/auth/email/verification"),
}  # fmt: skip
"""What the contract names."""
OF_NOBODY = {
    ("POST", "/api/auth/register"), ("POST", "/api/auth/login"), ("POST", "/api/auth/token"),
    ("POST", "/api/auth/password/forgot"), ("POST", "/api/auth/password/reset"),
}  # fmt: skip
"""Calls that ask for no session. Token has a check of its own."""


@pytest.fixture
async def service(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> Mailed:
    values = MAIL | {"email_verification": getattr(request, "param", "required")}
    return await start(aiohttp_client, servers.service_settings(tmp_path, **values))


def calls(app: web.Application) -> Iterator[tuple[str, str]]:
    """Every method and path of the application that is not a page and uses the session.

    Forward auth is left out: its answers depend on the access rules (tests/api/forward/test_identity.py).
    """
    for route in app.router.routes():
        described = None if route.handler in HANDLERS else getattr(route.handler, "operation", None)
        if (
            route.resource is None
            or described is None
            or not described.uses_session
            or route.method == "HEAD"
            or route.handler in HANDLERS
        ):
            continue
        yield ("GET" if route.method == "*" else route.method, route.resource.canonical)


async def answered(service: Mailed, method: str, path: str) -> tuple[int, str]:
    path = re.sub(r"\{[^}]*\}", "x", path)
    async with service.client.request(method, path, json={} if method == "POST" else None) as response:
        body = await response.json(content_type=None) if "json" in response.content_type else {}
        return problem((response.status, body))


async def test_it_may_call_exactly_what_the_contract_names(service: Mailed) -> None:
    await service.unverified()
    may = set()
    for method, path in calls(service.app):
        if path.endswith("/api/auth/logout"):
            continue
        refused = await answered(service, method, path) == (403, "verification-required")
        if not refused:
            may.add((method, path.removeprefix(OWN)))
    assert may == (MAY | OF_NOBODY) - {("POST", "/api/auth/logout")}
    assert await answered(service, "POST", "/api/auth/logout") == (200, "")
    assert await service.user_id() == 0


@pytest.mark.parametrize("service", ["optional", "off"], indirect=True)
async def test_where_it_is_not_required_nothing_is_refused(service: Mailed) -> None:
    await service.post("/api/auth/register", ADA, status=201)
    for method, path in calls(service.app):
        if "logout" not in path:
            assert await answered(service, method, path) != (403, "verification-required"), path
    assert (await service.get("/api/sessions"))[0] == 200


async def test_it_may_do_everything_once_it_is_verified(service: Mailed) -> None:
    token = await service.unverified()
    assert problem(await service.get("/api/sessions")) == (403, "verification-required")
    await service.post("/api/auth/email/verify", {"token": token}, status=200)
    assert (await service.get("/api/sessions"))[0] == 200
    assert "verification" not in (await service.get("/api/profile"))[1]


async def test_an_account_from_before_counts_as_verified(service: Mailed) -> None:
    accounts = service.accounts
    await accounts.users.create(ADA["email"], "Ada", await accounts.passwords.hash(ADA["password"]))
    await service.sign_in()
    assert (await service.get("/api/sessions"))[0] == 200


async def test_visitors_are_asked_for_nothing(service: Mailed) -> None:
    assert problem(await service.get("/api/sessions")) == (401, "sign-in-required")
    assert (await service.get("/api/flashes"))[0] == 200


async def test_it_may_change_its_password_and_correct_its_address(service: Mailed) -> None:
    await service.unverified()
    change = {"current_password": ADA["password"], "new_password": "a better horse battery"}
    await service.post("/api/auth/password", change, status=200)
    body = {"email": "lovelace@example.com", "password": "a better horse battery"}
    await service.post("/api/auth/email", body, status=202)
    [letter] = await service.post_room.letters()
    assert (letter.kind, letter.to) == ("change", "lovelace@example.com")
    await service.post("/api/auth/email/verify", {"token": letter.values["link"].partition("token=")[2]}, status=200)
    assert (await service.get("/api/sessions"))[0] == 200
