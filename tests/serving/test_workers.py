"""`stateroom serve --workers N`: one port, one `/metrics`, and a worker that dies stops no other worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.ports import free_port
from stateroom.errors import SettingsError
from stateroom.serving import supervisor
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key
from stateroom.settings import Settings

from ..commands import Command, Serving, environment
from ..processes import open_files

PATIENCE_SECONDS = 20


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, "--workers", "2") as service:
        yield service


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.02)  # There is no event for another process.


def ended(service: Serving) -> list[str]:
    """The log lines about workers that ended."""
    return [event for event in service.output.splitlines() if '"worker_died"' in event]


def test_one_scrape_answers_for_all_workers(two: Serving) -> None:
    for _ in range(40):  # One connection each.
        assert two.call("GET", "/api/auth/check")[0] == 200
    sample = 'http_requests_total{code="200",method="GET",route="/api/auth/check"}'
    until(lambda: two.metric(sample) == 40, "40 checks are counted")
    assert {two.metric("stateroom_workers") for _ in range(10)} == {2}
    assert two.metric("stateroom_redis_pool_connections_max") == 40
    assert two.metric("stateroom_redis_up") == 1
    until(lambda: two.metric('stateroom_store_state{state="settled"}') == 1, "both have applied the journal")
    assert two.metric("stateroom_worker_restarts_total") == 0
    checks = two.metric('http_request_duration_seconds_count{method="GET",route="/api/auth/check"}')
    assert checks == 40


def test_both_workers_serve_and_share_users_and_sessions(two: Serving) -> None:
    cookie = two.sign_in()
    before = {number: sockets_of(pid) for number, pid in two.workers.items()}
    with contextlib.ExitStack() as open_sockets:
        for _ in range(40):
            sock = open_sockets.enter_context(socket.create_connection(("127.0.0.1", two.port), timeout=20))
            sock.sendall(f"GET /api/profile HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
            assert sock.recv(10_000).startswith(b"HTTP/1.1 200")
        held = {number: sockets_of(pid) - before[number] for number, pid in two.workers.items()}
    assert min(held.values()) > 5, f"the kernel shares connections out: {held}"


def sockets_of(pid: int) -> int:
    return sum(name.startswith("socket:") for name in open_files(pid))


async def test_a_worker_that_is_killed_costs_no_more_than_its_connections(tmp_path: Path) -> None:
    with Serving(tmp_path, "--workers", "2") as service:
        cookie = service.sign_in()
        victim = service.workers[1]
        outcomes: Counter[str] = Counter()
        totals: list[float] = []
        stop = asyncio.Event()

        async def client() -> None:
            async with aiohttp.ClientSession(headers={"Cookie": cookie}) as http:
                while not stop.is_set():
                    try:
                        async with http.get(f"http://127.0.0.1:{service.port}/api/auth/check") as response:
                            body = await response.json()
                            outcomes["good" if response.status == 200 and body["authenticated"] else "wrong"] += 1
                    except aiohttp.ClientError:
                        outcomes["broken off"] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(client())
            async with watching(service, totals):
                await asyncio.sleep(1)
                os.kill(victim, signal.SIGKILL)
                await asyncio.to_thread(service.wait_for, '"worker_restarted"')
                await asyncio.sleep(1)
            stop.set()
        assert outcomes["wrong"] == 0
        assert outcomes["broken off"] <= 16  # Each client has one connection.
        assert outcomes["good"] > 1000
        assert totals == sorted(totals)
        assert totals[-1] > totals[0]
        assert service.workers[1] != victim
        assert service.metric("stateroom_workers") == 2
        assert service.metric("stateroom_worker_restarts_total") == 1
        assert service.metric("stateroom_redis_pool_connections_max") == 40
        assert service.stop() == 0


@contextlib.asynccontextmanager
async def watching(service: Serving, totals: list[float]) -> AsyncIterator[None]:
    """Scrape all the time."""
    stop = asyncio.Event()

    async def scrape() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):  # The scrape that the dying worker was answering.
                total = await asyncio.to_thread(service.metric, 'stateroom_session_loads_total{result="hit"}')
                totals.append(total or 0.0)

    task = asyncio.create_task(scrape())
    try:
        yield
    finally:
        stop.set()
        await task


def test_gauges_of_a_dead_worker_go_with_it(two: Serving) -> None:
    os.kill(two.workers[0], signal.SIGSTOP)  # So its successor cannot be mistaken for it.
    os.kill(two.workers[0], signal.SIGKILL)
    two.wait_for('"worker_restarted"')
    assert two.metric("stateroom_workers") == 2
    assert two.metric("stateroom_redis_pool_connections_max") == 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_end_before_the_workers_do(two: Serving, number: signal.Signals) -> None:
    with two.sign_in_under_way() as finish:
        two.signal(number)
        until(lambda: two.output.count('"draining"') == 2, "both workers drain")
        assert finish().startswith(b"HTTP/1.1 200")
    assert two.wait() == 0
    assert "Traceback" not in two.output


def test_workers_end_when_their_supervisor_is_gone(tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "tmp"
    folder.mkdir()
    with Serving(tmp_path, "--workers", "2", PORT=port, TMPDIR=folder) as service:
        pids = list(service.workers.values())
        assert [path.name[:10] for path in folder.iterdir()] == ["stateroom-"]
        service.stop(signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers end")
        assert list(folder.iterdir()) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_cookie_keys_are_rotated_without_a_restart(tmp_path: Path, arguments: list[str]) -> None:
    file, old, new = tmp_path / "keys", new_key(), new_key()
    count = 2 if arguments else 1
    file.write_text(old)
    with Serving(tmp_path, *arguments, COOKIE_KEYS_FILE=file) as service:

        def read(text: str, said: str) -> None:
            before = service.output.count(said)
            file.write_text(text)
            service.signal(signal.SIGHUP)
            until(lambda: service.output.count(said) >= before + count, f"every process says {said}")

        def who(cookie: str) -> set[bool]:
            """The workers' answers. Each connection may reach another worker."""
            return {service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"] for _ in range(10)}

        by_old = service.sign_in()
        read(f"{new},{old}", '"settings_files_read"')
        by_new = service.sign_in()
        assert who(by_old) == who(by_new) == {True}
        read(new, '"settings_files_read"')
        assert who(by_old) == {False}
        assert who(by_new) == {True}
        read("no-key", '"settings_files_kept"')
        assert who(by_new) == {True}
        assert new not in service.output
        assert service.stop() == 0


def test_token_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    """The new key is published, then it signs, then the old one is gone; a wrong one changes nothing."""
    file, old, new = tmp_path / "token-keys", new_token_key(), new_token_key()
    file.write_text(old)
    with Serving(tmp_path, JWT_KEYS_FILE=file) as service:

        def published() -> list[str]:
            return [key["kid"] for key in service.call("GET", "/.well-known/jwks.json")[1]["keys"]]

        def read(text: str, said: str) -> None:
            before = service.output.count(said)
            file.write_text(text)
            service.signal(signal.SIGHUP)
            until(lambda: service.output.count(said) == before + 1, f"it says {said}")

        [first] = published()
        read(f"{old},{new}", '"settings_files_read"')
        _, second = published()
        read(f"{new},{old}", '"settings_files_read"')
        assert published() == [second, first]
        read(new, '"settings_files_read"')
        assert published() == [second]
        read("no-key", '"settings_files_kept"')
        assert published() == [second]
        assert new not in service.output
        assert service.stop() == 0


def test_a_worker_that_cannot_start_is_tried_ever_more_slowly(tmp_path: Path) -> None:
    file, key = tmp_path / "keys", new_key()
    file.write_text(key)
    with Serving(tmp_path, "--workers", "2", COOKIE_KEYS_FILE=file) as service:
        cookie = service.sign_in()
        file.write_text("no-key")
        os.kill(service.workers[1], signal.SIGKILL)
        until(lambda: len(ended(service)) == 3, "it died, and twice could not start")
        assert [json.loads(line)["restart_in_seconds"] for line in ended(service)] == [0.0, 0.5, 2.0]
        assert service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"]
        # It died before it had read its settings, so it could not count itself.
        assert service.metric("stateroom_worker_restarts_total") == 2
        assert (service.metric("stateroom_workers"), service.metric("stateroom_workers_wanted")) == (1, 2)
        file.write_text(key)
        service.wait_for('"worker_restarted"')
        assert set(service.workers) == {0, 1}
        assert service.metric("stateroom_worker_restarts_total") == 3
        assert (service.metric("stateroom_workers"), service.metric("stateroom_workers_wanted")) == (2, 2)
        assert service.stop() == 0


def test_a_hangup_finds_a_worker_that_starts_and_is_heard_when_it_has(two: Serving) -> None:
    os.kill(two.workers[1], signal.SIGKILL)
    until(lambda: ended(two), "the end is noticed")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while '"worker_restarted"' not in two.output and time.monotonic() < deadline:
        two.signal(signal.SIGHUP)
        time.sleep(0.01)
    assert len(ended(two)) == 1
    assert set(two.workers) == {0, 1}
    assert two.output.count('"settings_files_read"') > 1


def test_several_workers_need_a_server_to_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "find_server", lambda: None)
    with pytest.raises(SettingsError, match=r"--workers: .* pip install"):
        supervisor.run(Settings(_env_file=None, state_dir=tmp_path), 2)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"PASSWORD_BLOCKLIST": "/no/such/file"}, "PASSWORD_BLOCKLIST"), ({"DATABASE_URL": "sqlite:////proc/no/db"}, "DATABASE_URL")],
)
def test_settings_that_only_a_worker_finds_wrong_are_one_line(command: Command, settings: dict[str, object], named: str) -> None:
    result = command("serve", "--workers", "3", **settings)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("stateroom: ")
    assert named in line


