"""`stateroom serve`, from its locks at startup to its drain on SIGTERM."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from stateroom.drills.ports import free_port

from ..commands import Command, Serving


def test_a_newcomer_is_told_where_to_go_and_state_outlives_the_process(tmp_path: Path) -> None:
    with Serving(tmp_path) as service:
        assert "demo@example.com / password123" in service.output
        assert str(tmp_path / "var") in service.output
        cookie = service.sign_in()
        assert service.stop() == 0
        assert "Traceback" not in service.output
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    with Serving(tmp_path) as service:
        status, body, _ = service.call("GET", "/api/profile", cookie=cookie)
        assert (status, body["user"]["email"]) == (200, "demo@example.com")


def test_the_demo_user_exists_in_embedded_mode_only(tmp_path: Path, serving: Serving, command: Command) -> None:
    # The embedded server of `serving` serves as an external Redis here.
    key = command("keys").stdout.strip()
    url = f"unix://:{(tmp_path / 'var/valkey.password').read_text()}@{tmp_path / 'var/valkey.sock'}"
    other = tmp_path / "other"
    other.mkdir()
    with Serving(other, REDIS_URL=url, COOKIE_KEYS=key, COOKIE_SECURE="false", REDIS_KEY_PREFIX="other") as service:
        assert "demo@" not in service.output
        status, _, _ = service.call("POST", "/api/auth/login", {"email": "demo@example.com", "password": "password123"})
        assert status == 401


def test_a_second_service_stops_with_one_line_and_leaves_the_first_alone(
    tmp_path: Path, serving: Serving, command: Command
) -> None:
    for settings, named in [({}, "STATE_DIR"), ({"PORT": serving.port, "STATE_DIR": tmp_path / "another"}, "PORT")]:
        result = command("serve", **settings)
        assert result.returncode == 2
        [line] = result.stderr.splitlines()
        assert named in line
    assert serving.call("GET", "/api/health")[0] == 200
    assert command("healthcheck", PORT=serving.port).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_end_before_the_process_does(serving: Serving, number: signal.Signals) -> None:
    with serving.sign_in_under_way() as finish:
        serving.signal(number)
        serving.wait_for('"draining"')
        answer = finish()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"login successful" in answer
    assert serving.wait() == 0


def test_readyz_fails_while_draining(tmp_path: Path) -> None:
    with Serving(tmp_path, DRAIN_DELAY=2) as service:
        assert service.call("GET", "/readyz")[0] == 200
        service.signal(signal.SIGTERM)
        service.wait_for('"draining"')
        assert service.call("GET", "/readyz")[0] == 503
        assert service.call("GET", "/livez")[0] == 200
        assert service.wait() == 0


def test_metrics_have_a_listener_of_their_own_where_it_is_set(tmp_path: Path) -> None:
    port = free_port()
    with Serving(tmp_path, METRICS_HOST="127.0.0.1", METRICS_PORT=port) as service:
        assert service.call("GET", "/metrics")[0] == 404
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.0 200")
        assert service.stop() == 0


def test_it_serves_on_ipv6(tmp_path: Path) -> None:
    port = free_port()
    with Serving(tmp_path, HOST="::1", PORT=port) as service:
        assert f"http://[::1]:{port}" in service.output
        with socket.create_connection(("::1", port), timeout=20) as sock:
            sock.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.0 200")


def test_the_log_has_no_password_cookie_or_key(tmp_path: Path) -> None:
    with Serving(tmp_path, LOG_LEVEL="debug") as service:
        cookie = service.sign_in()
        service.call("POST", "/api/auth/login", {"email": "demo@example.com", "password": "not-the-password"})
        service.call("GET", "/api/profile", cookie="session_id=a-mangled-value")
        service.call("POST", "/api/auth/logout", cookie=cookie)
        service.stop()
        log = service.output.split("sessions and users are stored in", 1)[1]
    secrets = ["password123", "not-the-password", "a-mangled-value", cookie.split("=", 1)[1]]
    secrets += [path.read_text().strip() for path in (tmp_path / "var").iterdir() if path.suffix in {".password", ".key"}]
    assert len(secrets) > 4
    for secret in secrets:
        assert secret not in log
    events = [json.loads(line) for line in log.splitlines()[1:] if line.startswith("{")]
    kinds = {event["event"] for event in events if event.get("security")}
    assert {"sign_in", "sign_in_failed", "sign_out"} <= kinds
    for event in events:
        if event.get("security"):
            assert event["request_id"]
            assert event["address"] == "127.0.0.1"
