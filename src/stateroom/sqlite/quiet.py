"""Keeps the values of our SQL statements out of the application's log.

aiosqlite logs every call with its parameters at the level DEBUG, in the thread of the connection. The level of the logger
`aiosqlite` belongs to the application, so only the lines of our connections' threads are dropped.
"""

from __future__ import annotations

import logging
import threading
from weakref import WeakSet

_ours: WeakSet[threading.Thread] = WeakSet()


def hide_this_thread() -> None:
    """Drop the log lines of aiosqlite below INFO in the current thread. Call this in the thread of a connection."""
    _ours.add(threading.current_thread())


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or threading.current_thread() not in _ours


logging.getLogger("aiosqlite").addFilter(_is_shown)
