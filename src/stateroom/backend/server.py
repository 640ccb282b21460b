"""A client of one primary: the shared connection, the pool, the breaker."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from ..errors import SettingsError, StoreUnavailable
from ..logs import get_logger
from .breaker import Breaker, BreakerState
from .budget import within_budget
from .client import as_mapping
from .diagnosis import stops_startup
from .dial import Dialer
from .faults import as_store_fault, is_dead_connection
from .multiplexer import Multiplexer
from .near_cache import NearCache
from .pool import Pool
from .standing import Standing
from .unprompted import explain
from .write_watch import not_taken

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Settings
    from ..telemetry.hot import Distribution
    from ..telemetry.metrics import Metrics
    from .client import Argument, Command, PoolFigures, Script

log = get_logger(__name__)

_BY_ITSELF = "run `stateroom doctor` on this host; the service connects again by itself"
_UNREACHED = f"check that Redis runs, and {_BY_ITSELF}"

# redis-py raises some error replies as connection errors.
_ERROR_REPLIES = (ResponseError, BusyLoadingError, AuthenticationError, AuthorizationError)


class ServerClient:
    """`RedisClient` of one primary. `open_connection` returns a connected redis-py connection to it."""

    def __init__(self, open_connection: Callable[[], Awaitable[AbstractConnection]], settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._durations: dict[str, Distribution] = {}
        self._read_timeout = settings.redis_read_timeout
        self._write_timeout = settings.redis_write_timeout
        self._name = settings.redis_mode
        self.breaker = Breaker(self._breaker_moved)
        # True from the breaker's first opening until it closes, through all probes between: one log line for an outage.
        self._is_away = False
        self._near = near = NearCache(settings.session_cache_max_age) if settings.session_cache_max_age else None
        self._standing = Standing(near)

        async def open_counted() -> AbstractConnection:
            connection = await open_connection()
            metrics.redis_connections_opened.inc()
            return connection

        async def open_shared() -> AbstractConnection:
            connection = await open_counted()
            if near is not None:
                try:
                    await near.begin(connection)
                except BaseException:
                    await connection.disconnect(nowait=True)
                    raise
            return connection

        self._multiplexer = Multiplexer(
            open_shared,
            self.breaker,
            read_timeout=self._read_timeout,
            write_timeout=self._write_timeout,
            connect_timeout=settings.redis_dial_timeout + settings.redis_read_timeout,
            observe=self._observe,
            on_fault=self._count,
            on_leave=near.batch_sent if near is not None else None,
            on_push=near.on_push if near is not None else None,
            on_connected=self._connected,
            on_lost=self._standing.lost,
        )
        self._pool = Pool(
            open_counted,
            metrics,
            size=settings.redis_pool_size,
            min_idle=settings.redis_min_idle,
            wait_timeout=settings.redis_read_timeout,
        )

    async def start(self) -> None:
        error = await self._multiplexer.start()
        if isinstance(error, SettingsError):
            raise error
        if error is None:
            await self._pool.warm()
            return
        if (line := stops_startup(error, Dialer.to_servers(self._settings))) is not None:
            raise SettingsError(line) from error
        log.warning("redis_away_at_start", reason=str(error), fix=f"{await self._fix_of(error)}; {_BY_ITSELF}")

    async def aclose(self) -> None:
        await self._multiplexer.aclose()
        await self._pool.aclose()

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        reply = self._multiplexer.execute(*command)
        if self._near is not None and command[0] == "HGETALL":
            self._near.keep_reply(key, reply)
        return reply  # the future itself: a coroutine around it would double the cost

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        try:
            return await within_budget(self._multiplexer.execute("EVALSHA", script.sha1, len(keys), *keys, *args))
        except NoScriptError:
            return await within_budget(self._multiplexer.execute("EVAL", script.source, len(keys), *keys, *args))
        finally:
            self._changed(keys)

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        self.breaker.check()
        return await within_budget(self._pipeline(commands, timeout or self._read_timeout))

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        wait = ("WAIT", replicas, max(1, int(timeout * 1000)))
        whole = self._read_timeout + timeout
        try:
            reply, confirmed = await self.pipeline(keys[0], [_evalsha(script, keys, args), wait], timeout=whole)
            if isinstance(reply, NoScriptError):
                reply, confirmed = await self.pipeline(keys[0], [_eval(script, keys, args), wait], timeout=whole)
        finally:
            self._changed(keys)
        for each in (reply, confirmed):
            if isinstance(each, Exception):
                raise as_store_fault(each) or each
        return reply, int(confirmed)

    def shards(self) -> Sequence[str]:
        return ("",)

    def standing(self, key: str) -> Standing:
        return self._standing

    @property
    def is_available(self) -> bool:
        return self.breaker.is_closed

    @property
    def is_connected(self) -> bool:
        return self._multiplexer.is_connected

    def pool_figures(self) -> PoolFigures:
        return dataclasses.replace(self._pool.figures(), shared_pending=self._multiplexer.pending, circuit=self.breaker.state.value)

    def drop(self, reason: str) -> None:
        """Close every connection to this server now and connect again, because it may not be the primary any more."""
        self._multiplexer.drop(StoreUnavailable(reason))
        self._multiplexer.hurry()
        self._pool.drop()

    async def _fix_of(self, error: BaseException) -> str:
        """What to do about an error of the first connection."""
        dialer = Dialer.to_servers(self._settings)
        return (await explain(error, dialer, dialer.address if self._name == "single" else None)).fix

    def _changed(self, keys: Sequence[str]) -> None:
        """Drop the copies of keys that a script may have changed, so that its caller reads what it wrote."""
        if self._near is not None:
            self._near.drop(keys)

    def _connected(self) -> None:
        """Trust the server while it is connected. It is the only server, or a Cluster's primary.

        A Cluster's primary that is cut off from the others refuses commands (CLUSTERDOWN).
        """
        self._standing.connected()

    async def _pipeline(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        try:
            async with self._pool.connection() as connection:
                replies = await exchange(connection, commands, timeout, write_timeout=self._write_timeout)
        except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
            raise self._fault(error) from error
        for reply in replies:
            if isinstance(reply, Exception) and is_dead_connection(reply):
                self.drop(f"Redis: {reply}")
                break
        return replies

    def _fault(self, error: BaseException) -> StoreUnavailable | BaseException:
        fault = as_store_fault(error)
        if fault is None:
            return error
        self._count(fault)
        if fault.kind in {"timeout", "connection"}:
            # The shared connection goes to the same server: a new one shows whether the server still answers.
            self._multiplexer.drop(fault, trip=fault.kind == "timeout")
        return fault

    def _count(self, fault: StoreUnavailable) -> None:
        if fault.kind != "breaker_open":
            self._metrics.redis_errors[fault.kind].inc()

    def _observe(self, command: str, seconds: float) -> None:
        duration = self._durations.get(command)
        if duration is None:
            duration = self._durations[command] = self._metrics.redis_command_duration[command,]
        duration.observe(seconds)

    def _breaker_moved(self, state: BreakerState, reason: str) -> None:
        if state is BreakerState.OPEN and not self._is_away:
            log.warning("redis_circuit_opened", reason=reason, fix=_UNREACHED)
        elif state is BreakerState.CLOSED:
            log.info("redis_circuit_closed")
        self._is_away = state is not BreakerState.CLOSED


def _evalsha(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Command:
    return ("EVALSHA", script.sha1, len(keys), *keys, *args)


def _eval(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Command:
    return ("EVAL", script.source, len(keys), *keys, *args)


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
