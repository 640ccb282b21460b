"""Every setting, in one class: from the environment, `.env`, or a file that `NAME_FILE` names.

Names are those of the environment (`REDIS_HOST`), in lower case here (`settings.redis_host`).
A setting that is missing or wrong raises `SettingsError`, whose one line names the setting, what is wrong
and the mend, and never holds a secret. There is no default secret.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import SettingsError

RedisMode = Literal["embedded", "single", "sentinel", "cluster"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

COOKIE_KEY_BYTES = 32
JWT_KEY_MIN_BYTES = 32
FOREIGN_COOKIE_SETTINGS = ("COOKIE_HASH_KEY", "COOKIE_BLOCK_KEY")


class Address(NamedTuple):
    """A host and a port; IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """`host:port` or `[::1]:port`. Raises `ValueError` with the mend."""
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError(f"write the IPv6 address in brackets: [{text}]:{default_port or 'port'}")
    if not host or parts.path or parts.username or (port or default_port) is None:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:26379 or [::1]:26379")
    return Address(host, port or default_port or 0)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _addresses(value: object) -> object:
    parts = _split(value)
    if isinstance(parts, (tuple, list)):
        return tuple(parse_address(p) if isinstance(p, str) else Address(*p) for p in parts)
    return parts


def _networks(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, (tuple, list)):
        return parts
    networks = []
    for part in parts:
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is not a network; write for example 10.0.0.0/8 or ::1/128") from None
    return tuple(networks)


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"{text!r} is not an origin; write for example https://app.example.com")
    return f"{parts.scheme}://{parts.netloc}".lower()


def decode_cookie_key(text: str) -> bytes:
    """A cookie key as `stateroom keys` prints it: 32 bytes, base64url. Raises `ValueError`."""
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != COOKIE_KEY_BYTES:
        raise ValueError("a key is not 32 bytes of base64url; make one with `stateroom keys`")
    return key


def _cookie_keys(value: object) -> object:
    raw = value.get_secret_value() if isinstance(value, SecretStr) else value
    parts = _split(raw)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            decode_cookie_key(part.get_secret_value() if isinstance(part, SecretStr) else part)
    return parts


def _jwt_keys(value: object) -> object:
    parts = _split(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            text = part.get_secret_value() if isinstance(part, SecretStr) else part
            if len(text.encode()) < JWT_KEY_MIN_BYTES:
                raise ValueError("a key is shorter than 32 bytes; make one with `stateroom keys`")
    return parts


def _cookie_name(name: str) -> str:
    if not name or any(c in '()<>@,;:\\"/[]?={} \t' or not 32 < ord(c) < 127 for c in name):
        raise ValueError("has characters that a cookie name cannot have; use letters, digits, - and _")
    return name


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
ServerPort = Annotated[int, Field(ge=1, le=65535)]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_cookie_keys)]
JwtKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_jwt_keys)]


