"""Makes the `RedisClient` that the settings name.

`REDIS_MODE` is embedded, single, sentinel or cluster. An application may give its own factory, which returns a
`RedisClient` or a client with redis-py's interface.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ..errors import SettingsError
from .cluster import ClusterClient
from .dial import Dialer, LiveDialer
from .embedded import embedded_client
from .plain import PlainClient, warn_of_no_invalidations
from .sentinel import SentinelWatcher
from .server import ServerClient
from .unprompted import explain, fix_of_sentinels

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Address, Settings, SettingsFiles
    from ..telemetry.metrics import Metrics
    from .client import ClientFactory, RedisClient


def make_client(
    settings: Settings, factory: ClientFactory | None = None, *, metrics: Metrics, files: SettingsFiles | None = None
) -> RedisClient:
    """Return the client that the settings name, or the one that `factory` makes. It is not started yet.

    Raises `SettingsError`, also for a client of the factory that would lose sessions, and `TypeError` if the factory is a
    coroutine function or returns no client of asyncio.
    """
    if factory is not None:
        made: Any = factory(settings)
        if inspect.iscoroutine(made):
            made.close()
            raise TypeError("client_factory returned a coroutine; make it a plain function that returns the client")
        if hasattr(made, "run_durably"):
            client: RedisClient = made
            return client
        _check_interface(made)
        if settings.session_cache_max_age:
            warn_of_no_invalidations()
        return PlainClient(made)
    match settings.redis_mode:
        case "embedded":
            return embedded_client(settings, metrics)
        case "single":
            dialer = LiveDialer(Dialer.to_servers, "redis_", settings, files)
            return ServerClient(lambda: dialer.dial(must_be_primary=True), settings, metrics)
        case "sentinel":
            return SentinelClient(settings, metrics, files)
        case "cluster":
            return ClusterClient(
                settings.redis_cluster_nodes, LiveDialer(Dialer.to_servers, "redis_", settings, files), settings, metrics
            )


def _check_interface(made: Any) -> None:
    """Refuse a client that decodes replies into text: it would start and then find no session, because stored values are bytes."""
    if isinstance(made, redis.Redis) or not hasattr(made, "connection_pool"):
        raise TypeError(
            f"client_factory returned a {type(made).__module__}.{type(made).__name__}; return a redis.asyncio.Redis "
            "(for a Cluster set REDIS_CLUSTER_NODES instead)"
        )
    if hasattr(made, "get_encoder") and made.get_encoder().decode_responses:
        raise SettingsError(
            "client_factory returned a client with decode_responses=True, which would lose every session; "
            "leave decode_responses out, in the URL and the connection pool too"
        )


class SentinelClient(ServerClient):
    """`RedisClient` of the primary that the Sentinels name. It follows a failover by itself."""

    def __init__(self, settings: Settings, metrics: Metrics, files: SettingsFiles | None = None) -> None:
        self._servers = LiveDialer(Dialer.to_servers, "redis_", settings, files)
        super().__init__(self._open, settings, metrics)
        self.watcher = SentinelWatcher(
            settings.redis_sentinels,
            settings.redis_master_name,
            LiveDialer(Dialer.to_sentinels, "redis_sentinel_", settings, files),
            metrics,
            lease_seconds=settings.journal_lease,
            on_switch=self._switch,
            on_update=self._extend_belief,
        )

    async def start(self) -> None:
        await self.watcher.start()
        await super().start()

    async def aclose(self) -> None:
        await self.watcher.aclose()
        await super().aclose()

    async def _open(self) -> AbstractConnection:
        primary = await self.watcher.locate()
        connection = await self._servers.dial(primary, must_be_primary=True)
        if self.watcher.primary != primary:  # the Sentinels named another one while we connected
            await connection.disconnect(nowait=True)
            raise RedisConnectionError(f"{primary} is not the primary any more")
        return connection

    async def _fix_of(self, error: BaseException) -> str:
        if self.watcher.primary is not None:
            return (await explain(error, Dialer.to_servers(self._settings), self.watcher.primary)).fix
        return await fix_of_sentinels(self.watcher.sentinels, Dialer.to_sentinels(self._settings))

    def _connected(self) -> None:
        self._standing.connected(self.watcher.believed_until)

    def _extend_belief(self) -> None:
        if self.is_connected:
            self._standing.believed_until = self.watcher.believed_until

    def _switch(self, primary: Address) -> None:
        self.drop(f"{primary} is the primary now")
