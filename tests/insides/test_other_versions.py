"""The whole service with versions whose insides we don't know: it says so, and everything works in the documented way."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..commands import SOURCES, Serving

PATIENCE_SECONDS = 20

# Python imports a module of this name when it starts, before anything of ours.
SITE = """
from importlib import metadata

installed = metadata.version
metadata.version = lambda name: "99.0" if name in {"aiohttp", "prometheus-client"} else installed(name)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    return f"{folder}:{SOURCES}"


@pytest.fixture
def one(tmp_path: Path, path: str) -> Iterator[Serving]:
    with Serving(tmp_path, PYTHONPATH=path) as service:
        yield service


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.02)  # another process offers nothing to await


def test_it_names_the_libraries(one: Serving) -> None:
    [line] = [json.loads(line) for line in one.output.splitlines() if "untested_versions" in line]
    assert line["level"] == "warning"
    assert line["libraries"] == ["aiohttp 99.0 (tested: 3.14)", "prometheus-client 99.0 (tested: 0.26)"]


def test_sessions_are_checked_and_counted(one: Serving) -> None:
    cookie = one.sign_in()
    for path in ("/api/auth/check", "/api/auth/check", "/api/profile"):
        status, _, _ = one.call("GET", path, cookie=cookie)
        assert status == 200
    assert one.metric('http_requests_total{code="200",method="GET",route="/api/auth/check"}') == 2
    assert one.metric('http_request_duration_seconds_count{method="GET",route="/api/auth/check"}') == 2
    assert one.metric('stateroom_redis_command_duration_seconds_count{command="HGETALL"}') == 3


def test_what_is_no_http_is_refused_in_our_words_and_not_repeated(one: Serving) -> None:
    with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE_SECONDS) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: s=c2VjcmV0\x01\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(4096), b""))  # it closes the connection
    assert b"400" in received.splitlines()[0]
    assert b"application/problem+json" in received
    assert "c2VjcmV0" not in received.decode() + one.output


def test_it_ends_in_order(one: Serving) -> None:
    assert one.stop() == 0
    assert "Traceback" not in one.output


def test_workers_are_counted_together_also_when_one_was_replaced(tmp_path: Path, path: str) -> None:
    with Serving(tmp_path, "--workers", "2", PYTHONPATH=path) as two:
        for _ in range(20):  # a connection each
            assert two.call("GET", "/api/auth/check")[0] == 200
        sample = 'http_requests_total{code="200",method="GET",route="/api/auth/check"}'
        until(lambda: two.metric(sample) == 20, "20 checks are counted")
        os.kill(two.workers[1], signal.SIGKILL)
        until(lambda: '"worker_restarted"' in two.output, "another worker has taken its place")
        until(lambda: two.metric("stateroom_workers") == 2, "the dead worker is not counted")
        assert two.metric(sample) == 20
        assert two.stop(signal.SIGTERM) == 0
