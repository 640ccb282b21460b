"""A running service for the questions of proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from stateroom.accounts.access import ACCESS, Asked, Need, Ruling
from stateroom.accounts.access.model import Allow

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import running

RuleThat = Callable[..., list[Asked]]


@pytest.fixture
async def client(servers: Servers, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    settings = {"return_hosts": "app.example.com", "login_url": "https://login.example.com/login"}
    async with running(servers, tmp_path, **settings) as made:
        yield made


@pytest.fixture
def rule(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> RuleThat:
    """Let one rule decide all requests. Gives the list of what it was asked."""
    assert client.app is not None
    access = client.app[ACCESS]

    def that(*, need: Need | None = None, audience: str = "", **allow: object) -> list[Asked]:
        asked_for: list[Asked] = []

        def rule_for(asked: Asked) -> Ruling:
            asked_for.append(asked)
            return Ruling(Allow(**allow), audience or asked.origin, need or Need())  # type: ignore[arg-type]

        monkeypatch.setattr(access, "rule_for", rule_for)
        return asked_for

    return that
