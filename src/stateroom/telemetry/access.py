"""The access log: one line for each request, cheap enough for production.

logging and structlog need 30 us for a line, as long as a whole session check. So this module writes JSON lines directly,
with the fields that structlog would write. On a terminal logging and structlog write them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from ..logs import get_logger

AccessLine = Callable[[str, str, int, float, str], None]
"""Writes one line. Arguments: method, route, status, milliseconds, request id."""

_NAME = "stateroom.access"
_log = get_logger(_NAME)


class JsonLines(logging.StreamHandler[TextIO]):
    """The log handler of a process that logs JSON."""


def access_line() -> AccessLine:
    """Return the function that writes this process' access lines. It depends on the present configuration of logging."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, JsonLines):
            return _json_line(handler.stream)
    return _logged_line


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
        except OSError:  # a request must not fail because its log cannot be written
            return

    return write


def _logged_line(method: str, route: str, status: int, milliseconds: float, request_id: str) -> None:
    _log.info("request", method=method, route=route, status=status, ms=round(milliseconds, 2), request_id=request_id)
