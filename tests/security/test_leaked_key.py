"""A cookie key has leaked: what somebody can do with it, and the steps of docs/security.md, "A key has leaked"."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom import SESSIONS, testing
from stateroom.drills.node import until
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.sealing.key_ring import KeyRing, new_key
from stateroom.settings import decode_cookie_key
from stateroom.setup import PARTS

from ..servers import Servers
from .deployments import ADA, KEYS, NAME, Deployment, running

TEN_YEARS_MS = 10 * 365 * 24 * 3_600_000
LEAKED, FRESH = KEYS["cookie_keys"], new_key()
REMEMBERED_SECONDS = 2_592_000


@pytest.fixture
async def service(servers: Servers, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with running(servers, tmp_path / "own", jwt_keys="") as deployment:
        yield deployment


def forge(service: Deployment, user_id: int, *, begins_in_ms: int = 0) -> str:
    """A cookie of ten years for a user, by somebody who has the key and knows the deployment."""
    now = service.app[SESSIONS].clock.now_ms()
    ring = KeyRing(
        [decode_cookie_key(LEAKED)], NAME, service.app[PARTS].deployment, Lifetimes(TEN_YEARS_MS, TEN_YEARS_MS, TEN_YEARS_MS)
    )
    made = now + begins_in_ms
    return ring.seal(
        secrets.token_bytes(32), user_id=user_id, generation=0, auth_time=made, created_ms=made, deadline=made + TEN_YEARS_MS,
        idle_ms=TEN_YEARS_MS, issued_at=now, is_persistent=True,
    )  # fmt: skip


async def test_a_forged_cookie_lives_no_longer_than_the_settings_allow(service: Deployment) -> None:
    ada = await service.register()
    cookies = [forge(service, ada, begins_in_ms=each) for each in (0, TEN_YEARS_MS // 2)]
    for forged in cookies:
        _, answer, _ = await service.call("GET", "/api/auth/check", value=forged)
        assert answer["user_id"] == ada
        assert answer["expires_in"] <= REMEMBERED_SECONDS + 10
    testing.clock(service.app).move(days=31)
    for forged in cookies:
        assert await service.whom(forged, "cookie") is None


async def test_the_steps_of_the_page(service: Deployment) -> None:
    ada = await service.register()
    manager = service.app[SESSIONS]
    forged = forge(service, ada)
    assert await service.whom(forged, "cookie") == ada
    # Rotation, as for a key that has not leaked: the forged cookie goes on, and is sealed under the new key.
    manager.replace_keys([decode_cookie_key(FRESH), decode_cookie_key(LEAKED)])
    testing.clock(service.app).move(minutes=2)
    _, _, resealed = await service.call("GET", "/api/auth/check", value=forged)
    assert resealed
    # Step 1, replace the key: the forged cookie no longer opens. What was sealed meanwhile does.
    manager.replace_keys([decode_cookie_key(FRESH)])
    assert await service.whom(forged, "cookie") is None
    assert await service.whom(resealed, "cookie") == ada
    # Step 2, end every session.
    assert await manager.end_everybody()
    for value in (forged, resealed, forge(service, ada)):
        assert await service.whom(value, "cookie") is None

    async def is_deleted() -> bool:
        return await manager.list(ada) == []

    await until(is_deleted, "the replay has deleted every session")
    with testing.redis_down(service.app):
        assert await service.whom(forge(service, ada), "cookie") is None
    status, _, own = await service.call("POST", "/api/auth/login", {"email": ADA["email"], "password": ADA["password"]})
    assert status == 200
    assert await service.whom(own or "", "cookie") == ada


async def test_shorter_lifetimes_hold_for_the_sessions_that_are_there(servers: Servers, tmp_path: Path) -> None:
    """The stored session's own deadline is later. The cap counts from its creation."""
    async with running(servers, tmp_path / "own") as service:
        await service.register()
        _, _, value = await service.call("POST", "/api/auth/login", {"email": ADA["email"], "password": ADA["password"]})
        assert value
        own = service.app[PARTS]
        longer = own.loader._lifetimes
        shorter = longer._replace(absolute_ms=600_000)
        own.loader._lifetimes = own.key_ring._lifetimes = shorter
        own.key_ring.replace(own.settings.key_ring)
        own.loader._sightings._by_session.clear()
        _, answer, _ = await service.call("GET", "/api/auth/check", value=value)
        assert 590 <= answer["expires_in"] <= 600
        testing.clock(service.app).move(minutes=5)
        _, answer, renewed = await service.call("GET", "/api/auth/check", value=value)
        assert answer["expires_in"] <= 300
        assert renewed, "it is renewed, and its deadline stays"
        testing.clock(service.app).move(minutes=6)
        for each in (value, renewed):
            _, answer, _ = await service.call("GET", "/api/auth/check", value=each)
            assert (answer["authenticated"], answer["ended"]) == (False, "expired")