def test_a_port_that_another_has_is_not_shared(tmp_path: Path, two: Serving, command: Command) -> None:
    other = tmp_path / "other"
    for arguments in ([], ["--workers", "2"]):
        result = command("serve", *arguments, PORT=two.port, STATE_DIR=other)
        assert result.returncode == 2
        [line] = result.stderr.splitlines()
        assert "PORT" in line
    assert two.call("GET", "/livez")[0] == 200


def test_metrics_have_a_listener_of_their_own_where_it_is_set(tmp_path: Path) -> None:
    port = free_port()
    with Serving(tmp_path, "--workers", "2", METRICS_HOST="127.0.0.1", METRICS_PORT=port) as service:
        assert service.call("GET", "/metrics")[0] == 404
        for _ in range(6):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
                sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))  # type: ignore[misc]
            assert b"\nstateroom_workers 2.0\n" in answer


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_closing_the_terminal_stops_it(tmp_path: Path, arguments: list[str]) -> None:
    ours, theirs = pty.openpty()
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, os.ttyname(theirs), *arguments],
        env=environment(tmp_path, {}), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: "listens on" in (tmp_path / "log").read_text(), "it listens")
        os.close(theirs)
        os.close(ours)  # The terminal is closed, so its processes get SIGHUP.
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()


ON_TERMINAL = """
import os, sys
os.open(sys.argv[1], os.O_RDWR)  # the first terminal that a session's leader opens is the session's
os.execv(sys.executable, [sys.executable, "-m", "stateroom", "serve", *sys.argv[2:]])
"""
