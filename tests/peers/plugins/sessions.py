"""Gives sessions to every application that is served. No handler uses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

import stateroom
from stateroom import testing
from stateroom.request.housekeeping import Housekeeping

from .quick import check, freeze, freeze_what_is_left, served, without_blockbuster

SETTINGS = testing.settings()

_make_runner = web.AppRunner.__init__


def give_sessions(app: web.Application) -> None:
    """`stateroom.setup`, as if the application had called it before everything else."""
    if app.frozen or stateroom.SESSIONS in app:
        return
    lists: list[Any] = [app.middlewares, app.on_response_prepare, app.cleanup_ctx, app.on_startup]
    earlier = [list(each) for each in lists]
    for each in lists:
        each.clear()
    served.append(None)
    stateroom.setup(app, SETTINGS, client_factory=testing.fake_redis)
    for each, members in zip(lists, earlier, strict=True):
        each.extend(members)


def _with_sessions(self: web.AppRunner, app: web.Application, **options: Any) -> None:
    if isinstance(app, web.Application):
        give_sessions(app)
    _make_runner(self, app, **options)


async def _sweep_nothing(self: Housekeeping) -> None:
    """Nothing expires in these tests, and sweeps take most of fakeredis' time."""
    await asyncio.Event().wait()


async def _start_once() -> None:
    """fakeredis reads files when it is first used."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await runner.cleanup()


without_blockbuster()
Housekeeping.run = _sweep_nothing  # type: ignore[method-assign]
web.AppRunner.__init__ = _with_sessions  # type: ignore[method-assign]
asyncio.run(_start_once())
served.clear()


def pytest_collection_finish() -> None:
    freeze()


def pytest_runtest_logfinish() -> None:
    freeze_what_is_left()


def pytest_sessionfinish(session: pytest.Session) -> None:
    check(session)
