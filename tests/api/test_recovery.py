"""A forgotten password, over HTTP: asking for the mail, and setting a new one by its link."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS
from stateroom.drills import topology
from stateroom.drills.node import until

from ..servers import Servers
from .mailed import ADA, EVE, MAIL, NEW, PASSWORD, Mailed, problem, start

FORGOT, RESET = "/api/auth/password/forgot", "/api/auth/password/reset"


@pytest.fixture
async def service(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> Mailed:
    return await start(aiohttp_client, servers.service_settings(tmp_path, **MAIL))


async def forgotten(service: Mailed, email: str = ADA["email"]) -> str:
    assert (await service.post_as_stranger(FORGOT, {"email": email}))[0] == 202
    return await service.post_room.token("reset")


async def reset(service: Mailed, token: str, new: str = NEW) -> tuple[int, str]:
    return problem(await service.post_as_stranger(RESET, {"token": token, "new_password": new}))


async def test_the_response_and_the_row_are_the_same_for_everybody(service: Mailed) -> None:
    await service.verified()
    eve = await service.verified(EVE)
    await service.accounts.users.disable(eve.id)
    addresses = ["ada@example.com", "ADA@Example.com", "nobody@example.com", EVE["email"]]
    answers = [await service.post_as_stranger(FORGOT, {"email": each}) for each in addresses]
    assert answers == [(202, {"message": "if this address has an account, a mail is on its way"})] * 4
    assert await service.post_room.rows() == [("reset", None, each, "{}") for each in addresses]
    assert [letter.to for letter in await service.post_room.letters()] == ["ada@example.com"] * 2


async def test_a_reset_ends_every_session_and_signs_nobody_in(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    token = await forgotten(service)
    assert await reset(service, token) == (200, "")
    assert problem(await service.get("/api/profile")) == (401, "session-ended")
    assert problem(await service.post_as_stranger("/api/auth/login", ADA)) == (401, "invalid-credentials")
    await service.sign_in(ADA, password=NEW)
    assert await service.post_room.kinds() == ["password_set"]
    assert await reset(service, token, "a third horse battery") == (400, "token-invalid")


async def test_whoever_is_signed_in_to_the_account_is_signed_out(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    token = await forgotten(service)
    await service.post(RESET, {"token": token, "new_password": NEW}, status=200)
    assert await service.user_id() == 0
    assert [each for each in service.client.session.cookie_jar if each.key == "session_id"] == []


async def test_whoever_is_signed_in_to_another_account_stays_so(service: Mailed) -> None:
    await service.verified()
    eve = await service.verified(EVE)
    await service.sign_in(EVE)
    token = await forgotten(service)
    await service.post(RESET, {"token": token, "new_password": NEW}, status=200)
    assert await service.user_id() == eve.id
    await service.sign_in(ADA, password=NEW)


async def test_the_owner_of_an_address_takes_over_what_a_stranger_registered(service: Mailed) -> None:
    verify = await service.unverified()
    await service.post("/api/auth/email", {"email": EVE["email"], "password": PASSWORD}, status=202)
    change = await service.post_room.token("change")
    assert await reset(service, await forgotten(service)) == (200, "")
    assert problem(await service.get("/api/profile")) == (401, "session-ended")
    for token in (verify, change):
        for password in (PASSWORD, NEW):
            answer = await service.post_as_stranger("/api/auth/email/verify", {"token": token, "password": password})
            assert problem(answer) == (400, "token-invalid")
    await service.sign_in(ADA, password=NEW)
    _, profile = await service.get("/api/profile")
    assert (profile["user"]["email"], "verification" in profile) == (ADA["email"], False)


async def test_parallel_resets_set_one_password(service: Mailed) -> None:
    await service.verified()
    token = await forgotten(service)
    chosen = [f"battery number {number}" for number in range(4)]
    results = await asyncio.gather(*(reset(service, token, each) for each in chosen))
    assert sorted(results) == [(200, "")] + [(400, "token-invalid")] * 3
    await service.sign_in(ADA, password=chosen[results.index((200, ""))])


async def test_a_link_for_another_purpose_resets_nothing(service: Mailed) -> None:
    token = await service.unverified()
    assert await reset(service, token) == (400, "token-invalid")
    assert await reset(service, "x" * 43) == (400, "token-invalid")
    await service.post("/api/auth/email/verify", {"token": token}, status=200)


async def test_a_weak_password_names_the_field_and_leaves_the_link_valid(service: Mailed) -> None:
    await service.verified()
    token = await forgotten(service)
    answer = await service.post_as_stranger(RESET, {"token": token, "new_password": "short"})
    assert problem(answer) == (400, "bad-input")
    assert [each["field"] for each in answer[1]["errors"]] == ["new_password"]
    assert await reset(service, token) == (200, "")


async def test_after_the_password_changed_the_link_is_invalid(service: Mailed) -> None:
    await service.verified()
    await service.sign_in()
    token = await forgotten(service)
    await service.post("/api/auth/password", {"current_password": PASSWORD, "new_password": NEW}, status=200)
    assert await reset(service, token, "a third horse battery") == (400, "token-invalid")
    assert await service.user_id(), "the session that changed it goes on"


async def test_without_mail_forgot_is_404_and_names_the_setting(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    service = await start(aiohttp_client, servers.service_settings(tmp_path))
    answer = await service.post_as_stranger(FORGOT, {"email": ADA["email"]})
    assert problem(answer) == (404, "not-found")
    assert "MAIL_URL" in answer[1]["detail"]


async def test_all_of_it_works_and_is_limited_while_redis_is_unavailable(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    async with topology.single(tmp_path / "valkey") as node:
        own = {"redis_host": node.host, "redis_port": node.port, "mail_requests": 2, "redis_read_timeout": 0.5}
        service = await start(aiohttp_client, servers.service_settings(tmp_path, **(MAIL | own)))
        sessions = service.app[SESSIONS]
        await node.stop()

        async def is_away() -> bool:
            return sessions.store_state() == "away"

        await until(is_away, "the worker has noticed")
        verify = await service.unverified()
        await service.post("/api/auth/email/verify", {"token": verify}, status=200)
        await service.post("/api/auth/email", {"email": "new@example.com", "password": PASSWORD}, status=202)
        change = await service.post_room.token("change")
        await service.post("/api/auth/email/verify", {"token": change}, status=200)
        token = await forgotten(service, "new@example.com")
        assert await reset(service, token) == (200, "")
        assert (await service.post_as_stranger(FORGOT, {"email": "new@example.com"}))[0] == 202
        limited = await service.post_as_stranger(FORGOT, {"email": "new@example.com"})
        assert problem(limited) == (429, "too-many-attempts")
        await service.post_room.letters()
        assert await service.user_id() == 0
        await node.start()

        async def is_back() -> bool:
            return sessions.store_state() == "settled"

        await until(is_back, "the worker has noticed that Redis is back")
        assert await service.user_id() == 0
        assert await reset(service, token, "a third horse battery") == (400, "token-invalid")
        await service.sign_in(ADA, email="new@example.com", password=NEW)
        assert (await service.get("/api/sessions"))[0] == 200
