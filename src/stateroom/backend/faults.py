"""Sorts redis-py's errors: a fault of the store becomes `StoreUnavailable`, and a command's own error stays what it is.

The classes are those of redis-py 8.1 (`redis/exceptions.py`). The codes are the servers'
(https://valkey.io/topics/replication/, /topics/sentinel/).
"""

from __future__ import annotations

import asyncio
import re

from redis import exceptions

from ..errors import StoreUnavailable
from .version import cannot_compile

# The server is not the right primary, or it will not reply for a long time. The connection must be closed.
_DEAD_CODES = ("READONLY", "MASTERDOWN", "LOADING", "UNKILLABLE", "CLUSTERDOWN", "UNBLOCKED")
# A script runs for too long. The server replies again when the script has ended.
_BUSY_CODE = "BUSY"
# The server replies, but it accepts no writes now.
_REFUSING_CODES = ("NOREPLICAS", "MISCONF", "OOM")
_CREDENTIAL_CODES = ("NOAUTH", "WRONGPASS", "NOPERM")
# The user may not run a command, or the server does not have it. A script's error about this has no code. Redis and Valkey
# word it differently (`scriptCall` in their src/script.c).
_NO_SUCH_RIGHT = re.compile("(?i)unknown (redis )?command|can't run this command|ACL failure in script")


def as_store_fault(error: BaseException) -> StoreUnavailable | None:
    """Return the `StoreUnavailable` for this error, or None if it is the command's own error."""
    if isinstance(error, StoreUnavailable):
        return error
    kind = _kind(error)
    if kind is None:
        return None
    fault = StoreUnavailable(f"Redis: {_words(error)}", kind=kind)
    fault.__cause__ = error
    return fault


def is_dead_connection(error: BaseException) -> bool:
    """Whether the connection that gave this error must be closed."""
    if isinstance(error, exceptions.ResponseError):
        return _code(error) in _DEAD_CODES or isinstance(error, (exceptions.ReadOnlyError, exceptions.MasterDownError))
    return isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError))


def _kind(error: BaseException) -> str | None:
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.NoPermissionError():
            return "credentials"
        case exceptions.MaxConnectionsError():
            return "pool_exhausted"
        case exceptions.TimeoutError() | asyncio.TimeoutError():
            return "timeout"
        case exceptions.ReadOnlyError():
            return "readonly"
        case exceptions.OutOfMemoryError():
            return "refused"
        case exceptions.ConnectionError() | exceptions.MasterDownError() | exceptions.ClusterDownError() | OSError():
            return "connection"
        case exceptions.ResponseError():
            return _kind_by_code(_code(error), str(error))
    return None


def _kind_by_code(code: str, text: str) -> str | None:
    if code in _CREDENTIAL_CODES or _NO_SUCH_RIGHT.search(text):
        return "credentials"
    if code == _BUSY_CODE:
        return "busy"
    if code in _REFUSING_CODES or "NOREPLICAS" in text or "-OOM" in text or text.startswith("OOM") or cannot_compile(text):
        return "refused"
    if code == "READONLY" or "READONLY" in text:
        return "readonly"
    if code in _DEAD_CODES:
        return "connection"
    return None


def _code(error: BaseException) -> str:
    return str(error).split(" ", 1)[0]


def _words(error: BaseException) -> str:
    if not str(error) and isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