class _FromFiles(EnvSettingsSource):
    """Reads a setting from the file that `NAME_FILE` names, as container secrets are handed over."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        name = field_name.upper()
        path = os.environ.get(f"{name}_FILE")
        if not path:
            return None, field_name, False
        if os.environ.get(name):
            raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise SettingsError(f"{name}_FILE: {path} cannot be read: {reason}") from None


class Settings(BaseSettings):
    """What the environment says. Build one with `Settings.load()`, or with keyword arguments in code."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # Listeners
    host: str = "127.0.0.1"
    port: Port = 8080
    metrics_host: str | None = None
    metrics_port: Port | None = None
    metrics_token: SecretStr | None = None
    trusted_proxies: Networks = ()
    public_origins: Origins = ()
    return_hosts: Names = ()
    login_url: str = "/login"
    cors_origins: Origins = ()

    # Redis
    redis_mode: RedisMode = "embedded"
    redis_url: SecretStr | None = None
    redis_host: str = "localhost"
    redis_port: ServerPort = 6379
    redis_db: Annotated[int, Field(ge=0)] = 0
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_sentinels: Addresses = ()
    redis_master_name: str = "mymaster"
    redis_sentinel_username: str | None = None
    redis_sentinel_password: SecretStr | None = None
    redis_cluster_nodes: Addresses = ()
    redis_tls: bool = False
    redis_tls_ca: Path | None = None
    redis_tls_cert: Path | None = None
    redis_tls_key: Path | None = None
    redis_tls_server_name: str | None = None
    redis_sentinel_tls: bool | None = None
    redis_sentinel_tls_ca: Path | None = None
    redis_sentinel_tls_cert: Path | None = None
    redis_sentinel_tls_key: Path | None = None
    redis_sentinel_tls_server_name: str | None = None
    redis_key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] = "session"
    redis_pool_size: Annotated[int, Field(ge=1, le=10_000)] = 20
    redis_min_idle: Annotated[int, Field(ge=0)] = 2
    redis_dial_timeout: Seconds = 0.5
    redis_read_timeout: Seconds = 0.5
    redis_write_timeout: Seconds = 0.5
    redis_write_replicas: Annotated[int, Field(ge=0)] | None = None
    redis_write_replicas_timeout: Seconds = 0.1

    # Sessions
    session_name: Annotated[str, AfterValidator(_cookie_name)] | None = None
    session_max_age: WholeSeconds = 3600
    session_absolute_max_age: WholeSeconds = 43200
    session_renew_interval: Seconds | None = None
    session_remember_max_age: WholeSeconds = 2_592_000
    session_address: Literal["full", "truncated", "off"] = "full"
    session_cache_max_age: Annotated[float, Field(ge=0)] = 0
    session_max_per_user: Annotated[int, Field(ge=0)] = 0
    session_max_bytes: Annotated[int, Field(ge=1)] = 16384

    # Cookies
    cookie_keys: Keys = ()
    cookie_secure: bool | None = None
    cookie_domain: str | None = None
    cookie_path: Annotated[str, Field(pattern=r"^/[^;\s]*$")] = "/"
    cookie_samesite: Literal["Strict", "Lax", "None"] = "Strict"

    # State
    database_url: SecretStr | None = None
    journal_required: bool = False
    state_dir: Path = Path("var")
    degraded_max_age: Annotated[int, Field(ge=0)] = 300

    # Accounts
    password_min_length: Annotated[int, Field(ge=1, le=1024)] = 8
    password_blocklist: str | None = None
    bcrypt_rounds: Annotated[int, Field(ge=4, le=31)] = 12
    password_pepper: SecretStr | None = None
    fresh_max_age: WholeSeconds = 900
    login_attempts: Annotated[int, Field(ge=1)] = 10
    login_attempts_per_address: Annotated[int, Field(ge=1)] = 100
    login_window: WholeSeconds = 300
    geoip_database: Path | None = None

    # Process
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] | None = None
    drain_delay: Annotated[float, Field(ge=0)] = 0

    # Tokens
    jwt_keys: JwtKeys = ()
    jwt_max_age: WholeSeconds = 300
    jwt_issuer: str = "stateroom"
    jwt_audience: str = "stateroom"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_first_problem(error)) from None
        self._check()

    @classmethod
    def load(cls) -> Self:
        """Settings of this process. Raises `SettingsError`."""
        return cls()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _FromFiles(settings_cls), dotenv_settings)

    def model_post_init(self, context: Any, /) -> None:
        """Fill in what other settings imply."""
        given = self.model_fields_set
        fill = self.__dict__
        if "redis_mode" not in given:
            fill["redis_mode"] = self._implied_mode()
        if self.redis_write_replicas is None:
            fill["redis_write_replicas"] = 1 if self.redis_mode == "sentinel" else 0
        if self.session_renew_interval is None:
            fill["session_renew_interval"] = min(60.0, self.session_max_age / 10)
        if self.session_name is None:
            fill["session_name"] = self._implied_cookie_name()
        if self.redis_sentinel_tls is None:
            fill["redis_sentinel_tls"] = self.redis_tls
        for part in ("ca", "cert", "key", "server_name"):
            if fill[f"redis_sentinel_tls_{part}"] is None:
                fill[f"redis_sentinel_tls_{part}"] = fill[f"redis_tls_{part}"]

    def _implied_mode(self) -> RedisMode:
        if self.redis_sentinels:
            return "sentinel"
        if self.redis_cluster_nodes:
            return "cluster"
        if self.model_fields_set & {"redis_url", "redis_host", "redis_port"}:
            return "single"
        return "embedded"

    def _implied_cookie_name(self) -> str:
        if not self.is_cookie_secure:
            return "session_id"
        if self.cookie_domain or self.cookie_path != "/":
            return "__Secure-session"
        return "__Host-session"

    @property
    def is_embedded(self) -> bool:
        return self.redis_mode == "embedded"

    @property
    def is_cookie_secure(self) -> bool:
        """Whether cookies carry `Secure` from the first request on."""
        return not self.is_embedded if self.cookie_secure is None else self.cookie_secure

    @property
    def has_database(self) -> bool:
        """False with `DATABASE_URL=none`: library use without accounts and journal."""
        return self.database_url is None or self.database_url.get_secret_value().lower() != "none"

    @property
    def key_ring(self) -> tuple[bytes, ...]:
        """The cookie keys as bytes, the sealing one first."""
        return tuple(decode_cookie_key(key.get_secret_value()) for key in self.cookie_keys)

    def _check(self) -> None:
        """What no single field can tell."""
        for name in FOREIGN_COOKIE_SETTINGS:
            if os.environ.get(name):
                raise SettingsError(f"{name} is not a setting of Stateroom; make a key with `stateroom keys` and set COOKIE_KEYS")
        self._check_redis()
        self._check_cookies()
        if self.database_url is None and self.redis_mode in {"sentinel", "cluster"}:
            raise SettingsError(
                f"DATABASE_URL must be set with REDIS_MODE={self.redis_mode}: hosts must share users and the revocation "
                "journal; for example postgresql://user@host/stateroom, or none for library use without them"
            )
        if self.session_max_age > self.session_absolute_max_age:
            raise SettingsError("SESSION_MAX_AGE is longer than SESSION_ABSOLUTE_MAX_AGE; raise the latter or lower the former")
        if self.session_renew_interval and self.session_renew_interval >= self.session_max_age:
            raise SettingsError("SESSION_RENEW_INTERVAL must be shorter than SESSION_MAX_AGE; leave it unset for a tenth of it")
        if self.degraded_max_age > self.session_max_age:
            if "degraded_max_age" in self.model_fields_set:
                raise SettingsError("DEGRADED_MAX_AGE is longer than SESSION_MAX_AGE; lower it")
            self.__dict__["degraded_max_age"] = self.session_max_age
        if (self.metrics_host is None) != (self.metrics_port is None):
            raise SettingsError("METRICS_HOST and METRICS_PORT go together; set both or neither")
        for name in (
            "redis_tls_ca",
            "redis_tls_cert",
            "redis_tls_key",
            "geoip_database",
            "redis_sentinel_tls_ca",
            "redis_sentinel_tls_cert",
            "redis_sentinel_tls_key",
        ):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(f"{name.upper()}: there is no file {path}")

    def _check_redis(self) -> None:
        if self.redis_mode == "sentinel" and not self.redis_sentinels:
            raise SettingsError("REDIS_SENTINELS must be set with REDIS_MODE=sentinel; for example 10.0.0.1:26379, 10.0.0.2:26379")
        if self.redis_mode == "cluster" and not self.redis_cluster_nodes:
            raise SettingsError("REDIS_CLUSTER_NODES must be set with REDIS_MODE=cluster; for example 10.0.0.1:6379, 10.0.0.2:6379")
        if self.redis_mode == "cluster" and self.redis_db:
            raise SettingsError("REDIS_DB must be 0 with REDIS_MODE=cluster: a Cluster has one database")
        if self.redis_min_idle > self.redis_pool_size:
            raise SettingsError("REDIS_MIN_IDLE is larger than REDIS_POOL_SIZE; lower it")
        if self.redis_url is not None:
            parts = urlsplit(self.redis_url.get_secret_value())
            if parts.scheme not in {"redis", "rediss", "unix"}:
                raise SettingsError("REDIS_URL must begin with redis://, rediss:// or unix://")
            if self.redis_mode != "single":
                raise SettingsError(f"REDIS_URL names a single server, but REDIS_MODE is {self.redis_mode}; unset one of them")

    def _check_cookies(self) -> None:
        name, secure = self.session_name or "", self.is_cookie_secure
        if name.startswith("__Host-") and self.cookie_domain:
            raise SettingsError("SESSION_NAME begins with __Host-, which forbids COOKIE_DOMAIN; unset it or use a __Secure- name")
        if name.startswith("__Host-") and self.cookie_path != "/":
            raise SettingsError("SESSION_NAME begins with __Host-, which needs COOKIE_PATH=/; use a __Secure- name")
        if name.startswith(("__Host-", "__Secure-")) and not secure:
            raise SettingsError(f"SESSION_NAME {name} needs COOKIE_SECURE=true; browsers drop it otherwise")
        if self.cookie_samesite == "None" and not secure:
            raise SettingsError("COOKIE_SAMESITE=None needs COOKIE_SECURE=true; browsers drop the cookie otherwise")
        if not self.cookie_keys and not self.is_embedded:
            raise SettingsError("COOKIE_KEYS must be set; make a key with `stateroom keys` and give the same to every host")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"
