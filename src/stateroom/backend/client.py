"""What sessions need of Redis, as one small protocol; `clients.py` makes the implementations.

Two roads lead to the servers. `execute` and `run` share one multiplexed connection per primary: short commands
only, many callers, one write per loop tick. `pipeline` borrows a connection of the pool: for what blocks or takes
long (WAIT, SCAN), and for scripts that a WAIT in the same pipeline must cover (WAIT counts its own connection's
writes only: https://valkey.io/commands/wait/).

Every fault of the store leaves here as `StoreUnavailable`; a script's own error as redis-py's `ResponseError`.
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
    """A Lua script and its SHA-1, by which servers that have seen it know it."""

    source: str
    sha1: str

    @classmethod
    def of(cls, source: str) -> Script:
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def read(cls, package: str, name: str, *, shared: Sequence[str] = ()) -> Script:
        """`name.lua` of `package`, behind the `shared` files it calls; a `#!` line stays the first."""
        folder = resources.files(package)
        body = (folder / f"{name}.lua").read_text(encoding="utf-8")
        flags = ""
        if body.startswith("#!"):
            flags, _, body = body.partition("\n")
            flags += "\n"
        parts = [(folder / f"{each}.lua").read_text(encoding="utf-8") for each in shared]
        return cls.of(flags + "\n".join([*parts, body]))


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """The pool's connections now, how many callers wait for one, and how many wait on the shared connection.

    `circuit`: the breaker, as `stateroom_redis_circuit_state` has it; of several the worst.
    """

    idle: int
    in_use: int
    maximum: int
    pending: int
    shared_pending: int = 0
    circuit: int = 0


class RedisClient(Protocol):
    """Redis, as sessions see it. Replies have bytes, undecoded; that of HGETALL is a mapping, whichever RESP is spoken."""

    async def start(self) -> None:
        """Begin to connect, and return without waiting for a server that is away.

        Raises `SettingsError` where what the settings say can never work (a wrong password, say).
        """

    async def aclose(self) -> None:
        """Fail what is pending, close every connection, end every task."""

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        """One short command, on the shared connection of the server that holds `key`; await it for the reply.

        Raises `StoreUnavailable`.
        """

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """One script, on the shared connection of the server that holds `keys` (all in one Cluster slot).

        A server that does not know the script yet (a promoted replica never does) is told it.
        Raises `StoreUnavailable`, and `redis.exceptions.ResponseError` for the script's own error.
        """

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        """Commands in one go on one pooled connection to the server that holds `key`.

        Replies come in order; an error reply is returned in its place, not raised.
        `timeout` (seconds) replaces the read time-out where the last command may block.
        """

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        """`run` and `WAIT replicas timeout` in one pipeline: the script's reply, and how many replicas have it."""

    def shards(self) -> Sequence[str]:
        """A key for each primary, to say "on every server"; one where there is no Cluster."""

    def standing(self, key: str) -> Standing:
        """How far the primary that holds `key` may be believed. Ask again for each use: a Cluster's shards change."""

    @property
    def is_available(self) -> bool:
        """False while the breaker answers instead of Redis."""

    def pool_figures(self) -> PoolFigures:
        """The pool now; sums over a Cluster's shards."""


ClientFactory: TypeAlias = "Callable[[Settings], RedisClient | redis.asyncio.Redis]"


def as_mapping(reply: Any) -> Any:
    """The reply to HGETALL: RESP2 has no mappings, and says a list of names and values in turn."""
    if type(reply) is not list:
        return reply
    each = iter(reply)
    return dict(zip(each, each, strict=True))
