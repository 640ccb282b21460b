"""Connects to a server or a Sentinel as the service does, and explains why a connection fails.

Each step has the service's own time-out: a server that takes longer is unavailable to the service too. No wait is
longer than `LONGEST_SECONDS`.
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
from ..backend.exchange import exchange
from .certificates import certificate_fix, why_refused
from .findings import Finding, fault

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..backend.client import Command
    from ..settings import Address, Settings

LONGEST_SECONDS = 1.5
"""The limit of one wait, whatever the settings say, because an administrator waits at a terminal."""
LOOK_SECONDS = 4.0
"""The limit of all commands to one server together."""

Kind = Literal["REDIS", "REDIS_SENTINEL"]
CHECKS: Mapping[Kind, Mapping[str, str]] = {
    "REDIS": {"tls": "server-tls", "credentials": "server-credentials", "loading": "loading", "else": "server-unreachable"},
    "REDIS_SENTINEL": {"tls": "sentinel-tls", "credentials": "sentinel-credentials", "else": "sentinel-unreachable"},
}
"""The name of a finding, by its cause (`Unreached.cause`)."""


class Unreached(Exception):
    """A server or a Sentinel could not be asked. `what`: what happened. `fix`: what to do.

    `cause`: tls, credentials, loading, name (it does not resolve), silent (a time-out), refused, or odd (anything else).
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
    def noun(self) -> str:
        """What it connects to, in words."""
        return "server" if self.kind == "REDIS" else "Sentinel"

    @property
    def user(self) -> str:
        """The ACL user that it signs in as."""
        return self.dialer.username or "default"

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
        connection = None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                connection = await self.dialer.dial(address)
                yield connection
        except (RedisError, OSError, TimeoutError) as error:
            raise await self._explained(address, error) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            what = f"its reply is not that of a {self.noun} ({type(error).__name__})"
            raise Unreached("odd", what, f"check that a {self.noun} of Redis 7 or Valkey listens there") from error
        finally:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def unreached(self, where: str, why: Unreached) -> Finding:
        """The finding for a failed connection."""
        names = CHECKS[self.kind]
        return fault(names.get(why.cause, names["else"]), where, why.what, why.fix)

    async def ask(self, connection: AbstractConnection, *commands: Command) -> list[Any]:
        """The replies, in the order of the commands. An error reply is returned, not raised."""
        return await exchange(connection, commands, self.dialer.read_timeout)

    async def _explained(self, address: Address | None, error: BaseException) -> Unreached:
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, ssl.SSLError):
                fix = await certificate_fix(cause, address, self.kind, self.settings)
                return Unreached("tls", f"TLS fails: {why_refused(cause)}", fix)
        if any(isinstance(cause, (TimeoutError, RedisTimeoutError)) for cause in causes):
            waits = f"{self.dialer.dial_timeout:g} s to connect, {self.dialer.read_timeout:g} s to answer"
            return Unreached(
                "silent",
                f"it does not answer in time ({waits})",
                "check that it runs and does not hang, that no firewall drops the packets, and how long a round trip takes",
            )
        return self._by_reply(error) or self._by_system(causes[-1], address)

    def _by_reply(self, error: BaseException) -> Unreached | None:
        text = str(error)
        if isinstance(error, BusyLoadingError):
            return Unreached(
                "loading",
                "it is loading its data from disk and does not answer commands yet",
                "wait until it has loaded, and run the doctor again",
            )
        if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)) or text.startswith(
            ("WRONGPASS", "NOAUTH", "NOPERM")
        ):
            given = (
                f"user {self.user} with the configured password"
                if self.dialer.password is not None
                else "a client without a password"
            )
            return Unreached(
                "credentials",
                f"it refuses {given}",
                f"set {self.kind}_USERNAME and {self.kind}_PASSWORD to a user in its ACL; every {self.noun} must have that user",
            )
        if "max number of clients" in text:
            return Unreached(
                "odd",
                "it has as many clients as maxclients allows, and refuses this one",
                "raise maxclients, or find out which clients open so many connections",
            )
        if text.startswith("DENIED"):
            return Unreached(
                "odd", "protected mode refuses this host, because the server has no password and is bound to no address",
                "give it users with passwords (deploy/users.acl), or bind it to an address of your network",
            )  # fmt: skip
        if "DB index" in text:
            return Unreached(
                "odd", f"database {self.dialer.database} does not exist", "correct REDIS_DB, or raise `databases` in redis.conf"
            )
        if isinstance(error, ResponseError):
            return Unreached("odd", f"it replies {text!r}", f"check that a {self.noun} of Redis 7 or Valkey listens there")
        return None

    def _by_system(self, root: BaseException, address: Address | None) -> Unreached:
        if isinstance(root, socket.gaierror):
            host = address.host if address is not None else "its name"
            if root.errno == socket.EAI_AGAIN:
                return Unreached(
                    "name",
                    f"DNS does not answer for the name {host}",
                    "check the name servers of this host (/etc/resolv.conf), and that no firewall drops what they reply",
                )
            return Unreached(
                "name", f"the name {host} does not resolve here", "correct the name, or correct DNS or /etc/hosts on this host"
            )
        if isinstance(root, ConnectionRefusedError) or "Connect call failed" in str(
            root
        ):  # asyncio says the second if a name has several addresses
            return Unreached("refused", "nothing listens there (connection refused)", "start it, or correct its address")
        if isinstance(root, OSError) and root.strerror and not isinstance(root, ConnectionError):
            return Unreached("refused", f"it cannot be reached: {root.strerror}", "start it, or correct its address")
        tls = (
            f"unset {self.kind}_TLS if the {self.noun} does not use TLS"
            if self.dialer.tls is not None
            else f"set {self.kind}_TLS if the {self.noun} uses TLS"
        )
        return Unreached(
            "odd",
            "it closes the connection at once",
            f"check that a {self.noun} runs there, not only a proxy in front of one; {tls}",
        )


def _bounded(dialer: Dialer) -> Dialer:
    return replace(
        dialer,
        dial_timeout=min(dialer.dial_timeout, LONGEST_SECONDS),
        read_timeout=min(dialer.read_timeout, LONGEST_SECONDS),
        protocol=3,  # In RESP3 the reply to CONFIG GET is a mapping.
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The error, then the errors that caused it, the first cause last."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(inner)
    return causes
