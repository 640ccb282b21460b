"""Makes the `RedisClient` that the settings name.

`REDIS_MODE` is embedded, single, sentinel or cluster. An application may give its own factory, which returns a
`RedisClient` or a client with redis-py's interface.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import redis

from ..errors import SettingsError
from .cluster import ClusterClient
from .dial import Dialer, LiveDialer
from .embedded import embedded_client
from .plain import PlainClient, warn_of_no_invalidations
from .sentinel_client import SentinelClient
from .server import ServerClient

if TYPE_CHECKING:
    from ..settings import Settings, SettingsFiles
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
