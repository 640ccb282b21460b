"""A browser signs out with the id that its session had before a rotation. The session ends, whatever its id is now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar

from stateroom import SESSIONS

from ..conftest import ServiceClient

PASSWORD = "correct horse"
ADA = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
ROTATIONS = {
    "re-authentication": ("POST", "/api/auth/reauthenticate", {"password": PASSWORD}),
    "new password": ("POST", "/api/auth/password", {"current_password": PASSWORD, "new_password": PASSWORD}),
    "the others signed out": ("DELETE", "/api/sessions", None),
}


async def call(client: ServiceClient, method: str, path: str, body: Any, cookie: str) -> tuple[int, Any, str]:
    """The status, the body, and the cookie that the answer sets."""
    async with (
        ClientSession(cookie_jar=DummyCookieJar()) as session,
        session.request(method, client.make_url(path), json=body, headers={"Cookie": f"session_id={cookie}"}) as response,
    ):
        given = response.cookies.get("session_id")
        return response.status, await response.json(content_type=None), given.value if given is not None else ""


async def is_signed_in(client: ServiceClient, cookie: str) -> bool:
    return bool((await call(client, "GET", "/api/auth/check", None, cookie))[1]["authenticated"])


@pytest.fixture
async def before(service: ServiceClient) -> str:
    """The cookie of a sign-in."""
    return (await call(service, "POST", "/api/auth/register", ADA, ""))[2]


async def rows(service: ServiceClient) -> int:
    """How many rows the journal has."""
    return len((await service.app[SESSIONS]._parts.journal.read(0, (), 1000)).rows)


@pytest.mark.parametrize("rotation", ROTATIONS)
async def test_the_new_id_is_signed_out_too(service: ServiceClient, before: str, rotation: str) -> None:
    status, _, after = await call(service, *ROTATIONS[rotation], before)
    assert status == 200
    assert await is_signed_in(service, after)
    assert (await call(service, "POST", "/api/auth/logout", None, before))[0] == 200
    assert not await is_signed_in(service, after)
    assert not await is_signed_in(service, before)


async def test_sign_outs_again_and_again_write_no_more_rows(service: ServiceClient, before: str) -> None:
    await call(service, *ROTATIONS["re-authentication"], before)
    for _ in range(2):
        await call(service, "POST", "/api/auth/logout", None, before)
    count = await rows(service)
    for _ in range(5):
        assert (await call(service, "POST", "/api/auth/logout", None, before))[0] == 200
    assert await rows(service) == count


async def test_a_sign_out_that_overtakes_the_answer_with_the_new_id_holds(service: ServiceClient, before: str) -> None:
    """Both answers are 200, in whatever order the two were done: the cookie that came last opens nothing."""
    for _ in range(10):
        (rotated, _, after), (out, _, _) = await asyncio.gather(
            call(service, *ROTATIONS["re-authentication"], before), call(service, "POST", "/api/auth/logout", None, before)
        )
        assert out == 200
        assert rotated in {200, 401}
        assert not after or not await is_signed_in(service, after)
        assert not await is_signed_in(service, before)
        before = (await call(service, "POST", "/api/auth/login", ADA, ""))[2]
