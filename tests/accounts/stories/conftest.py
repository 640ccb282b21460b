"""A fleet for each story, on each kind of user database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ...servers import Servers
from .fleet import Fleet, running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty user database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/users.db"
    url: str = request.getfixturevalue("postgres").make_database()
    return url


@pytest.fixture
async def fleet(servers: Servers, tmp_path: Path, database_url: str) -> AsyncIterator[Fleet]:
    """Two workers with `EMAIL_VERIFICATION=required`."""
    async with running(servers, tmp_path, database_url=database_url) as made:
        yield made
