"""What a process writes to stderr. Each test runs a process, because logging is configured once per process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import stateroom

SOURCES = str(Path(stateroom.__file__).parents[1])

SETUP = """
import logging, structlog
from stateroom import testing, security_event
from stateroom.logs import get_logger
from stateroom.telemetry.logging import configure_logging
configure_logging(testing.settings(log_format={format!r}, log_level={level!r}))
log = get_logger("a.part")
"""


def stderr_of(code: str, *, log_format: str | None = "json", log_level: str = "info") -> str:
    program = SETUP.format(format=log_format, level=log_level) + code
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == ""
    return result.stderr


def entries(code: str, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr_of(code, **options).split("\n") if line]


def test_off_a_terminal_each_event_is_a_line_of_json() -> None:
    [entry] = entries("log.info('happened', count=2)", log_format=None)
    assert (entry["event"], entry["level"], entry["logger"], entry["count"]) == ("happened", "info", "a.part", 2)
    assert entry["time"].endswith("Z")


def test_an_application_that_logs_through_structlog_writes_the_same_line() -> None:
    ours, theirs = entries("log.info('happened', count=2)\nstructlog.get_logger('a.part').info('happened', count=2)")
    assert ours.pop("time")[:10] == theirs.pop("time")[:10]
    assert list(ours.items()) == list(theirs.items())


def test_an_application_that_has_configured_structlog_keeps_it() -> None:
    code = """
structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
configure_logging(testing.settings(log_format="json"))
log.info("ours")
structlog.get_logger().info("theirs")
"""
    ours, theirs = entries("import sys\nstructlog.reset_defaults()" + code)
    assert (ours["logger"], ours["event"]) == ("a.part", "ours")
    assert theirs == {"event": "theirs"}


def test_records_of_other_libraries_leave_the_same_way() -> None:
    [entry] = entries("logging.getLogger('library').warning('odd: %s', 'thing')")
    assert (entry["event"], entry["level"], entry["logger"]) == ("odd: thing", "warning", "library")


def test_a_security_event_has_who_where_and_which_request() -> None:
    [entry] = entries(
        "structlog.contextvars.bind_contextvars(request_id='r-1')\n"
        "security_event('sign_in', session='handle', user_id=7, address='203.0.113.9')"
    )
    assert entry.pop("time")
    assert entry == {
        "event": "sign_in", "security": True, "session": "handle", "user_id": 7, "address": "203.0.113.9",
        "request_id": "r-1", "level": "info", "logger": "stateroom.security",
    }  # fmt: skip


def test_clients_cannot_write_lines_of_their_own() -> None:
    hostile = r"'x\n{\"event\": \"sign_in\"}\r\n\x1b[31m\u2028'"
    code = f"log.info('odd', text={hostile})\nlogging.getLogger('library').warning('%s', {hostile})"
    assert [entry["event"] for entry in entries(code)] == ["odd", 'x\n{"event": "sign_in"}\r\n\x1b[31m\u2028']
    console = stderr_of(code.split("\n", maxsplit=1)[0], log_format="console")
    assert console.count("\n") == 1
    assert "\x1b" not in console


def test_a_traceback_shows_no_local_variables() -> None:
    code = """
def sign_in(password):
    raise ValueError("bug")
try:
    sign_in("correct " + "horse")
except ValueError:
    log.exception("failed")
"""
    for log_format in ("json", "console"):
        text = stderr_of(code, log_format=log_format)
        assert "ValueError: bug" in text
        assert "correct horse" not in text


def test_the_level_holds_back_what_is_below_it() -> None:
    code = "log.info('quiet'); log.warning('loud'); logging.getLogger('library').info('quiet')"
    assert [entry["event"] for entry in entries(code, log_level="warning")] == ["loud"]


def test_an_access_line_has_the_form_of_every_other_line() -> None:
    code = """
from stateroom.telemetry.access import access_line
access_line()("GET", "/api/sessions/{id}", 200, 1.234, "r-1")
structlog.contextvars.bind_contextvars(request_id="r-1")
structlog.get_logger("stateroom.access").info("request", method="GET", route="/api/sessions/{id}", status=200, ms=1.23)
"""
    written, structlogs = entries(code)
    assert written.pop("time")[:10] == structlogs.pop("time")[:10]
    assert written == structlogs
    console = stderr_of(code, log_format="console")
    assert console.count("/api/sessions/{id}") == 2
