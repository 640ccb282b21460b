"""Connects to a server or a Sentinel as the service does: with its dialler, so with the same version of RESP.

Each step has the service's own time-out: a server that takes longer is unavailable to the service too. No wait is
longer than `LONGEST_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError

from ..backend.dial import Dialer, LiveDialer
from ..backend.exchange import exchange
from ..backend.unprompted import explain
from .certificates import names_in_certificate
from .findings import Finding, fault
from .under_way import step

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..backend.client import Command
    from ..settings import Address, Settings

LONGEST_SECONDS = 1.5
"""The limit of one wait, whatever the settings say, because an administrator waits at a terminal."""
LOOK_SECONDS = 8.0
"""The limit of all commands to one server together."""

Kind = Literal["REDIS", "REDIS_SENTINEL"]
CHECKS: Mapping[Kind, Mapping[str, str]] = {
    "REDIS": {
        "tls": "server-tls", "other-name": "server-tls", "credentials": "server-credentials", "rights": "rights",
        "loading": "loading", "database": "server-database", "else": "server-unreachable",
    },
    "REDIS_SENTINEL": {
        "tls": "sentinel-tls", "other-name": "sentinel-tls", "credentials": "sentinel-credentials", "rights": "sentinel-rights",
        "else": "sentinel-unreachable",
    },
}  # fmt: skip
"""The name of a finding, by its cause (`Unreached.cause`)."""


class Unreached(Exception):
    """A server or a Sentinel could not be asked. `what`: what happened. `fix`: what to do.

    `cause`: as in `Diagnosis`.
    """

    def __init__(self, cause: str, what: str, fix: str) -> None:
        super().__init__(what)
        self.cause = cause
        self.what = what
        self.fix = fix

    @property
    def found_nothing(self) -> bool:
        """Whether nothing answered at the address. This is False for a server that refuses us."""
        return self.cause in {"name", "refused", "silent"}


@dataclass(frozen=True, slots=True)
class Connector:
    """Connects as the service does: to its servers (`kind` REDIS) or its Sentinels (`kind` REDIS_SENTINEL).

    `kind` is the prefix of the settings' names.
    """

    kind: Kind
    dialer: Dialer
    settings: Settings

    @classmethod
    def to_servers(cls, settings: Settings) -> Connector:
        """Raises `SettingsError`."""
        return cls("REDIS", _bounded(Dialer.to_servers(settings)), settings)

    @classmethod
    def to_sentinels(cls, settings: Settings) -> Connector:
        """Raises `SettingsError`."""
        return cls("REDIS_SENTINEL", _bounded(Dialer.to_sentinels(settings)), settings)

    def with_dialer(self, dialer: Dialer) -> Connector:
        """A copy that uses another dialer, such as the embedded server's."""
        return replace(self, dialer=_bounded(dialer))

    def as_user(self, username: str, password: str) -> Connector:
        """A copy that signs in as another ACL user."""
        return replace(self, dialer=replace(self.dialer, username=username, password=password))

    @property
    def _live(self) -> LiveDialer:
        """The dialler that the service uses."""
        return LiveDialer(lambda _: self.dialer, "redis_", self.settings, None)

    @property
    def user(self) -> str:
        """The ACL user that it signs in as."""
        return self.dialer.user

    def describe(self, address: Address | None) -> str:
        """How it connects: with which TLS name, as which user."""
        name = "no TLS"
        if self.dialer.tls is not None and address is not None:
            name = f"TLS name {self.dialer.tls.server_name or address.host}"
        elif self.dialer.unix_path is not None:
            name = "through its socket"
        signed_in = f"user {self.user}" if self.dialer.password is not None else "no password"
        return f"{name}, {signed_in}"

    @contextlib.asynccontextmanager
    async def connect(self, address: Address | None) -> AsyncIterator[AbstractConnection]:
        """Open a connection and do the handshake. Raises `Unreached`, also if the connection fails while it is used."""
        with step(f"{self.dialer.noun} {address or self.dialer.unix_path or self.dialer.address}"):
            async with self._connected(address) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def _connected(self, address: Address | None) -> AsyncIterator[AbstractConnection]:
        connection = None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                connection = await self._live.dial(address)
                await self._check_signed_in(connection)
                yield connection
        except (RedisError, OSError, TimeoutError) as error:
            raise await self._explained(address, error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            noun = self.dialer.noun
            what = f"its reply is not that of a {noun} ({type(error).__name__})"
            raise Unreached("odd", what, f"check that a {noun} of Redis 7 or Valkey listens there") from error
        finally:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def unreached(self, where: str, why: Unreached) -> Finding:
        """The finding for a failed connection."""
        names = CHECKS[self.kind]
        return fault(names.get(why.cause, names["else"]), where, why.what, why.fix)

    async def ask(self, connection: AbstractConnection, *commands: Command) -> list[Any]:
        """The replies, in the order of the commands. An error reply is returned, not raised.

        A server that loads its data answers some commands, such as ROLE and INFO. It is not usable all the same, so the error
        reply LOADING is raised.
        """
        replies = await exchange(connection, commands, self.dialer.read_timeout)
        for reply in replies:
            if isinstance(reply, BusyLoadingError):
                raise reply
        return replies

    async def _check_signed_in(self, connection: AbstractConnection) -> None:
        """Raise the error if the server requires a password and we have none.

        The handshake with RESP2 runs no command then, so the first command shows it. The service's first command is ROLE.
        """
        if self.kind == "REDIS":
            [role] = await self.ask(connection, ("ROLE",))
            if isinstance(role, AuthenticationError):
                raise role

    async def _explained(self, address: Address | None, error: BaseException) -> Unreached:
        found = await explain(error, self.dialer, address)
        if address is not None and found.cause == "other-name":
            names = await names_in_certificate(address, self.kind, self.settings)
            if names:
                found = replace(found, fix=f"its certificate is for {', '.join(names)}: set {self.kind}_TLS_SERVER_NAME to that")
        return Unreached(found.cause, found.what, found.fix)


def _bounded(dialer: Dialer) -> Dialer:
    return replace(
        dialer,
        dial_timeout=min(dialer.dial_timeout, LONGEST_SECONDS),
        read_timeout=min(dialer.read_timeout, LONGEST_SECONDS),
    )
