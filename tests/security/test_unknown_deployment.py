"""While neither store has told which deployment this is, no value of ours can be opened, and none is taken from anybody."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest import mock

import pytest

from stateroom.errors import DatabaseUnavailable
from stateroom.setup import PARTS

from ..servers import Servers
from .deployments import ADA, Deployment, Place, running

SIGN_IN = {"email": ADA["email"], "password": ADA["password"]}


@pytest.fixture
async def service(servers: Servers, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with running(servers, tmp_path / "own") as deployment:
        yield deployment


@contextlib.contextmanager
def unknown(service: Deployment) -> Iterator[None]:
    """As in a worker that has started while neither store answers."""
    parts = service.app[PARTS]
    fault = DatabaseUnavailable("for a test")
    with mock.patch.object(parts.deployment, "known_id", side_effect=fault):
        parts.key_ring.replace(parts.settings.key_ring)  # it has opened nothing
        yield


async def test_values_of_ours_are_503_and_stay_and_others_are_visitors(service: Deployment) -> None:
    ada = await service.register()
    _, _, cookie = await service.call("POST", "/api/auth/login", SIGN_IN)
    _, answer, _ = await service.call("POST", "/api/auth/login", SIGN_IN | {"transport": "bearer"})
    bearer = answer["session_token"]
    _, answer, _ = await service.call("POST", "/api/auth/token", SIGN_IN)
    token = answer["access_token"]
    assert cookie
    ours: tuple[tuple[str, Place], ...] = ((cookie, "cookie"), (bearer, "bearer"), (token, "bearer"))
    before = await service.stored()
    with unknown(service):
        for method, path in (("GET", "/api/auth/check"), ("GET", "/api/profile"), ("POST", "/api/auth/logout")):
            for value, place in ours:
                status, answer, set_cookie = await service.call(method, path, value=value, place=place)
                assert (status, set_cookie) == (503, None), (path, place, answer)
        for nothing in ("", "x", "A" * 300, "no/base64", "A" * 5000):
            assert await service.whom(nothing, "cookie") is None
            assert await service.whom(nothing, "bearer") is None
        status, _, set_cookie = await service.call("POST", "/api/auth/login", SIGN_IN)
        assert (status, set_cookie) == (503, None)
        assert await service.stored() == before, "a session whose value nobody could be given"
    for value, place in ours:
        assert await service.whom(value, place) == ada
