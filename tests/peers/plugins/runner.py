"""Serves every application by Stateroom's `Runner`. Applications have metrics, which it counts with, and no sessions."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import test_utils, web

import stateroom
from stateroom.serving.runner import Runner
from stateroom.telemetry.metrics import Metrics

from .quick import check, freeze, freeze_what_is_left, served, without_blockbuster


async def _make_runner(self: test_utils.TestServer, **options: Any) -> web.BaseRunner:
    if stateroom.METRICS not in self.app:
        self.app[stateroom.METRICS] = Metrics(stateroom.__version__)
    served.append(None)
    return Runner(self.app, {}, **options)


without_blockbuster()
test_utils.TestServer._make_runner = _make_runner  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    freeze()


def pytest_runtest_logfinish() -> None:
    freeze_what_is_left()


def pytest_sessionfinish(session: pytest.Session) -> None:
    check(session)
