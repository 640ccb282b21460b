"""Log events over the standard library's `logging`, for the library and the service.

An application decides by `logging` what happens to them: levels, handlers and propagation are obeyed, and without a handler
nothing is written. Loggers have the names of our modules, below `stateroom`. The service's handler is in `telemetry/logging.py`.
"""

from __future__ import annotations

import logging
import re
from typing import Any

logging.getLogger("stateroom").addHandler(logging.NullHandler())  # else Python writes warnings to stderr by itself

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+{}-]+")
_TAKEN = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "event"})
"""Attributes of a log record that `logging` itself sets, or that we set."""


class Event:
    """The message of a log record: an event's name and fields. As text: `name field=value field='a value'`.

    A value that is not a plain word is written as Python would write it, so text from a client cannot begin a line.
    """

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{field}={_written(value)}" for field, value in self.fields.items())])


class EventLogger:
    """A logger of events. A call below the logger's level only compares levels.

    A record has the event's fields as attributes too, and its name as `event`, for formatters that write JSON. A field whose
    name `logging` uses itself (`args`, `process`) is in the message only.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: Any) -> None:
        self.write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self.write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self.write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self.write(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self.write(logging.ERROR, event, fields, exc_info=True)

    def write(self, level: int, event: str, fields: dict[str, Any], *, exc_info: bool = False) -> None:
        """Log an event. The record names the caller of the method or function that calls this."""
        if self._logger.isEnabledFor(level):
            extra = {"event": event, **{field: value for field, value in fields.items() if field not in _TAKEN}}
            self._logger.log(level, Event(event, fields), extra=extra, exc_info=exc_info, stacklevel=3)


def get_logger(name: str) -> EventLogger:
    """The logger of a module: pass `__name__`."""
    return EventLogger(name)


_security = get_logger("stateroom.security")


def security_event(name: str, /, **fields: Any) -> None:
    """Log one security event: sign_in, sign_in_failed, sign_out, revoke and others (docs/logs.md). Logger: `stateroom.security`.

    Pass only public fields: the session's handle, the user's id, the address. Never pass a password, token, cookie or key.
    """
    _security.write(logging.INFO, name, {**fields, "security": True})


def _written(value: object) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else repr(value)
    text = repr(value)
    return text if text.isprintable() else repr(text)
