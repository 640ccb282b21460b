"""Registration over HTTP: who may, what the response says, and that it says nothing about others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from pytest_aiohttp import AiohttpClient

from stateroom.sessions.sealing.token_keys import new_token_key

from ..servers import Servers
from .mailed import ADA, EVE, MAIL, PASSWORD, Mailed, problem, start

Start = Callable[..., Awaitable[Mailed]]


@pytest.fixture
def started(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> Start:
    async def starting(**values: Any) -> Mailed:
        return await start(aiohttp_client, servers.service_settings(tmp_path, **(MAIL | values)))

    return starting


async def raw(service: Mailed, body: object) -> tuple[int, bytes, list[str]]:
    """Status, body and names of headers, for a client without cookies."""
    async with (
        ClientSession(cookie_jar=DummyCookieJar()) as own,
        own.post(service.client.make_url("/api/auth/register"), json=body) as response,
    ):
        return response.status, await response.read(), list(response.headers)


async def test_the_response_is_the_same_for_a_new_and_for_a_taken_address(started: Start) -> None:
    service = await started()
    await service.verified(EVE)
    new, taken = await raw(service, ADA), await raw(service, EVE)
    assert new == taken
    assert new[:2] == (202, b'{"message":"check your mail","verification":"required"}')
    assert "Set-Cookie" not in new[2]
    assert [(kind, address) for kind, _, address, _ in await service.post_room.rows()] == [
        ("verify", ADA["email"]),
        ("taken", EVE["email"]),
    ]


async def test_whoever_registers_while_signed_in_stays_who_they_are(started: Start) -> None:
    service = await started()
    eve = await service.verified(EVE)
    await service.sign_in(EVE)
    for _ in range(2):
        assert (await service.post("/api/auth/register", ADA))[0] == 202
        assert await service.user_id() == eve.id


async def test_a_new_account_signs_in_with_its_password_and_learns_that_it_must_verify(started: Start) -> None:
    service = await started()
    await service.post("/api/auth/register", ADA, status=202)
    assert await service.user_id() == 0
    assert (await service.post("/api/auth/login", ADA))[1]["verification"] == "required"
    assert (await service.get("/api/profile"))[1]["verification"] == "required"


@pytest.mark.parametrize(("mode", "told"), [("off", {}), ("optional", {"verification": "optional"})])
async def test_without_the_requirement_a_new_user_is_signed_in_and_a_taken_address_is_409(
    started: Start, mode: str, told: dict[str, str]
) -> None:
    service = await started(email_verification=mode)
    status, body = await service.post("/api/auth/register", ADA)
    user_id = await service.user_id()
    assert user_id
    user = {"id": user_id, "email": ADA["email"], "name": "Ada"}
    assert (status, body) == (201, {"user": user, "message": "registration successful", **told})
    assert problem(await service.post("/api/auth/register", ADA)) == (409, "conflict")
    assert ((await service.get("/api/profile"))[1].get("verification")) == told.get("verification")


@pytest.mark.parametrize("mode", ["closed", "invited"])
async def test_a_registration_that_is_not_allowed_is_403(started: Start, mode: str) -> None:
    service = await started(registration=mode)
    assert problem(await service.post("/api/auth/register", ADA)) == (403, "registration-closed")
    assert await service.accounts.users.list() == []


async def test_an_invitation_signs_the_new_user_in(started: Start) -> None:
    service = await started(registration="invited")
    outbox = service.post_room.outbox
    await outbox.write(lambda c: outbox.put(c, "invitation", address="Ada@example.com", details={"groups": ["staff"]}))
    token = await service.post_room.token("invitation")
    assert problem(await service.post("/api/auth/register", EVE | {"invitation": token})) == (400, "bad-input")
    assert problem(await service.post("/api/auth/register", ADA | {"invitation": "x" * 43})) == (400, "token-invalid")
    status, body = await service.post("/api/auth/register", ADA | {"invitation": token})
    assert (status, "verification" in body) == (201, False)
    assert (await service.get("/api/sessions"))[0] == 200, "the address counts as verified"
    assert problem(await service.post_as_stranger("/api/auth/register", EVE | {"invitation": token})) == (400, "token-invalid")


async def test_no_access_token_is_made_for_an_account_that_must_verify(started: Start) -> None:
    service = await started(jwt_keys=new_token_key())
    await service.post("/api/auth/register", ADA, status=202)
    assert problem(await service.post("/api/auth/token", ADA)) == (403, "verification-required")
    assert await service.user_id() == 0
    wrong = ADA | {"password": f"not {PASSWORD}"}
    assert problem(await service.post("/api/auth/token", wrong)) == (401, "invalid-credentials")
