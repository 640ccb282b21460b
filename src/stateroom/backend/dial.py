"""Makes a connection to one server: address, credentials, TLS, time-outs.

redis-py connects, but without its retries. By default it retries silently ten times with five seconds each, which would
turn a short fault into an outage. The socket is ours (`network/`): a name that DNS does not answer delays no other, and of
several addresses those that work are used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ..errors import SettingsError
from ..insides.of_redis import ContextConnection, SocketConnection
from ..network.sockets import OPENER, SocketOpener
from ..settings import Address, Settings, SettingsFiles
from .handshake import explain, refuses_resp3

if TYPE_CHECKING:
    from pydantic import SecretStr


class IsReplica(RedisConnectionError):
    """A server that must be a primary is a replica."""

    def __init__(self) -> None:
        super().__init__("the server is a replica")


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to a server. `server_name`: the name to check in the certificate, if it is not the address.

    `has_certificate`: whether we have a client certificate.
    `asked_by`: the settings that ask for TLS. REDIS_URL asks for it if it begins with rediss://.
    """

    context: ssl.SSLContext
    server_name: str | None = None
    has_certificate: bool = False
    asked_by: tuple[str, ...] = ()

    @classmethod
    def of(cls, prefix: str, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> Tls:
        """Load the files. `prefix`: how the names of their settings begin. Raises `SettingsError`."""
        try:
            context = ssl.create_default_context(cafile=ca)
            if cert is not None:
                context.load_cert_chain(cert, key, password=_refuse_pass_phrase(prefix))
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"{prefix}_CA, {prefix}_CERT or {prefix}_KEY cannot be used: {error.strerror or error}; "
                "name PEM files that belong together"
            ) from None
        return cls(context, server_name, cert is not None)


@dataclass(frozen=True, slots=True)
class Dialer:
    """Makes connections with the same credentials, TLS and time-outs. Times are in seconds.

    `prefix`: how the names of its settings begin, REDIS or REDIS_SENTINEL.

    `protocol`: the version of RESP. Only version 3 lets the server push messages. Its mappings cost hiredis 2 us more for
    each load of a session.
    """

    dial_timeout: float
    read_timeout: float
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: Tls | None = None
    unix_path: str | None = None
    address: Address | None = None
    protocol: int = 3
    opener: SocketOpener = field(default=OPENER, repr=False)
    prefix: Literal["REDIS", "REDIS_SENTINEL"] = "REDIS"

    @property
    def present(self) -> Dialer:
        """This dialer: its settings never change."""
        return self

    @property
    def noun(self) -> str:
        """What it connects to, in words."""
        return "server" if self.prefix == "REDIS" else "Sentinel"

    @property
    def user(self) -> str:
        """The ACL user that it signs in as."""
        return self.username or "default"

    @classmethod
    def to_servers(cls, settings: Settings) -> Dialer:
        """A dialer to the servers that hold sessions. Raises `SettingsError`."""
        tls = None
        by_url = settings.redis_url is not None and settings.redis_url.get_secret_value().startswith("rediss:")
        if settings.redis_tls or by_url:
            tls = Tls.of(
                "REDIS_TLS", settings.redis_tls_ca, settings.redis_tls_cert, settings.redis_tls_key, settings.redis_tls_server_name
            )
            tls = replace(tls, asked_by=("REDIS_TLS",) * settings.redis_tls + ("REDIS_URL",) * by_url)
        dialer = cls(
            settings.redis_dial_timeout,
            settings.redis_read_timeout,
            settings.redis_username,
            _secret(settings.redis_password),
            settings.redis_db,
            tls,
            address=Address(settings.redis_host, settings.redis_port),
            protocol=resp_version(settings),
        )
        return dialer if settings.redis_url is None else dialer._at_url(settings.redis_url.get_secret_value())

    @classmethod
    def to_sentinels(cls, settings: Settings) -> Dialer:
        """A dialer to the Sentinels, which have their own credentials and TLS. Raises `SettingsError`."""
        tls = None
        if settings.redis_sentinel_tls:
            tls = Tls.of(
                "REDIS_SENTINEL_TLS", settings.redis_sentinel_tls_ca, settings.redis_sentinel_tls_cert,
                settings.redis_sentinel_tls_key, settings.redis_sentinel_tls_server_name,
            )  # fmt: skip
            is_own = "redis_sentinel_tls" in settings.model_fields_set
            tls = replace(tls, asked_by=("REDIS_SENTINEL_TLS" if is_own else "REDIS_TLS",))
        return cls(
            settings.redis_dial_timeout,
            settings.redis_read_timeout,
            settings.redis_sentinel_username,
            _secret(settings.redis_sentinel_password),
            tls=tls,
            prefix="REDIS_SENTINEL",
        )

    async def dial(self, address: Address | None = None, *, must_be_primary: bool = False) -> AbstractConnection:
        """Connect, do the handshake, and return the connection. Raises redis-py's errors.

        `must_be_primary`: ask for the server's role and refuse a replica. A demoted server still answers reads.
        """
        connection = self._make(address or self.address)
        try:
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
            except RedisError as error:
                explained = explain(error, self.database)
                if explained is error:
                    raise
                raise explained from error
            if must_be_primary:
                await self._check_role(connection)
        except BaseException as error:
            if isinstance(error, Exception):  # A caller that does not wait any longer says nothing about the server.
                self._judge(connection, is_good=False)
            await connection.disconnect(nowait=True)
            raise
        self._judge(connection, is_good=True)
        return connection

    def _judge(self, connection: AbstractConnection, *, is_good: bool) -> None:
        """Tell which of the host's addresses to begin with next time."""
        if isinstance(connection, SocketConnection) and connection.address is not None:
            (self.opener.worked if is_good else self.opener.failed)(connection.host, connection.address)

    @staticmethod
    async def _check_role(connection: AbstractConnection) -> None:
        await connection.send_command("ROLE", check_health=False)
        role = await connection.read_response()
        if role[0] != b"master":
            raise IsReplica

    def _make(self, address: Address | None) -> AbstractConnection:
        options: dict[str, Any] = {
            "username": self.username,
            "password": self.password,
            "db": self.database,
            "protocol": self.protocol,
            "socket_timeout": self.read_timeout,
            "socket_connect_timeout": self.dial_timeout,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
        }
        if self.unix_path is not None:
            return UnixDomainSocketConnection(path=self.unix_path, **options)
        assert address is not None, "a TCP connection needs an address"
        options |= {"host": address.host, "port": address.port, "open_socket": self.opener.open}
        if self.tls is not None:
            return ContextConnection(context=self.tls.context, server_name=self.tls.server_name, **options)
        return SocketConnection(**options)

    def _at_url(self, url: str) -> Dialer:
        """This dialer, changed by a `REDIS_URL`. The URL takes precedence over single settings. Raises `SettingsError`."""
        parts = urlsplit(url)
        database = self.database
        path = parts.path.strip("/")
        if parts.scheme != "unix" and path:
            if not path.isdecimal():
                raise SettingsError("REDIS_URL: the path must be the number of the database; for example redis://host:6379/0")
            database = int(path)
        try:
            port = parts.port or 6379
        except ValueError:
            raise SettingsError("REDIS_URL: the port is not a number from 1 to 65535; for example redis://host:6379/0") from None
        dialer = replace(
            self,
            username=unquote(parts.username) if parts.username else self.username,
            password=unquote(parts.password) if parts.password else self.password,
            database=database,
        )
        if parts.scheme == "unix":
            return replace(dialer, unix_path=unquote(parts.path))
        return replace(dialer, address=Address(unquote(parts.hostname or "localhost"), port))


