"""Serves every application by Stateroom's `Runner`. Applications have metrics, which it counts with, and no sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import test_utils, web

import stateroom
from stateroom.serving.runner import Runner
from stateroom.telemetry.metrics import Metrics

from .quick import freeze, without_blockbuster


async def _make_runner(self: test_utils.TestServer, **options: Any) -> web.BaseRunner:
    if stateroom.METRICS not in self.app:
        self.app[stateroom.METRICS] = Metrics(stateroom.__version__)
    return Runner(self.app, {}, **options)


without_blockbuster()
test_utils.TestServer._make_runner = _make_runner  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    freeze()
