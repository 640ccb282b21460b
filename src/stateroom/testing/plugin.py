"""Fixtures for pytest. Put `pytest_plugins = ["stateroom.testing.plugin"]` into conftest.py."""

from __future__ import annotations

import pytest

from ..settings import Settings
from . import settings


@pytest.fixture
def stateroom_settings() -> Settings:
    """Settings for `stateroom.setup(app, stateroom_settings, client_factory=stateroom.testing.fake_redis)`."""
    return settings()
