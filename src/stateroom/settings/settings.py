"""Every setting, in one class: from the environment, `.env`, or a file that `NAME_FILE` names.

Names are those of the environment (`REDIS_HOST`), in lower case here (`settings.redis_host`).
A setting that is missing or wrong raises `SettingsError`, whose one line names the setting, what is wrong
and the mend, and never holds a secret. There is no default secret.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ..errors import SettingsError
from .checks import check_together
from .sources import FromFiles
from .values import (
    Addresses,
    AnyCase,
    Capitalised,
    CookieDomain,
    CookieName,
    CookiePath,
    ExistingFile,
    Folder,
    Host,
    JwtKeys,
    KeyPrefix,
    Keys,
    LoginUrl,
    Networks,
    Origins,
    Port,
    ReturnHosts,
    Seconds,
    ServerPort,
    Wait,
    WholeSeconds,
    decode_cookie_key,
)
from .wording import first_problem

DEFAULT_LEASE_SECONDS = 0.5
SHORTEST_LEASE_SECONDS = 0.4
"""A shorter lease would be over before the journal is read twice (sessions/protocol/lease.py)."""

RedisMode = Literal["embedded", "single", "sentinel", "cluster"]
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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
    host: Host = "127.0.0.1"
    port: Port = 8080
    metrics_host: Host | None = Field(default=None, examples=["127.0.0.1"])
    metrics_port: Port | None = Field(default=None, examples=[9090])
    metrics_token: SecretStr | None = None
    trusted_proxies: Networks = ()
    public_origins: Origins = ()
    return_hosts: ReturnHosts = ()
    login_url: LoginUrl = "/login"
    cors_origins: Origins = ()

    # Redis
    redis_mode: Annotated[RedisMode, AnyCase] = "embedded"
    redis_url: SecretStr | None = None
    redis_host: Host = "localhost"
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
    redis_tls_ca: ExistingFile | None = None
    redis_tls_cert: ExistingFile | None = None
    redis_tls_key: ExistingFile | None = None
    redis_tls_server_name: str | None = None
    redis_sentinel_tls: bool | None = None
    redis_sentinel_tls_ca: ExistingFile | None = None
    redis_sentinel_tls_cert: ExistingFile | None = None
    redis_sentinel_tls_key: ExistingFile | None = None
    redis_sentinel_tls_server_name: str | None = None
    redis_key_prefix: KeyPrefix = "session"
    redis_pool_size: Annotated[int, Field(ge=1, le=10_000)] = 20
    redis_min_idle: Annotated[int, Field(ge=0)] = 2
    redis_dial_timeout: Wait = 0.5
    redis_read_timeout: Wait = 0.5
    redis_write_timeout: Wait = 0.5
    redis_write_replicas: Annotated[int, Field(ge=0)] | None = Field(default=None, examples=[1])
    redis_write_replicas_timeout: Wait = 0.1

    # Sessions
    session_name: CookieName | None = None
    session_max_age: WholeSeconds = 3600
    session_absolute_max_age: WholeSeconds = 43200
    session_renew_interval: Seconds | None = Field(default=None, examples=[60])
    session_remember_max_age: WholeSeconds = 2_592_000
    session_address: Annotated[Literal["full", "truncated", "off"], AnyCase] = "full"
    session_cache_max_age: Delay = 0
    session_max_per_user: Annotated[int, Field(ge=0)] = 0
    session_max_bytes: Annotated[int, Field(ge=1)] = 16384

    # Cookies
    cookie_keys: Keys = ()
    cookie_secure: bool | None = None
    cookie_domain: CookieDomain | None = None
    cookie_path: CookiePath = "/"
    cookie_samesite: Annotated[Literal["Strict", "Lax", "None"], Capitalised] = "Strict"

    # State
    database_url: SecretStr | None = None
    journal_required: bool = False
    journal_lease: Annotated[float, Field(ge=SHORTEST_LEASE_SECONDS, le=10)] = DEFAULT_LEASE_SECONDS
    state_dir: Folder = Path("var")
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
    geoip_database: ExistingFile | None = None

    # Process
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = "info"
    log_format: Annotated[Literal["json", "console"], AnyCase] | None = None
    drain_delay: Delay = 0

    # Tokens
    jwt_keys: JwtKeys = ()
    jwt_max_age: WholeSeconds = 300
    jwt_issuer: str = "stateroom"
    jwt_audience: str = "stateroom"

    def __init__(self, **values: Any) -> None:
        _refuse_unknown(values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(first_problem(error, type(self).model_fields)) from None
        except (UnicodeDecodeError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SettingsError(f".env cannot be read: {reason}; mend it or move it away") from None
        check_together(self)

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
        dotenv = getattr(dotenv_settings, "env_vars", {})
        return (init_settings, env_settings, FromFiles(settings_cls, dotenv), dotenv_settings)

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
        if "degraded_max_age" not in given:
            fill["degraded_max_age"] = min(self.degraded_max_age, self.session_max_age)
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


def _refuse_unknown(values: dict[str, Any]) -> None:
    """The environment holds much that is not ours; what code says is meant for us, and a slip would go unnoticed."""
    for name in values:
        if name not in Settings.model_fields and not name.startswith("_"):
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            mend = f"did you mean {near[0].upper()}?" if near else "the README lists the settings"
            raise SettingsError(f"{name.upper()} is not a setting of Stateroom; {mend}")
