"""A client around a plain `redis.asyncio.Redis`: fakeredis, or a client that the application gives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, RedisError

from ..insides import of_redis
from ..logs import get_logger
from .client import PoolFigures, Script, as_mapping
from .faults import as_store_fault
from .standing import Standing

if TYPE_CHECKING:
    import redis.asyncio

    from .client import Argument, Command

log = get_logger(__name__)

MAX_CONNECTIONS = 50


class PlainClient:
    """`RedisClient` over any client with redis-py's interface. That client's own pool and retries apply."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client  # redis-py's execute_command has no types
        # redis-py's pool raises when it is exhausted. Here callers wait for their turn instead.
        self._turns = asyncio.Semaphore(min(client.connection_pool.max_connections, MAX_CONNECTIONS))
        self._standing = Standing()

    async def start(self) -> None:
        self._standing.connected()

    async def aclose(self) -> None:
        self._standing.lost()
        await self._client.aclose()

    async def execute(self, key: str, *command: Argument) -> Any:
        async with self._turn():
            return _as_resp3(str(command[0]), await self._client.execute_command(*command))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        script = _without_flags(script)
        async with self._turn():
            try:
                return await self._client.execute_command("EVALSHA", script.sha1, len(keys), *keys, *args)
            except NoScriptError:
                return await self._client.execute_command("EVAL", script.source, len(keys), *keys, *args)

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        async with self._turn(), self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        return [_as_resp3(str(command[0]), reply) for command, reply in zip(commands, replies, strict=True)]

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        """Run the script. A fake server has no replicas, so none confirms."""
        return await self.run(script, keys, args), 0

    def shards(self) -> Sequence[str]:
        return ("",)

    def standing(self, key: str) -> Standing:
        """Trusted from start to close. redis-py makes the connections, so we do not see when one is lost."""
        return self._standing

    @property
    def is_available(self) -> bool:
        return True

    def pool_figures(self) -> PoolFigures:
        pool = self._client.connection_pool
        return PoolFigures(*of_redis.idle_and_in_use(pool), pool.max_connections, 0)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._turns:
            try:
                yield
            except (RedisError, OSError, TimeoutError) as error:
                fault = as_store_fault(error)
                if fault is None:
                    raise
                raise fault from error


def warn_of_no_invalidations() -> None:
    """Log that no copies are kept: a plain client gives us no invalidation messages."""
    log.warning(
        "near_cache_off", reason="a plain Redis client passes on no invalidation messages", fix="unset SESSION_CACHE_MAX_AGE"
    )


@functools.cache
def _without_flags(script: Script) -> Script:
    """The script without its `#!lua` line. Fakeredis runs plain Lua, where that line is a syntax error."""
    return Script.of(script.source.partition("\n")[2]) if script.source.startswith("#!") else script


def _as_resp3(command: str, reply: Any) -> Any:
    """A raw RESP2 reply in the form of RESP3, for the commands where the two differ."""
    if command == "HGETALL":
        return as_mapping(reply)
    if command == "TIME" and isinstance(reply, tuple):
        return list(reply)
    return reply
