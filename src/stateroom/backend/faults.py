"""What redis-py's errors mean here: a fault of the store, or the command's own.

The list is from redis-py 8.1 (`redis/exceptions.py`) and the servers' error codes
(https://valkey.io/topics/replication/, /topics/sentinel/).
"""

from __future__ import annotations

import asyncio

from redis import exceptions

from ..errors import StoreUnavailable

# The server behind this connection is not the primary we want, or can't answer for long:
# the connection is of no more use.
_DEAD_CODES = ("READONLY", "MASTERDOWN", "LOADING", "UNKILLABLE", "CLUSTERDOWN", "UNBLOCKED")
# The server answers nothing else before a script ends that runs too long, and everything afterwards.
_BUSY_CODE = "BUSY"
# The server answers, but takes no write for now.
_REFUSING_CODES = ("NOREPLICAS", "MISCONF", "OOM")
_CREDENTIAL_CODES = ("NOAUTH", "WRONGPASS", "NOPERM")


def as_store_fault(error: BaseException) -> StoreUnavailable | None:
    """The `StoreUnavailable` that `error` means, or None where it is the command's own error."""
    if isinstance(error, StoreUnavailable):
        return error
    kind = _kind(error)
    if kind is None:
        return None
    fault = StoreUnavailable(f"Redis: {_words(error)}", kind=kind)
    fault.__cause__ = error
    return fault


def is_dead_connection(error: BaseException) -> bool:
    """Whether the connection that gave this error reply must be dropped."""
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
    if code in _CREDENTIAL_CODES:
        return "credentials"
    if code == _BUSY_CODE:
        return "busy"
    if code in _REFUSING_CODES or "NOREPLICAS" in text or "-OOM" in text or text.startswith("OOM"):
        return "refused"
    if code == "READONLY" or "READONLY" in text:
        return "readonly"
    if code in _DEAD_CODES:
        return "connection"
    return None


def _code(error: BaseException) -> str:
    return str(error).split(" ", 1)[0]


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
