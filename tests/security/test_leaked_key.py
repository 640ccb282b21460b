"""A cookie key has leaked: what somebody can do with it, and the steps of docs/security.md, "A key has leaked"."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom import SESSIONS, testing
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.sealing.key_ring import KeyRing, new_key
from stateroom.settings import decode_cookie_key
from stateroom.setup import PARTS

from ..patience import wait_until
from ..servers import Servers
from .conftest import MakeDatabase, MakeStore
from .deployments import ADA, KEYS, NAME, running
from .deployments import Deployment as InProcess
from .hosts import Host
from .user_databases import UserDatabase

TEN_YEARS_MS = 10 * 365 * 24 * 3_600_000
LEAKED, FRESH = KEYS["cookie_keys"], new_key()
REMEMBERED_SECONDS = 2_592_000


@pytest.fixture
async def service(servers: Servers, tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running(servers, tmp_path / "own", jwt_keys="") as deployment:
        yield deployment


def forge(service: InProcess, user_id: int, *, begins_in_ms: int = 0) -> str:
    """A cookie of ten years for a user, by somebody who has the key and knows the deployment."""
    made = service.app[SESSIONS].clock.now_ms() + begins_in_ms
    return _forge(service.app[PARTS].deployment, user_id, made=made, issued_at=made - begins_in_ms)


def _forge(deployment: Deployment, user_id: int, *, made: int, issued_at: int | None = None) -> str:
    ring = KeyRing([decode_cookie_key(LEAKED)], NAME, deployment, Lifetimes(TEN_YEARS_MS, TEN_YEARS_MS, TEN_YEARS_MS))
    return ring.seal(
        secrets.token_bytes(32), user_id=user_id, generation=0, auth_time=made, created_ms=made, deadline=made + TEN_YEARS_MS,
        idle_ms=TEN_YEARS_MS, issued_at=made if issued_at is None else issued_at, is_persistent=True,
    )  # fmt: skip


async def test_a_forged_cookie_lives_no_longer_than_the_settings_allow(service: InProcess) -> None:
    ada = await service.register()
    cookies = [forge(service, ada, begins_in_ms=each) for each in (0, TEN_YEARS_MS // 2)]
    for forged in cookies:
        _, answer, _ = await service.call("GET", "/api/auth/check", value=forged)
        assert answer["user_id"] == ada
        assert answer["expires_in"] <= REMEMBERED_SECONDS + 10
    testing.clock(service.app).move(days=31)
    for forged in cookies:
        assert await service.whom(forged, "cookie") is None


def forged_elsewhere(database: UserDatabase, user_id: int) -> str:
    """A cookie of ten years, by somebody who has nothing but the key and the deployment's id."""
    deployment = Deployment()
    [deployment.id] = database.ask("SELECT id FROM fleet")
    return f"{NAME}={_forge(deployment, user_id, made=time.time_ns() // 1_000_000)}"


def test_the_steps_of_the_page(make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path) -> None:
    store, database, keys = make_store(), make_database(), tmp_path / "keys"
    keys.write_text(LEAKED)
    host = Host(tmp_path / "host", store.node, database, COOKIE_KEYS_FILE=keys, SESSION_RENEW_INTERVAL="200ms")
    with host.serve() as service:

        def replace(*now: str) -> None:
            before = service.output.count("settings_files_read")
            keys.write_text("\n".join(now))
            wait_until(lambda: service.output.count("settings_files_read") > before, "the keys are read")

        ada, _ = service.register()
        forged = forged_elsewhere(database, ada)
        assert service.whom(forged) == ada
        # Rotation, as for a key that has not leaked: the forged cookie goes on, and is sealed under the new key.
        replace(FRESH, LEAKED)
        given: list[str] = []

        def is_resealed() -> str:
            given.append(service.call("GET", "/api/auth/check", cookie=forged)[2])
            return given[-1]

        wait_until(is_resealed, "the cookie is renewed")
        resealed = given[-1]
        # Step 1, replace the key: the forged cookie no longer opens. What was sealed meanwhile does.
        replace(FRESH)
        assert service.whom(forged) == "nobody"
        assert service.whom(resealed) == ada
        # Step 2, end every session.
        done = host.run("sessions", "revoke", "--all", "--yes")
        assert done.returncode == 0, done.stderr
        assert service.whom(resealed) == "everybody"
        for value in (forged, forged_elsewhere(database, ada)):
            assert service.whom(value) == "nobody"
        wait_until(lambda: store.sessions() == set(), "every session is deleted")
        store.stop()
        for value in (forged, forged_elsewhere(database, ada)):
            assert service.whom(value) == "nobody"
        assert service.whom(resealed) == "everybody"
        store.start()
        service.settle()
        assert service.whom(service.sign_in(ADA["email"], ADA["password"])) == ada


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
