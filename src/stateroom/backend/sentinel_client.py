"""The client of the primary that the Sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from ..settings import Address
from .agreement import Agreement
from .dial import Dialer, LiveDialer
from .outages import BY_ITSELF, FAILOVER, fix_of
from .sentinel import SentinelWatcher
from .server import ServerClient
from .unprompted import explain

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Settings, SettingsFiles
    from ..telemetry.metrics import Metrics
    from .one_sentinel import Sentinel


class OtherDeployment(RedisConnectionError):
    """A primary holds another deployment's id (`is_foreign`) or none."""

    def __init__(self, address: Address, *, is_foreign: bool) -> None:
        super().__init__(f"{address} holds {'another' if is_foreign else 'no'} deployment's id")
        self.is_foreign = is_foreign


class Replaced(RedisConnectionError):
    """The Sentinels named another primary while this one was dialled."""

    def __init__(self, primary: Address) -> None:
        super().__init__(f"{primary} is not the primary any more")


class SentinelClient(ServerClient):
    """`RedisClient` of the primary that the Sentinels name. It follows a failover by itself.

    `agreement`: what the deployment's workers have agreed on about the primary.
    """

    def __init__(self, settings: Settings, metrics: Metrics, files: SettingsFiles | None = None) -> None:
        self._servers = LiveDialer(Dialer.to_servers, "redis_", settings, files)
        super().__init__(self._open, settings, metrics)
        self.agreement = Agreement(lease_seconds=settings.journal_lease)
        self.watcher = SentinelWatcher(
            settings.redis_sentinels,
            settings.redis_master_name,
            LiveDialer(Dialer.to_sentinels, "redis_sentinel_", settings, files),
            metrics,
            lease_seconds=settings.journal_lease,
            on_switch=self._switch,
            on_update=self._extend_belief,
            agreement=self.agreement,
            examine=self.examine,
        )

    async def start(self) -> None:
        await self.watcher.start()
        await super().start()

    async def aclose(self) -> None:
        await self.watcher.aclose()
        await super().aclose()

    async def examine(self, primary: Address) -> None:
        """Raise redis-py's `ConnectionError` if this server is not a primary that holds the deployment's id (`OtherDeployment`)."""
        connection = await self._dial(primary, must_be_ours=True)
        await connection.disconnect(nowait=True)

    async def _open(self) -> AbstractConnection:
        primary = await self.watcher.locate()
        rebuilt = self.watcher.rebuilt
        connection = await self._dial(primary, must_be_ours=rebuilt is not None and rebuilt.primary == primary)
        if self.watcher.primary != primary:  # the Sentinels named another one while we connected
            await connection.disconnect(nowait=True)
            raise Replaced(primary)
        return connection

    async def _dial(self, address: Address, *, must_be_ours: bool) -> AbstractConnection:
        """Connect to a primary. `must_be_ours`: it must hold the deployment's id. A wrong name may lead to any server."""
        connection = await self._servers.dial(address, must_be_primary=True)
        if not must_be_ours:
            return connection
        try:
            key, own = self.agreement.identity()
            await connection.send_command("GET", key, check_health=False)
            reply = await connection.read_response()
            held = b"" if reply is None else reply.partition(b" ")[0]
            if own is None or held != own.encode():
                raise OtherDeployment(address, is_foreign=bool(held))  # noqa: TRY301
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _fix_of(self, error: BaseException) -> str:
        if self.watcher.primary is None:
            fix = await _fix_of_sentinels(self.watcher.sentinels, Dialer.to_sentinels(self._settings))
            return f"{fix}; {BY_ITSELF}"
        if isinstance(error, (Replaced, OtherDeployment)):
            return FAILOVER
        return await fix_of(error, Dialer.to_servers(self._settings), self.watcher.primary, may_fail_over=True)

    def _connected(self) -> None:
        self._standing.connected(self._believed_until())

    def _extend_belief(self) -> None:
        if self.is_connected:
            self._standing.believed_until = self._believed_until()

    def _believed_until(self) -> float:
        """How long the Sentinels vouch for the present connection: 0 if it was dialled to another server than they name."""
        dialled = self._shared.dialled
        is_named = isinstance(dialled, Connection) and Address(dialled.host, int(dialled.port)) == self.watcher.primary
        return self.watcher.believed_until if is_named else 0.0

    def _switch(self, primary: Address) -> None:
        self.drop(f"{primary} is the primary now")


async def _fix_of_sentinels(sentinels: Sequence[Sentinel], dialer: Dialer) -> str:
    """What to do if no Sentinel names a primary."""

    async def fix(sentinel: Sentinel) -> str:
        if sentinel.first_error is None:
            return "set REDIS_MASTER_NAME to the name in its `sentinel monitor` line"
        return (await explain(sentinel.first_error, dialer, sentinel.address)).fix

    return "; ".join(dict.fromkeys(await asyncio.gather(*map(fix, sentinels))))
