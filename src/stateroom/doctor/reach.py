"""Reaching a server or a Sentinel the way the service does, and saying in words why it cannot be reached.

Each step is bounded: by the service's own time-outs, since what takes longer is away for it, and by `LONGEST_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..backend.dial import Dialer
from ..backend.server import exchange
from .certificates import certificate_mend, why_refused
from .findings import Finding, fault

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..backend.client import Command
    from ..settings import Address, Settings

LONGEST_SECONDS = 1.5
"""Of one wait, whatever the settings say: nobody stands before a terminal for a minute."""
LOOK_SECONDS = 4.0
"""Of everything that is asked of one server."""

Kind = Literal["REDIS", "REDIS_SENTINEL"]
CHECKS: Mapping[Kind, Mapping[str, str]] = {
    "REDIS": {"tls": "server-tls", "credentials": "server-credentials", "loading": "loading", "else": "server-unreachable"},
    "REDIS_SENTINEL": {"tls": "sentinel-tls", "credentials": "sentinel-credentials", "else": "sentinel-unreachable"},
}
"""What a finding is called, by its cause."""


class Unreached(Exception):
    """What could not be reached, why, and the mend. `cause`: tls, credentials, loading, name, silent, refused or odd."""

    def __init__(self, cause: str, what: str, mend: str) -> None:
        super().__init__(what)
        self.cause = cause
        self.what = what
        self.mend = mend

    @property
    def leads_nowhere(self) -> bool:
        """Whether nothing was found at the address: what is there and refuses us has told as much."""
        return self.cause in {"name", "refused", "silent"}


@dataclass(frozen=True, slots=True)
class Road:
    """How the service reaches its servers (`kind` REDIS) or its Sentinels: `kind` is how the settings' names begin."""

    kind: Kind
    dialer: Dialer
    settings: Settings

    @classmethod
    def to_servers(cls, settings: Settings) -> Road:
        """Raises `SettingsError`."""
        return cls("REDIS", _bounded(Dialer.to_servers(settings)), settings)

    @classmethod
    def to_sentinels(cls, settings: Settings) -> Road:
        """Raises `SettingsError`."""
        return cls("REDIS_SENTINEL", _bounded(Dialer.to_sentinels(settings)), settings)

    def through(self, dialer: Dialer) -> Road:
        """The same with another dialer: to the embedded server."""
        return replace(self, dialer=_bounded(dialer))

    def as_user(self, username: str, password: str) -> Road:
        return replace(self, dialer=replace(self.dialer, username=username, password=password))

    @property
    def noun(self) -> str:
        return "server" if self.kind == "REDIS" else "Sentinel"

    @property
    def user(self) -> str:
        return self.dialer.username or "default"

    def says(self, address: Address | None) -> str:
        """How it was reached: by which TLS name, as which user."""
        name = "no TLS"
        if self.dialer.tls is not None and address is not None:
            name = f"TLS name {self.dialer.tls.server_name or address.host}"
        elif self.dialer.unix_path is not None:
            name = "by its socket"
        signed_in = f"user {self.user}" if self.dialer.password is not None else "no password"
        return f"{name}, {signed_in}"

    @contextlib.asynccontextmanager
    async def to(self, address: Address | None) -> AsyncIterator[AbstractConnection]:
        """A connection, its handshake done. Raises `Unreached`, also for what happens while it is used."""
        connection = None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                connection = await self.dialer.dial(address)
                yield connection
        except (RedisError, OSError, TimeoutError) as error:
            raise await self._explained(address, error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            what = f"what it answers is not what a {self.noun} does ({type(error).__name__})"
            raise Unreached("odd", what, f"see that a {self.noun} of Redis 7 or Valkey listens there") from error
        finally:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def unreached(self, where: str, why: Unreached) -> Finding:
        names = CHECKS[self.kind]
        return fault(names.get(why.cause, names["else"]), where, why.what, why.mend)

    async def ask(self, connection: AbstractConnection, *commands: Command) -> list[Any]:
        """Replies in order; an error reply is returned in its place, not raised."""
        return await exchange(connection, commands, self.dialer.read_timeout)

    async def _explained(self, address: Address | None, error: BaseException) -> Unreached:
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, ssl.SSLError):
                mend = await certificate_mend(cause, address, self.kind, self.settings)
                return Unreached("tls", f"TLS fails: {why_refused(cause)}", mend)
        if any(isinstance(cause, (TimeoutError, RedisTimeoutError)) for cause in causes):
            waits = f"{self.dialer.dial_timeout:g} s to connect, {self.dialer.read_timeout:g} s to answer"
            return Unreached(
                "silent",
                f"it does not answer in time ({waits})",
                "see that it runs and does not hang, that no firewall drops the packets, and how long the way is",
            )
        return self._by_reply(error) or self._by_system(causes[-1], address)

    def _by_reply(self, error: BaseException) -> Unreached | None:
        text = str(error)
        if isinstance(error, BusyLoadingError):
            return Unreached(
                "loading", "it is reading its data from disk and answers nothing yet", "wait until it has, and ask again"
            )
        if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)) or text.startswith(
            ("WRONGPASS", "NOAUTH", "NOPERM")
        ):
            given = f"user {self.user} with our password" if self.dialer.password is not None else "a client without a password"
            return Unreached(
                "credentials",
                f"it refuses {given}",
                f"set {self.kind}_USERNAME and {self.kind}_PASSWORD to a user that its ACL has, the same on all of them",
            )
        if "max number of clients" in text:
            return Unreached(
                "odd", "it has as many clients as maxclients allows", "raise maxclients, or find who connects so often"
            )
        if text.startswith("DENIED"):
            return Unreached(
                "odd", "protected mode keeps us out: it has no password and is bound to no address",
                "give it users with passwords (deploy/users.acl), or bind it to an address of our network",
            )  # fmt: skip
        if "DB index" in text:
            return Unreached(
                "odd", f"it has no database {self.dialer.database}", "correct REDIS_DB, or raise `databases` in redis.conf"
            )
        if isinstance(error, ResponseError):
            return Unreached("odd", f"it answers {text!r}", f"see that a {self.noun} of Redis 7 or Valkey listens there")
        return None

    def _by_system(self, root: BaseException, address: Address | None) -> Unreached:
        if isinstance(root, socket.gaierror):
            host = address.host if address is not None else "its name"
            return Unreached("name", f"the name {host} does not resolve here", "mend the name, or this host's DNS or /etc/hosts")
        if isinstance(root, ConnectionRefusedError) or "Connect call failed" in str(root):  # one of several addresses
            return Unreached("refused", "nobody listens there (connection refused)", "start it, or correct its address")
        if isinstance(root, OSError) and root.strerror and not isinstance(root, ConnectionError):
            return Unreached("refused", f"it cannot be reached: {root.strerror}", "start it, or correct its address")
        tls = f"unset {self.kind}_TLS if it has no TLS" if self.dialer.tls is not None else f"set {self.kind}_TLS if it has TLS"
        return Unreached(
            "odd", "it closes the connection at once", f"see that a {self.noun} runs there, not only a proxy for one; {tls}"
        )


def _bounded(dialer: Dialer) -> Dialer:
    return replace(
        dialer,
        dial_timeout=min(dialer.dial_timeout, LONGEST_SECONDS),
        read_timeout=min(dialer.read_timeout, LONGEST_SECONDS),
        protocol=3,  # CONFIG GET is a mapping there
    )


def _causes(error: BaseException) -> list[BaseException]:
    """It, and what redis-py made it of."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(inner)
    return causes
