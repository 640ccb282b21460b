"""What a server refuses in the handshake, although it answers: the version 3 of RESP, or the number of the database.

redis-py sends HELLO (https://valkey.io/commands/hello/) for RESP3, and SELECT for a database other than 0.
"""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

_NO_DATABASE = ("DB index", "value is out of range", "SELECT is not allowed in cluster mode")
_NO_COMMAND = ("unknown command", "NOPROTO", "unsupported protocol")


class NoSuchDatabase(RedisConnectionError):
    """The server does not have the database with this number."""


def explain(error: RedisError, database: int) -> RedisError:
    """The error to raise for an error of the handshake: it names the setting, if a setting is invalid."""
    if isinstance(error, ResponseError) and any(words in str(error) for words in _NO_DATABASE):
        return NoSuchDatabase(
            f"REDIS_DB (or the number in REDIS_URL): Redis has no database {database} ({error}); use 0, or raise `databases` in "
            "the configuration of the server"
        )
    return error


def refuses_resp3(error: RedisError) -> bool:
    """Whether the server does not know HELLO, or not with this version. A wrong password is another case."""
    return isinstance(error, ResponseError) and any(words in str(error) for words in _NO_COMMAND)
