"""Every setting with its type and its default, in one class.

The names are those of the environment (`REDIS_HOST`) in lower case (`settings.redis_host`). No secret has a default. The
type of a setting includes None only if None has a meaning of its own. `implied.py` replaces the defaults that depend on
other settings. docs/settings.md describes each setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..addresses import is_loopback_name
from .cookie_places import FormerCookies
from .durations import Delay, Seconds, Wait, WholeDelay, WholeSeconds
from .keys import CookieKeys, JwtKeys, decode_cookie_key
from .mail import MailFrom, MailUrl
from .places import Addresses, Host, LoginUrl, Networks, Origins, Port, PublicUrl, ServerPort
from .return_hosts import ReturnHosts
from .values import AnyCase, Capitalised, CookieDomain, CookieName, CookiePath, DeploymentName, ExistingFile, Folder, KeyPrefix

DEFAULT_LEASE_SECONDS = 0.5
SHORTEST_LEASE_SECONDS = 0.4
"""A shorter lease fits round trips within one region only (intervals.py)."""
LONGEST_LEASE_SECONDS = 10
"""A sign-out may take this long, and clients and proxies give up soon after."""

RedisMode = Literal["embedded", "single", "sentinel", "cluster"]


class SettingsFields(BaseSettings):
    """The settings without their sources and without the checks between them; `Settings` adds both."""

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
    metrics_port: Port | None = Field(default=None, examples=[9464])
    metrics_token: SecretStr | None = None
    trusted_proxies: Networks = ()
    public_origins: Origins = ()
    return_hosts: ReturnHosts = ()
    login_url: LoginUrl = "/login"
    public_url: PublicUrl | None = Field(default=None, examples=["https://example.com"])
    cors_origins: Origins = ()
    header_max_bytes: Annotated[int, Field(ge=8190, le=65536)] = 16384
    hsts_max_age: WholeDelay = 63_072_000
    hsts_subdomains: bool = False

    # Forward auth
    access_rules_file: ExistingFile | None = None
    access_default: Annotated[Literal["nobody", "signed-in"], AnyCase] = "nobody"
    forward_auth_proxy: Annotated[Literal["nginx", "traefik", "caddy", "haproxy", "envoy"], AnyCase] | None = Field(
        default=None, examples=["nginx"]
    )

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
    redis_sentinel_tls: bool = False
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
    redis_write_replicas: Annotated[int, Field(ge=0)] = 0
    redis_write_replicas_timeout: Wait = 0.1

    # Sessions
    session_name: CookieName = "session_id"
    session_max_age: WholeSeconds = 3600
    session_absolute_max_age: WholeSeconds = 43200
    session_renew_interval: Seconds = 60
    session_remember_max_age: WholeSeconds = 2_592_000
    session_address: Annotated[Literal["full", "truncated", "off"], AnyCase] = "full"
    session_cache_max_age: Delay = 0
    session_max_per_user: Annotated[int, Field(ge=0)] = 0
    session_max_bytes: Annotated[int, Field(ge=1)] = 16384
    session_changes_per_user: Annotated[int, Field(ge=0)] = 300
    session_changes_per_address: Annotated[int, Field(ge=0)] = 30_000
    session_changes_window: WholeSeconds = 300

    # Cookies
    cookie_keys: CookieKeys = ()
    cookie_secure: bool | None = None
    cookie_domain: CookieDomain | None = None
    cookie_path: CookiePath = "/"
    cookie_format: Annotated[int, Field(ge=1, le=2)] = 2
    cookie_samesite: Annotated[Literal["Strict", "Lax", "None"], Capitalised] = "Strict"
    cookie_partitioned: bool = False
    cookie_former: FormerCookies = ()

    # State
    deployment: DeploymentName = ""
    database_url: SecretStr | None = None
    journal_required: bool = False
    journal_lease: Annotated[Seconds, Field(ge=SHORTEST_LEASE_SECONDS, le=LONGEST_LEASE_SECONDS)] = DEFAULT_LEASE_SECONDS
    state_dir: Folder = Path("var")
    degraded_max_age: WholeDelay = 300

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
    registration: Annotated[Literal["open", "invited", "closed"], AnyCase] = "open"
    email_verification: Annotated[Literal["off", "optional", "required"], AnyCase] = "off"

    # Mail
    mail_url: MailUrl | None = None
    mail_from: MailFrom | None = None
    mail_tls_ca: ExistingFile | None = None
    mail_requests: Annotated[int, Field(ge=1)] = 5
    mail_requests_per_address: Annotated[int, Field(ge=1)] = 50
    mail_requests_window: WholeSeconds = 3600

    # Process
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = "info"
    log_format: Annotated[Literal["json", "console"], AnyCase] | None = None
    drain_delay: Delay = 0
    worker_timeout: Annotated[Seconds, Field(ge=5)] = 20

    # Tokens
    jwt_keys: JwtKeys = ()
    jwt_max_age: WholeSeconds = 300
    jwt_issuer: str = "stateroom"
    jwt_audience: str = "stateroom"

    @property
    def is_embedded(self) -> bool:
        return self.redis_mode == "embedded"

    @property
    def has_demo_user(self) -> bool:
        """Whether there is a demo user, whose password is public. It exists only in embedded mode on a loopback address."""
        return self.is_embedded and is_loopback_name(self.host)

    @property
    def own_origins(self) -> tuple[str, ...]:
        """The origins at which browsers reach us, as far as the settings name them: that of `PUBLIC_URL`, then `PUBLIC_ORIGINS`."""
        own = (self.public_origin,) if "public_url" in self.model_fields_set and self.public_origin else ()
        return (*own, *(each for each in self.public_origins if each not in own))

    @property
    def is_cookie_secure(self) -> bool:
        """Whether cookies have `Secure` from the first request on."""
        return not self.is_embedded if self.cookie_secure is None else self.cookie_secure

    @property
    def public_origin(self) -> str:
        """The origin of `PUBLIC_URL`; empty if that is unset."""
        return "/".join((self.public_url or "").split("/")[:3])

    @property
    def public_path(self) -> str:
        """The path of `PUBLIC_URL`, without a slash at its end; empty if it has none."""
        return (self.public_url or "")[len(self.public_origin) :]

    @property
    def has_database(self) -> bool:
        """False with `DATABASE_URL=none`, which is for library use without accounts and journal."""
        return self.database_url is None or self.database_url.get_secret_value().lower() != "none"

    @property
    def has_mail(self) -> bool:
        """Whether mails are sent, or written to a folder."""
        return self.mail_url is not None

    @property
    def longest_session_ms(self) -> int:
        """The longest lifetime of a session, in milliseconds."""
        return 1000 * max(self.session_absolute_max_age, self.session_remember_max_age)

    @property
    def key_ring(self) -> tuple[bytes, ...]:
        """The cookie keys as bytes. The first one seals."""
        return tuple(decode_cookie_key(key.get_secret_value()) for key in self.cookie_keys)
