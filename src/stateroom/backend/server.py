"""A client of one primary: the shared connections, the pool, the breaker."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, RedisError

from ..errors import SettingsError, StoreUnavailable
from ..logs import get_logger
from .breaker import BreakerState
from .budget import within_budget
from .diagnosis import TOO_MANY_FIX, stops_startup
from .dial import Dialer
from .exchange import exchange
from .faults import as_store_fault, is_dead_connection
from .handshake import NoSuchDatabase
from .link import Again
from .near_cache import NearCache
from .outages import UNREACHED, OutageLog, fix_of
from .pool import Pool
from .shared import ANOTHER_SERVER, READS, SharedConnections
from .standing import Standing
from .version import TOO_OLD, TOO_OLD_FIX, cannot_compile, too_old

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Address, Settings
    from ..telemetry.hot import Distribution
    from ..telemetry.metrics import Metrics
    from .client import Argument, Command, PoolFigures, Script

log = get_logger(__name__)

REFUSAL_LOG_SECONDS = 60.0
"""At most one log line in so long says that further connections cannot be made."""

_MEANWHILE = "sessions work meanwhile, but commands wait longer and no WAIT is sent"
_DOCTOR = "run `stateroom doctor` on this host"
_SLOW = (
    f"{_DOCTOR}, which measures a round trip; if it is long, raise REDIS_DIAL_TIMEOUT and REDIS_READ_TIMEOUT; "
    "if not, check the load of Redis, and that no firewall drops new connections"
)
_REFUSALS = (
    (re.compile("max number of clients"), TOO_MANY_FIX),
    (re.compile("is loading"), "wait until it has loaded"),
    (
        re.compile(ANOTHER_SERVER),
        "let the address of Redis lead to one server; use Sentinels or a Cluster instead of a proxy in front of several servers",
    ),
    (
        re.compile("(?i)timeout|timed out|in time|did not reply"),
        _SLOW,
    ),
)
"""Words in the reason why a further connection could not be made, each with the fix. The first that fits is used."""
_OTHER_REFUSAL = f"{_DOCTOR}, and read the log of Redis"

_FAULTS = (RedisError, OSError, TimeoutError, StoreUnavailable)

_NEVER, _UNSENT, _ONCE = int(Again.NEVER), int(Again.UNSENT), int(Again.ONCE)


class ServerClient:
    """`RedisClient` of one primary.

    `open_connection` returns a connected redis-py connection to it. `address`: where a shard of a Cluster is; None
    if it is no shard.
    """

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[AbstractConnection]],
        settings: Settings,
        metrics: Metrics,
        *,
        address: Address | None = None,
    ) -> None:
        self._open_connection = open_connection
        self._address = address
        self._settings = settings
        self._metrics = metrics
        self._durations: dict[str, Distribution] = {}
        self._read_timeout = settings.redis_read_timeout
        self._write_timeout = settings.redis_write_timeout
        self._outages = OutageLog(self._fix_of, _log_outage, general_fix=UNREACHED)
        self._has_told_refusal = False
        self._near = near = NearCache(settings.session_cache_max_age) if settings.session_cache_max_age else None
        self._standing = Standing(near)
        # When a refused connection was logged last, by the monotonic clock.
        self._refusal_logged_at = -math.inf
        self._shared = SharedConnections(
            self._open_counted,
            settings,
            near,
            observe=self._observe,
            on_fault=self._count,
            on_breaker=self._breaker_moved,
            on_connected=self._connected,
            on_lost=self._standing.lost,
            on_another=self._drop_pool,
            on_refused=self._log_refusal,
            on_doubt=self.drop,
        )
        self._read = self._shared.reads.send  # kept: every load of a session calls it
        self.breaker = self._shared.breaker
        self._pool = Pool(
            self._shared.dial_further,
            metrics,
            size=settings.redis_pool_size,
            min_idle=settings.redis_min_idle,
            wait_timeout=settings.redis_read_timeout,
        )

    async def start(self) -> None:
        error = await self._shared.start()
        if isinstance(error, SettingsError):
            raise error
        if error is None:
            await self._check_version()
            await self._pool.warm()
            return
        if (line := stops_startup(error, Dialer.to_servers(self._settings))) is not None:
            raise SettingsError(line) from error
        log.warning("redis_away_at_start", reason=str(error), fix=await self._fix_of(error))

    async def _check_version(self) -> None:
        """Raises `SettingsError` for a server that is too old. A server that does not answer now is not checked."""
        with contextlib.suppress(StoreUnavailable):
            old = await too_old(self._read(("INFO", "server"), _ONCE))
            if old is not None:
                raise SettingsError(f"Redis {old} {TOO_OLD}; {TOO_OLD_FIX}")

    async def aclose(self) -> None:
        await self._shared.aclose()
        await self._pool.aclose()
        await self._outages.aclose()

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        name = command[0]
        if name == "HGETALL":  # the one command of a check comes first
            reply = self._read(command, _ONCE)
            if self._near is not None:
                self._near.keep_reply(key, reply)
            return reply  # the future itself: a coroutine around it would double the cost
        return self._read(command, _ONCE) if name in READS else self._shared.write(command, _NEVER)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        again = _ONCE if script.may_repeat else _UNSENT
        try:
            return await within_budget(self._shared.write(_evalsha(script, keys, args), again))
        except NoScriptError:
            return await within_budget(self._eval_shared(script, keys, args, again))
        finally:
            self._changed(keys)

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        self.breaker.check()
        return await within_budget(self._pipeline(commands, timeout or self._read_timeout))

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        self.breaker.check()
        wait = ("WAIT", replicas, max(1, int(timeout * 1000)))
        try:
            return await within_budget(self._run_durably(script, keys, args, wait, self._read_timeout + timeout))
        finally:
            self._changed(keys)

    def shards(self) -> Sequence[str]:
        return ("",)

    def standing(self, key: str) -> Standing:
        return self._standing

    @property
    def is_available(self) -> bool:
        return self.breaker.is_closed

    @property
    def is_connected(self) -> bool:
        return self._shared.is_connected

    def pool_figures(self) -> PoolFigures:
        return dataclasses.replace(self._pool.figures(), shared_pending=self._shared.pending, circuit=self.breaker.state.value)

    def drop(self, reason: str) -> None:
        """Close every connection to this server now and connect again, because it may not be the primary any more."""
        self._shared.drop(StoreUnavailable(reason))
        self._pool.drop()

    def _drop_pool(self) -> None:
        self._pool.drop()

    async def _fix_of(self, error: BaseException) -> str:
        """What to do about an error of an attempt to connect."""
        dialer, is_shard = Dialer.to_servers(self._settings), self._address is not None
        return await fix_of(error, dialer, self._address or dialer.address, may_fail_over=is_shard)

    def _changed(self, keys: Sequence[str]) -> None:
        """Drop the copies of keys that a script may have changed, so that its caller reads what it wrote."""
        if self._near is not None:
            self._near.drop(keys)

    async def _open_counted(self) -> AbstractConnection:
        try:
            connection = await self._open_connection()
        except NoSuchDatabase as error:
            self._tell_refusal(str(error))
            raise
        self._has_told_refusal = False
        self._metrics.redis_connections_opened.inc()
        return connection

    def _connected(self) -> None:
        """Trust the server while it is connected. It is the only server, or a Cluster's primary.

        A Cluster's primary that is cut off from the others refuses commands (CLUSTERDOWN).
        """
        self._standing.connected()

    # What goes over the pool.

    async def _pipeline(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        is_lent = False
        try:
            async with self._pool.connection() as connection:
                is_lent = True
                replies = await exchange(connection, commands, timeout, write_timeout=self._write_timeout)
        except _FAULTS as error:
            fault = self._fault(error, is_lent=is_lent)
            if fault is error:
                raise
            raise fault from error
        for reply in replies:
            if isinstance(reply, Exception) and is_dead_connection(reply):
                self.drop(f"Redis: {reply}")
                break
        return replies

    async def _run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], wait: Command, timeout: float
    ) -> tuple[Any, int]:
        """Run a script and WAIT. Without a pooled connection the script runs without WAIT, over a shared connection.

        The WAIT of a second attempt proves nothing: the second connection may have written nothing that needs a replica.
        """
        command, is_second = _evalsha(script, keys, args), False
        while True:
            try:
                reply, confirmed = await self._pipeline([command, wait], timeout)
            except NotLent:
                return await self._run_without_wait(script, keys, args), 0
            except StoreUnavailable as fault:
                if fault.kind != "connection" or not script.may_repeat or is_second:
                    raise
                is_second = True
                continue
            if isinstance(reply, NoScriptError):
                command = _eval(script, keys, args)
                continue
            for each in (reply, confirmed):
                if isinstance(each, Exception):
                    unavailable = as_store_fault(each)
                    if unavailable is not None and cannot_compile(unavailable.detail):
                        raise self._too_old(unavailable) from each
                    raise unavailable or each
            return reply, 0 if is_second else int(confirmed)

    async def _run_without_wait(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        again = _ONCE if script.may_repeat else _UNSENT
        try:
            return await self._shared.write(_evalsha(script, keys, args), again)
        except NoScriptError:
            return await self._eval_shared(script, keys, args, again)

    async def _eval_shared(self, script: Script, keys: Sequence[str], args: Sequence[Argument], again: int) -> Any:
        """Send a script itself, because the server does not know its digest. A server that is too old cannot compile it."""
        try:
            return await self._shared.write(_eval(script, keys, args), again)
        except StoreUnavailable as fault:
            if cannot_compile(fault.detail):
                raise self._too_old(fault) from fault
            raise

    def _fault(self, error: BaseException, *, is_lent: bool) -> BaseException:
        """What the caller gets. The error says nothing about the other connections: they stay."""
        fault = as_store_fault(error)
        if fault is None:
            return error
        self._count(fault)
        if is_lent or fault.kind in {"pool_exhausted", "closed"}:
            return fault
        if self.is_connected:
            self._log_refusal(fault.detail)
        return NotLent(fault.detail, kind=fault.kind)

    # What is counted and logged.

    def _count(self, fault: StoreUnavailable) -> None:
        if fault.kind != "breaker_open":
            self._metrics.redis_errors[fault.kind].inc()

    def _tell_refusal(self, words: str) -> None:
        """Log once that the server refuses a setting. It may have been unavailable at startup, which would have stopped then."""
        if not self._has_told_refusal:
            reason, _, fix = words.partition("; ")
            log.error("redis_refuses", reason=reason, fix=fix)
        self._has_told_refusal = True

    def _too_old(self, fault: StoreUnavailable) -> StoreUnavailable:
        self._tell_refusal(f"Redis cannot compile a script ({fault.detail}), because it is too old; {TOO_OLD_FIX}")
        return StoreUnavailable("Redis is too old", kind=fault.kind)

    def _observe(self, command: str, seconds: float) -> None:
        duration = self._durations.get(command)
        if duration is None:
            duration = self._durations[command] = self._metrics.redis_command_duration[command,]
        duration.observe(seconds)

    def _breaker_moved(self, state: BreakerState, reason: str) -> None:
        if state is BreakerState.OPEN:
            self._outages.begin(reason, self.breaker.cause)
        elif state is BreakerState.CLOSED:
            self._outages.end()
            log.info("redis_circuit_closed")

    def _log_refusal(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._refusal_logged_at >= REFUSAL_LOG_SECONDS:
            self._refusal_logged_at = now
            fix = next((fix for words, fix in _REFUSALS if words.search(reason)), _OTHER_REFUSAL)
            log.warning("redis_connection_refused", reason=reason, fix=f"{fix}; {_MEANWHILE}")


def _log_outage(reason: str, fix: str) -> None:
    log.warning("redis_circuit_opened", reason=reason, fix=fix)


class NotLent(StoreUnavailable):
    """No pooled connection could be made, so nothing was sent."""


def _evalsha(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
    return ("EVALSHA", script.sha1, len(keys), *keys, *args)


def _eval(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
    return ("EVAL", script.source, len(keys), *keys, *args)
