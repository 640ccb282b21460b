"""Servers that run as long as the tests. They have their own event loop, because each test has another."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import fakeredis

from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.drills.topology import SentinelSetup
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

DEBIAN_REDIS = "/usr/bin/redis-server"

PATIENT = dict.fromkeys(("redis_dial_timeout", "redis_read_timeout", "redis_write_timeout"), 5.0)
"""Time-outs for tests that do not measure them: a machine that stands still for a second is no fault."""
AS_USERS_HAVE_IT = {name: Settings.model_fields[name].default for name in PATIENT}
"""Time-outs for tests in which a server hangs, or is slow."""

T = TypeVar("T")


class ServerThread:
    """An event loop in a thread, and the servers on it."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers")
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on that loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def start(self, server: AbstractAsyncContextManager[T]) -> T:
        """Start a server, and keep it until the end of the run."""
        return self.run(self._stack.enter_async_context(server))


class Servers:
    """One store of each kind."""

    def __init__(self, thread: ServerThread, folder: Path) -> None:
        self.thread = thread
        self._folder = folder
        self._started: dict[str, Any] = {}

    @property
    def valkey(self) -> Node:
        return self._once("valkey", lambda: topology.single(self._folder / "valkey"))

    @property
    def redis(self) -> Node:
        """Debian's Redis 7.0."""
        return self._once("redis", lambda: topology.single(self._folder / "redis", binary=DEBIAN_REDIS))

    @property
    def sentinel(self) -> SentinelSetup:
        return self._once("sentinel", lambda: topology.sentinels(self._folder / "sentinel"))

    @property
    def cluster(self) -> list[Node]:
        """The Cluster's three primaries, then their replicas."""
        return self._once("cluster", lambda: topology.cluster(self._folder / "cluster"))

    def settings(self, kind: str, **values: Any) -> Settings:
        """Settings for the library with a store of this kind, without a database, and with long time-outs for Redis."""
        where: dict[str, Any] = {}
        match kind:
            case "fakeredis":
                where = {"redis_mode": "single"}
            case "valkey" | "redis":
                node = self.valkey if kind == "valkey" else self.redis
                where = {"redis_host": node.host, "redis_port": node.port}
            case "sentinel":
                where = {"redis_sentinels": ", ".join(str(each.address) for each in self.sentinel.sentinels)}
            case "cluster":
                where = {"redis_cluster_nodes": ",".join(str(each.address) for each in self.cluster[:2])}
        defaults = PATIENT | {
            "_env_file": None,
            "cookie_keys": new_key(),
            "cookie_secure": False,
            "session_name": "session_id",
            "database_url": "none",
        }
        return Settings(**(defaults | where | values))

    def service_settings(self, folder: Path, **values: Any) -> Settings:
        """Run the whole service on the Valkey server, with its own keys and database, and quick hashes."""
        own: dict[str, Any] = {
            "redis_key_prefix": f"test-{secrets.token_hex(4)}",
            "database_url": f"sqlite:///{folder}/users.db",
            "state_dir": folder,
            "bcrypt_rounds": 4,
            "password_blocklist": "off",
            "login_attempts_per_address": 10_000,
        }
        return self.settings("valkey", **(own | values))

    @staticmethod
    def fake_redis(settings: Settings) -> Any:
        """A factory of clients of one new fakeredis server."""
        return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())

    def _once(self, name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        if name not in self._started:
            self._started[name] = self.thread.start(make())
        started: T = self._started[name]
        return started