class LiveDialer:
    """A dialer that looks for changed files before each connection. `make`: `Dialer.to_servers` or `Dialer.to_sentinels`."""

    def __init__(self, make: Callable[[Settings], Dialer], prefix: str, settings: Settings, files: SettingsFiles | None) -> None:
        self._make = make
        self._dialer = make(settings)
        self._files = files
        if files is not None:
            files.on_change([name for name in Settings.model_fields if name.startswith(prefix)], self._replace)

    @property
    def present(self) -> Dialer:
        """The dialer with the present settings."""
        return self._dialer

    @property
    def dial_timeout(self) -> float:
        return self._dialer.dial_timeout

    @property
    def read_timeout(self) -> float:
        return self._dialer.read_timeout

    async def dial(self, address: Address | None = None, *, must_be_primary: bool = False) -> AbstractConnection:
        """`Dialer.dial` with the present credentials and certificates. A server without RESP3 is dialled with RESP2."""
        if self._files is not None:
            self._files.look()
        dialer = self._dialer
        try:
            return await dialer.dial(address, must_be_primary=must_be_primary)
        except RedisError as error:
            if dialer.protocol == 2 or not refuses_resp3(error):
                raise
            return await replace(dialer, protocol=2).dial(address, must_be_primary=must_be_primary)

    def _replace(self, settings: Settings) -> None:
        self._dialer = self._make(settings)


def _refuse_pass_phrase(prefix: str) -> Callable[[], str]:
    """OpenSSL calls the function for a key with a pass phrase. Without one it would ask at the terminal."""

    def refuse() -> str:
        raise SettingsError(f"{prefix}_KEY: the key has a pass phrase, which a service cannot enter; name a key without one")

    return refuse


def resp_version(settings: Settings) -> int:
    """The version of RESP for servers that hold sessions. The near cache needs version 3, for invalidation messages."""
    return 3 if settings.session_cache_max_age else 2


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
