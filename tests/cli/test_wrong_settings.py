"""An invalid setting stops the command with exit 2 and one line on stderr, without a traceback, also if startup finds it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "hunter2-correct-horse"
NOT_OURS = "203.0.113.1"  # TEST-NET-3 (RFC 5737): no machine has this address.


def serve(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run `stateroom serve` with only these settings, until it stops."""
    return subprocess.run(
        [sys.executable, "-m", "stateroom", "serve"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], beginning: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith(f"stateroom: {beginning}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PORT": "eighty"}, "PORT: must be a whole number; for example 8080"),
        ({"HOST": NOT_OURS}, f"HOST: {NOT_OURS} is not an address of this machine; for example 127.0.0.1"),
        ({"METRICS_HOST": NOT_OURS, "METRICS_PORT": "0"}, f"METRICS_HOST: {NOT_OURS} is not an address of this machine"),
        ({"COOKIE_HASH_KEY": SECRET}, "COOKIE_HASH_KEY is not a setting of Stateroom; make a key with `stateroom keys`"),
        (
            {"SESSION_MAX_AGE": "an hour"},
            "SESSION_MAX_AGE: must be a number of seconds, or a duration such as 90s, 15m, 12h or 30d",
        ),
        ({"REDIS_PASWORD": SECRET}, "REDIS_PASWORD is not a setting of Stateroom; did you mean REDIS_PASSWORD?"),
        ({"COOKIE_KEY_FILE": "absent"}, "COOKIE_KEY_FILE is not a setting of Stateroom; did you mean COOKIE_KEYS_FILE?"),
        (
            {"COOKIE_KEYS": SECRET},
            "COOKIE_KEYS: the key is not 32 bytes in base64url (43 characters); make a key with `stateroom keys`",
        ),
        ({"COOKIE_KEYS_FILE": "absent"}, "COOKIE_KEYS_FILE: absent cannot be read: No such file or directory; name a readable"),
        ({"REDIS_HOST": "127.0.0.1"}, "COOKIE_KEYS: required if Redis is not embedded; make a key with `stateroom keys`"),
        ({"DATABASE_URL": f"mysql://user:{SECRET}@host/db"}, "DATABASE_URL begins with mysql://; use postgresql:// or sqlite://"),
        ({"DATABASE_URL": SECRET}, "DATABASE_URL is not a URL; for example postgresql://"),
        ({"DATABASE_URL": "none"}, "DATABASE_URL=none is for library use, and the service needs a user database; unset it"),
        ({"PASSWORD_BLOCKLIST": "absent"}, "PASSWORD_BLOCKLIST: absent cannot be read"),
        ({"GEOIP_DATABASE": "text"}, "GEOIP_DATABASE: text is no MaxMind database"),
        ({"STATE_DIR": "text"}, "STATE_DIR: text is not a folder; name a folder"),
        ({"STATE_DIR": "/proc/nowhere"}, "STATE_DIR: /proc/nowhere cannot be written"),
    ],
)
def test_the_service_does_not_start(environment: dict[str, str], line: str) -> None:
    Path("text").write_text("no MaxMind file", encoding="utf-8")
    assert_one_line(serve(**environment), line)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert_one_line(serve(PORT=str(port)), f"PORT: {port} on 127.0.0.1 is in use; stop the process that listens there")


def test_tls_files_that_are_none_are_told() -> None:
    Path("ca.pem").write_text("no certificate", encoding="utf-8")
    key = "A" * 43
    done = serve(REDIS_HOST="127.0.0.1", REDIS_PORT="1", REDIS_TLS="true", REDIS_TLS_CA="ca.pem", COOKIE_KEYS=key)
    assert_one_line(done, "REDIS_TLS_CA, REDIS_TLS_CERT or REDIS_TLS_KEY cannot be used")
    assert key not in done.stderr
