"""What Stateroom logs, for tests: each event as a dictionary."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stateroom.logs import Event

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Collector(logging.Handler):
    def __init__(self, events: list[dict[str, Any]]) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, Event):
            level = record.levelname.lower()
            told = {"event": record.msg.name, "log_level": level, "logger": record.name, **record.msg.fields}
            self._events.append({**told, "exc_info": True} if record.exc_info else told)


@contextmanager
def capture_events(level: int = logging.DEBUG) -> Iterator[list[dict[str, Any]]]:
    """Collect events of the `stateroom` loggers from this level on: name, level, logger, fields, and `exc_info` of exceptions."""
    events: list[dict[str, Any]] = []
    logger, handler = logging.getLogger("stateroom"), _Collector(events)
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield events
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)
