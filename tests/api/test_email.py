"""Verifying and changing an address, over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS
from stateroom.sessions.sealing.token_keys import new_token_key

from ..servers import Servers
from .mailed import ADA, EVE, MAIL, NEW, PASSWORD, Mailed, problem, start

VERIFY, AGAIN, CHANGE = "/api/auth/email/verify", "/api/auth/email/verification", "/api/auth/email"


@pytest.fixture
async def service(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> Mailed:
    return await start(aiohttp_client, servers.service_settings(tmp_path, **MAIL))


async def change(service: Mailed, email: str = "new@example.com") -> str:
    """Ask for a change, and return the token that was mailed to the new address."""
    await service.post(CHANGE, {"email": email, "password": PASSWORD}, status=202)
    return await service.post_room.token("change")


async def address(service: Mailed) -> str:
    return str((await service.get("/api/profile"))[1]["user"]["email"])


async def test_the_session_of_the_account_verifies(service: Mailed) -> None:
    token = await service.unverified()
    status, body = await service.post(VERIFY, {"token": token})
    user = {"id": await service.user_id(), "email": ADA["email"], "name": "Ada"}
    assert (status, body) == (200, {"user": user, "message": "email verified"})
    assert problem(await service.post(VERIFY, {"token": token})) == (400, "token-invalid")


async def test_a_stranger_needs_the_password_and_is_not_signed_in_by_it(service: Mailed) -> None:
    token = await service.unverified()
    assert problem(await service.post_as_stranger(VERIFY, {"token": token})) == (401, "sign-in-required")
    wrong = {"token": token, "password": "a guess"}
    assert problem(await service.post_as_stranger(VERIFY, wrong)) == (401, "invalid-credentials")
    assert (await service.post_as_stranger(VERIFY, {"token": token, "password": PASSWORD}))[0] == 200


async def test_the_session_of_another_account_verifies_nothing(service: Mailed) -> None:
    token = await service.unverified()
    await service.verified(EVE)
    await service.sign_in(EVE)
    assert problem(await service.post(VERIFY, {"token": token})) == (400, "token-invalid")
    await service.sign_in()
    assert "verification" in (await service.get("/api/profile"))[1]
    await service.post(VERIFY, {"token": token}, status=200)


async def test_a_get_changes_nothing(service: Mailed) -> None:
    """Mail scanners open links, also in a browser that is signed in."""
    token = await service.unverified()
    for path in (VERIFY, "/verify", CHANGE):
        async with service.client.get(path, params={"token": token}):
            pass
    assert "verification" in (await service.get("/api/profile"))[1]
    await service.post(VERIFY, {"token": token}, status=200)


async def test_parallel_requests_use_a_link_once(service: Mailed) -> None:
    token = await service.unverified()
    answers = await asyncio.gather(*(service.post(VERIFY, {"token": token}) for _ in range(5)))
    assert sorted(problem(each) for each in answers) == [(200, "")] + [(400, "token-invalid")] * 4


async def test_the_mail_is_sent_again_with_a_new_link(service: Mailed) -> None:
    first = await service.unverified()
    await service.post(AGAIN, status=202)
    second = await service.post_room.token("verify")
    assert first != second
    await service.post(VERIFY, {"token": second}, status=200)
    assert await service.post(AGAIN) == (202, {"message": "mail sent"}), "the same, and no mail"
    assert await service.post_room.kinds() == []
    assert problem(await service.post_as_stranger(AGAIN)) == (401, "sign-in-required")


async def test_the_address_changes_when_the_link_is_confirmed_and_not_before(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    assert problem(await service.post(CHANGE, {"email": "new@example.com", "password": "a guess"})) == (401, "invalid-credentials")
    token = await change(service, "New@example.com")
    assert await address(service) == ADA["email"]
    await service.post(VERIFY, {"token": token}, status=200)
    assert await address(service) == "new@example.com"
    assert await service.post_room.kinds() == ["changed"]
    assert problem(await service.post_as_stranger("/api/auth/login", ADA)) == (401, "invalid-credentials")
    await service.sign_in(ADA, email="NEW@example.com")


async def test_an_address_that_is_taken_is_a_conflict_before_and_after_the_mail(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    token = await change(service, EVE["email"])
    await service.verified(EVE)
    assert problem(await service.post(VERIFY, {"token": token})) == (409, "conflict")
    assert problem(await service.post(CHANGE, {"email": EVE["email"], "password": PASSWORD})) == (409, "conflict")
    assert await address(service) == ADA["email"]


@pytest.mark.parametrize("end", ["password", "others", "everybody", "disabled"])
async def test_what_ends_the_users_sessions_makes_the_link_invalid(service: Mailed, end: str) -> None:
    user = await service.verified()
    await service.sign_in()
    token = await change(service)
    match end:
        case "password":
            await service.post("/api/auth/password", {"current_password": PASSWORD, "new_password": NEW}, status=200)
        case "others":
            async with service.client.delete("/api/sessions") as response:
                assert response.status == 200
        case "everybody":
            await service.app[SESSIONS].end_everybody()
        case "disabled":
            users = service.accounts.users
            await service.app[SESSIONS].revoke_all(
                user.id, in_transaction=lambda connection: users.disable(user.id, within=connection)
            )
    password = NEW if end == "password" else PASSWORD
    answer = await service.post_as_stranger(VERIFY, {"token": token, "password": password})
    assert problem(answer) == (400, "token-invalid")
    assert (await service.accounts.users.by_id(user.id)).email == ADA["email"]


async def test_signing_out_leaves_the_link_valid(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    token = await change(service)
    await service.post("/api/auth/logout", status=200)
    assert (await service.post_as_stranger(VERIFY, {"token": token, "password": PASSWORD}))[0] == 200


async def test_an_access_token_asks_for_no_change_and_confirms_none(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    service = await start(aiohttp_client, servers.service_settings(tmp_path, **MAIL, jwt_keys=new_token_key()))
    await service.verified()
    await service.sign_in()
    token = await change(service)
    _, body = await service.post("/api/auth/token", ADA, status=200)
    service.client.session.cookie_jar.clear()
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    asked = {"email": "new@example.com", "password": PASSWORD}
    for path, sent in ((CHANGE, asked), (AGAIN, None), (VERIFY, {"token": token, "password": PASSWORD})):
        assert problem(await service.post(path, sent, headers=headers)) == (403, "not-by-access-token")
    assert await service.post_room.rows() == []


async def test_the_mails_of_an_account_are_limited(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    service = await start(aiohttp_client, servers.service_settings(tmp_path, **MAIL, mail_requests=2))
    await service.verified()
    await service.sign_in()
    asked = {"email": "new@example.com", "password": PASSWORD}
    await service.post(CHANGE, asked, status=202)
    await service.post(AGAIN, status=202)
    for path, body in ((CHANGE, asked), (AGAIN, None), ("/api/auth/password/forgot", {"email": ADA["email"]})):
        async with service.client.post(path, json=body) as response:
            assert response.status == 429
            assert 0 < int(response.headers["Retry-After"]) <= 3600


@pytest.mark.parametrize(("path", "body"), [(AGAIN, None), (CHANGE, {"email": "new@example.com", "password": PASSWORD})])
async def test_without_mail_the_calls_are_404_and_name_the_setting(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, path: str, body: object
) -> None:
    service = await start(aiohttp_client, servers.service_settings(tmp_path))
    await service.verified()
    await service.sign_in()
    answer = await service.post(path, body)
    assert problem(answer) == (404, "not-found")
    assert "MAIL_URL" in answer[1]["detail"]
