"""One exchange over a pooled connection: commands that leave together, and their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import AuthenticationError, AuthorizationError, BusyLoadingError, ResponseError

from .client import as_mapping
from .write_watch import not_taken

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .client import Command

# redis-py raises some error replies as connection errors.
_ERROR_REPLIES = (ResponseError, BusyLoadingError, AuthenticationError, AuthorizationError)


async def exchange(
    connection: AbstractConnection, commands: Sequence[Command], timeout: float, *, write_timeout: float | None = None
) -> list[Any]:
    """Send all commands, then read all replies. An error reply is returned and not raised.

    `timeout`: seconds for all replies. `write_timeout`: seconds to hand the commands over, if that is shorter than
    the connection's own socket time-out. Raises `StoreUnavailable` if it has passed, and redis-py's errors.
    """
    packed = connection.pack_commands(commands)
    handing_over = asyncio.timeout(write_timeout)
    try:
        async with handing_over:
            await connection.send_packed_command(packed, check_health=False)
    except TimeoutError:
        if write_timeout is None or not handing_over.expired():
            raise
        raise not_taken(write_timeout) from None
    replies: list[Any] = []
    async with asyncio.timeout(timeout):
        for command in commands:
            try:
                reply = await connection.read_response(timeout=timeout, disconnect_on_error=False)
                replies.append(as_mapping(reply) if command[0] == "HGETALL" else reply)
            except _ERROR_REPLIES as error:
                replies.append(error)
    return replies
