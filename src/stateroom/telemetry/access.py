"""The access log: a line a request, cheap enough to be left on.

structlog and logging take 30 us for a line, as long as a whole session check. Where lines are JSON this writes them
itself, in the same form; on a terminal structlog does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import msgspec
import structlog

AccessLine = Callable[[str, str, int, float, str], None]
"""Writes one: method, route, status, milliseconds, request id."""

_NAME = "stateroom.access"
_log = structlog.get_logger(_NAME)


class JsonLines(logging.StreamHandler[TextIO]):
    """The handler of a process whose log is JSON."""


def access_line() -> AccessLine:
    """What writes the access lines of this process, as its logging is configured now."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, JsonLines):
            return _json_line(handler.stream)
    return _structlog_line


def _json_line(stream: TextIO) -> AccessLine:
    encode = msgspec.json.Encoder().encode

    def write(method: str, route: str, status: int, milliseconds: float, request_id: str) -> None:
        line = encode(
            {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(milliseconds, 2),
                "event": "request",
                "request_id": request_id,
                "level": "info",
                "logger": _NAME,
                "time": datetime.now(UTC),
            }
        )
        try:
            stream.write(f"{line.decode()}\n")
        except OSError:  # nobody reads our log: no reason to fail a request
            return

    return write


def _structlog_line(method: str, route: str, status: int, milliseconds: float, request_id: str) -> None:
    _log.info("request", method=method, route=route, status=status, ms=round(milliseconds, 2), request_id=request_id)
