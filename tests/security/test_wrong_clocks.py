"""Rule 14 of the protocol on real processes: clocks that are wrong for seconds undo no sign-out.

libfaketime gives a process another wall clock. It reads the clock's difference from a file, so that the clock jumps while the
process runs. Monotonic clocks stay right, as on a real host.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stateroom.drills import topology
from stateroom.drills.node import Node, server_binary
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Serving
from ..conftest import require_tool

KEYS = new_key()
EMAIL, PASSWORD = "ada@example.com", "a-long-password-1815"
ANSWERS = 8
PATIENT = {"REDIS_READ_TIMEOUT": 5, "REDIS_DIAL_TIMEOUT": 5, "REDIS_WRITE_TIMEOUT": 5}
"""A machine that stands still is no outage."""
LIFETIME = 7200
AHEAD_SECONDS = 13 * 3600
LIFETIMES = {"SESSION_MAX_AGE": LIFETIME, "SESSION_ABSOLUTE_MAX_AGE": LIFETIME, "SESSION_REMEMBER_MAX_AGE": LIFETIME}
"""Shorter than the jumps, so that rows of the journal are due by a clock that is ahead."""


class SetClock:
    """A wall clock that can be set. `environment`: for the processes that go by it."""

    def __init__(self, folder: Path) -> None:
        require_tool("faketime")
        [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        self._file = folder / "clock"
        self.set(0)
        self.environment: dict[str, object] = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": 1,
            "DONT_FAKE_MONOTONIC": 1,
        }

    def set(self, seconds: int) -> None:
        """Set it so many seconds ahead of the right time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.replace(self._file)

    def server(self, folder: Path) -> str:
        """A program that runs the server by this clock."""
        path = folder / "server-by-a-clock"
        variables = " ".join(f"{name}={value}" for name, value in self.environment.items())
        path.write_text(f'#!/bin/sh\n{variables} exec {server_binary()} "$@"\n', encoding="utf-8")
        path.chmod(0o700)
        return str(path)


@pytest.fixture
def clock(tmp_path: Path) -> SetClock:
    return SetClock(tmp_path)


@contextlib.contextmanager
def two_workers(folder: Path, node: Node, **settings: Any) -> Iterator[Serving]:
    with Serving(
        folder, "--workers", "2", REDIS_URL=f"redis://{node.address}/0", COOKIE_KEYS=KEYS, **PATIENT, **LIFETIMES, **settings
    ) as service:
        yield service


def register(service: Serving) -> None:
    assert service.call("POST", "/api/auth/register", {"name": "Ada", "email": EMAIL, "password": PASSWORD})[0] == 201


def sign_in(service: Serving) -> str:
    return service.sign_in(EMAIL, PASSWORD)


def wait_for_both(service: Serving, event: str) -> None:
    service.wait_until(lambda: service.output.count(f'"{event}"') >= 2, f"both workers log {event}")


def is_signed_in(service: Serving, cookie: str) -> bool:
    """Whether a cookie signs in, on whichever worker. A slow machine may answer 503 for a while: then nothing is known."""
    found: list[bool] = []

    def ask() -> bool:
        status, answer, _ = service.call("GET", "/api/auth/check", cookie=cookie)
        if status != 503:
            found.append(answer["authenticated"])
        return len(found) == ANSWERS

    service.wait_until(ask, "every question has an answer")
    assert len(set(found)) == 1, found
    return found[0]


async def with_redis_by(clock: SetClock | None, folder: Path, story: Callable[[Node], None]) -> None:
    """Tell a story of a server. `clock`: the server's; None for the right one."""
    binary = None if clock is None else clock.server(folder)
    async with topology.single(folder / "node", binary=binary) as node:
        await asyncio.to_thread(story, node)


def sign_two_out(service: Serving) -> str:
    """The cookie of a session that ended. Another one ended later, because the journal's newest row is never pruned."""
    out, later = sign_in(service), sign_in(service)
    for cookie in (out, later):
        assert service.call("POST", "/api/auth/logout", cookie=cookie)[0] == 200
    return out


def test_redis_clock_is_ahead_for_seconds(tmp_path: Path, clock: SetClock) -> None:
    """Redis deletes what expires by its clock. Whoever has not signed out must sign in again, because his cookie proves nothing."""

    def story(node: Node) -> None:
        with two_workers(tmp_path, node) as service:
            register(service)
            stays, out = sign_in(service), sign_two_out(service)
            clock.set(AHEAD_SECONDS)
            wait_for_both(service, "clocks_differ")  # pruning was due
            clock.set(0)
            wait_for_both(service, "redis_time_went_back")
            for cookie in (out, stays):
                assert not is_signed_in(service, cookie)
            after = sign_in(service)
            assert is_signed_in(service, after)
        asyncio.run(node.call("FLUSHALL"))
        with two_workers(tmp_path, node) as service:  # nobody remembers, but for the journal
            assert is_signed_in(service, after)
            for cookie in (out, stays):
                assert not is_signed_in(service, cookie)

    asyncio.run(with_redis_by(clock, tmp_path, story))


def test_whoever_is_signed_in_for_longer_stays_signed_in(tmp_path: Path, clock: SetClock) -> None:
    """Redis' clock is ahead for less than sessions live."""

    def story(node: Node) -> None:
        with two_workers(tmp_path, node) as service:
            register(service)
            stays, out = sign_in(service), sign_two_out(service)
            clock.set(LIFETIME // 2)
            wait_for_both(service, "clocks_differ")
            assert is_signed_in(service, stays)
            clock.set(0)
            wait_for_both(service, "redis_time_went_back")
            assert is_signed_in(service, stays)
            assert not is_signed_in(service, out)

    asyncio.run(with_redis_by(clock, tmp_path, story))


@pytest.mark.parametrize("seconds", [AHEAD_SECONDS, -AHEAD_SECONDS])
def test_the_clock_of_the_service_and_its_database_is_wrong_for_seconds(tmp_path: Path, clock: SetClock, seconds: int) -> None:
    """SQLite has the worker's clock. Sessions go by Redis' clock, so nobody is signed out."""

    def story(node: Node) -> None:
        with two_workers(tmp_path, node, **clock.environment) as service:
            register(service)
            stays, out = sign_in(service), sign_two_out(service)
            clock.set(seconds)
            wait_for_both(service, "clocks_differ")
            assert is_signed_in(service, stays)
            assert not is_signed_in(service, out)
            clock.set(0)
            asyncio.run(node.call("FLUSHALL"))
            service.wait_until(lambda: is_signed_in(service, stays), "the session is stored again")
            assert not is_signed_in(service, out)

    asyncio.run(with_redis_by(None, tmp_path, story))
