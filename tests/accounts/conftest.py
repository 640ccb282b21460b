"""Fixtures of the account domain, on both kinds of database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers
from .domain import MAIL, Domain, new_key

if TYPE_CHECKING:
    from stateroom.database import Database

MakeDomain = Callable[..., Domain]


@pytest.fixture
async def fake(servers: Servers) -> AsyncIterator[RedisClient]:
    client = make_client(servers.settings("fakeredis"), Servers.fake_redis, metrics=Metrics())
    await client.start()
    yield client
    await client.aclose()


@pytest.fixture
async def make_domain(servers: Servers, fake: RedisClient, database: Database) -> AsyncIterator[MakeDomain]:
    """Makes domains over one database, with one key and with mail, and closes them after the test."""
    made: list[Domain] = []
    key = new_key()

    def making(**values: Any) -> Domain:
        quick = {"bcrypt_rounds": 4, "password_blocklist": "off", "login_attempts_per_address": 10_000}
        settings = servers.settings("fakeredis", **(quick | MAIL | values))
        made.append(Domain(settings, database, fake, key))
        return made[-1]

    yield making
    for each in made:
        await each.accounts.aclose()


@pytest.fixture
def domain(make_domain: MakeDomain) -> Domain:
    """Mail is on, so addresses must be verified, and a registration tells nobody whether an address has an account."""
    return make_domain()
