"""The calls to Redis that sessions need, as one small protocol. `clients.py` makes the implementations.

There are two ways to a server. `execute` and `run` use shared connections: one for reads and one for writes per primary.
They are for short commands of many callers, and all commands of one loop tick leave in one write. `pipeline` borrows a
connection from the pool. It is for commands that block or take long (WAIT, SCAN), and for a script with a WAIT behind it,
because WAIT counts only the writes of its own connection (https://valkey.io/commands/wait/).

A fault of the store is raised as `StoreUnavailable`. A script's own error is raised as redis-py's `ResponseError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import redis.asyncio

    from ..settings import Settings
    from .standing import Standing

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Argument]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and its SHA-1. A server that has run the script once finds it again by its SHA-1.

    `may_repeat`: if its connection is lost before the reply, the script is sent once more, with the same arguments. It must
    do no harm when it runs twice. Other scripts are sent again only if no byte of them was sent.
    """

    source: str
    sha1: str
    may_repeat: bool = False

    @classmethod
    def of(cls, source: str, *, may_repeat: bool = False) -> Script:
        """Make a script of its source."""
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), may_repeat)

    @classmethod
    def read(cls, package: str, name: str, *, shared: Sequence[str] = (), may_repeat: bool = False) -> Script:
        """Read `name.lua` of `package`, and put the `shared` files that it calls in front of it. A `#!` line stays first."""
        folder = resources.files(package)
        body = (folder / f"{name}.lua").read_text(encoding="utf-8")
        flags = ""
        if body.startswith("#!"):
            flags, _, body = body.partition("\n")
            flags += "\n"
        parts = [(folder / f"{each}.lua").read_text(encoding="utf-8") for each in shared]
        return cls.of(flags + "\n".join([*parts, body]), may_repeat=may_repeat)


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """Connections and waiting callers at this moment. In a Cluster these are sums over all shards.

    `idle`, `in_use`, `maximum`: connections of the pool. `pending`: callers that wait for one of them.
    `shared_pending`: commands on the shared connections that have no reply yet.
    `circuit`: the state of the breaker, with the values of `stateroom_redis_circuit_state`. In a Cluster: the worst one.
    """

    idle: int
    in_use: int
    maximum: int
    pending: int
    shared_pending: int = 0
    circuit: int = 0


class RedisClient(Protocol):
    """Redis, as sessions see it. Replies contain undecoded bytes. The reply to HGETALL is a dict, with RESP2 and RESP3 alike."""

    async def start(self) -> None:
        """Try to connect once. If the server is unavailable, return all the same and go on trying in the background.

        Raises `SettingsError` if the settings can never work, for example because of a wrong password.
        """

    async def aclose(self) -> None:
        """Fail the calls that wait, close every connection, end every task."""

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        """Send one short command over a shared connection of the server that holds `key`. Await the result for the reply.

        If the connection is lost before the reply, a read is sent once more, and a write is not. Raises `StoreUnavailable`.
        """

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """Run one script over the shared connection for writes of the server that holds `keys`. All keys are in one Cluster slot.

        If the server does not know the script yet, as after a promotion, its source is sent. See `Script.may_repeat`.
        Raises `StoreUnavailable`, and `redis.exceptions.ResponseError` for the script's own error.
        """

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        """Send commands together over one pooled connection to the server that holds `key`, and return their replies.

        Replies are in the order of the commands. An error reply is returned in its place and not raised.
        `timeout` (seconds) replaces the read time-out, for a last command that may block. Raises `StoreUnavailable`.
        """

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        """Run a script and `WAIT replicas timeout` in one pipeline. `timeout` is in seconds.

        Returns the script's reply, and how many replicas are known to have the write in time. That is 0 if the script was
        sent twice, or if no pooled connection could be made and so no WAIT was sent. Raises as `run`.
        """

    def shards(self) -> Sequence[str]:
        """One key for each primary, for callers that ask every server. Without a Cluster there is one key."""

    def standing(self, key: str) -> Standing:
        """How far the primary that holds `key` may be trusted. Ask again for each use, because a Cluster's slots move."""

    @property
    def is_available(self) -> bool:
        """False while the breaker refuses all calls."""

    def pool_figures(self) -> PoolFigures:
        """The connections and waiting callers at this moment."""


ClientFactory: TypeAlias = "Callable[[Settings], RedisClient | redis.asyncio.Redis]"


def as_mapping(reply: Any) -> Any:
    """The reply to HGETALL as a dict. RESP2 has no mappings: it sends a list of names and values in turn."""
    if type(reply) is not list:
        return reply
    each = iter(reply)
    return dict(zip(each, each, strict=True))
