"""Checks of settings that require or exclude each other.

Each check raises `SettingsError` with one line: the setting, what is wrong, how to fix it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import SettingsError
from .fields import SettingsFields
from .places import ENCODE_IT, EVERY_ADDRESS, RAW, has_bare_ipv6, has_raw_character, split_url

_TLS_PARTS = ("ca", "cert", "key", "server_name")


def check_together(settings: SettingsFields) -> None:
    """Raises `SettingsError` for the first setting that does not fit the others."""
    _check_redis(settings)
    _check_redis_url(settings)
    _check_tls(settings)
    _check_cookies(settings)
    _check_cookie_path(settings)
    _check_database(settings)
    _check_lifetimes(settings)
    _check_listeners(settings)
    _check_mail(settings)


def _check_mail(settings: SettingsFields) -> None:
    if settings.mail_url is None:  # MAIL_FROM may be of the application that uses the library
        if settings.mail_tls_ca is not None:
            raise SettingsError("MAIL_TLS_CA: has no effect without MAIL_URL; set MAIL_URL, or unset it")
        return
    if settings.mail_from is None:
        raise SettingsError("MAIL_FROM: required with MAIL_URL; for example Stateroom <no-reply@example.com>")
    if settings.public_url is None:
        raise SettingsError(
            "PUBLIC_URL: required with MAIL_URL, because links in mails begin with it; for example https://example.com"
        )
    if settings.mail_tls_ca is not None and settings.mail_url.is_folder:
        raise SettingsError("MAIL_TLS_CA: has no effect, because MAIL_URL names a folder; unset it")


def _check_listeners(settings: SettingsFields) -> None:
    hosts = {settings.host, settings.metrics_host}
    if settings.port and settings.port == settings.metrics_port and (len(hosts) == 1 or hosts & EVERY_ADDRESS):
        raise SettingsError(f"METRICS_PORT: {settings.port} is the value of PORT already; give another port for the metrics")


def _check_redis(settings: SettingsFields) -> None:
    mode = settings.redis_mode
    if "redis_mode" not in settings.model_fields_set and settings.redis_sentinels and settings.redis_cluster_nodes:
        raise SettingsError("REDIS_SENTINELS: REDIS_CLUSTER_NODES is set too; unset one of them, or choose with REDIS_MODE")
    if mode == "sentinel" and not settings.redis_sentinels:
        raise SettingsError("REDIS_SENTINELS: required with REDIS_MODE=sentinel; for example 10.0.0.1:26379, 10.0.0.2:26379")
    if mode == "cluster" and not settings.redis_cluster_nodes:
        raise SettingsError("REDIS_CLUSTER_NODES: required with REDIS_MODE=cluster; for example 10.0.0.1:6379, 10.0.0.2:6379")
    if mode == "cluster" and settings.redis_db:
        raise SettingsError("REDIS_DB: Redis Cluster has only database 0; unset REDIS_DB")
    if settings.redis_min_idle > settings.redis_pool_size:
        raise SettingsError("REDIS_MIN_IDLE: is more than REDIS_POOL_SIZE; lower REDIS_MIN_IDLE or raise REDIS_POOL_SIZE")


def _check_redis_url(settings: SettingsFields) -> None:
    if settings.redis_url is None:
        return
    _check_form(settings.redis_url.get_secret_value())
    if settings.redis_mode != "single":
        raise SettingsError(f"REDIS_URL: names a single server, but REDIS_MODE is {settings.redis_mode}; unset one of them")
    for name in ("redis_host", "redis_port"):
        if name in settings.model_fields_set:
            raise SettingsError(f"REDIS_URL: {name.upper()} is set too; unset one of them")


def _check_form(url: str) -> None:
    """Check a REDIS_URL alone."""
    parts = split_url(url)
    is_odd = parts is None or parts.query or parts.fragment or (parts.scheme != "unix" and not _is_number(parts.path.strip("/")))
    if is_odd and has_raw_character(url):
        raise SettingsError(f"REDIS_URL: {RAW} {ENCODE_IT}, or leave the password out and set REDIS_PASSWORD")
    if has_bare_ipv6(url):
        raise SettingsError("REDIS_URL: an IPv6 address needs brackets; write for example redis://[::1]:6379/0")
    if parts is None:
        raise SettingsError("REDIS_URL: is not a URL, or its port is invalid; write for example redis://host:6379/0")
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise SettingsError("REDIS_URL: must begin with redis://, rediss:// or unix://; for example redis://host:6379/0")
    if parts.query or parts.fragment:
        raise SettingsError("REDIS_URL: must not have a part after ? or #; use the other REDIS_ settings instead")
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise SettingsError("REDIS_URL: names no socket; write for example unix:///run/redis/redis.sock")
    elif not _is_number(parts.path.strip("/")):
        raise SettingsError("REDIS_URL: only the number of the database may follow the host; for example redis://host:6379/0")


def _is_number(path: str) -> bool:
    return not path or path.isdecimal()


def _check_tls(settings: SettingsFields) -> None:
    for prefix in ("redis_tls", "redis_sentinel_tls"):
        if getattr(settings, f"{prefix}_key") is not None and getattr(settings, f"{prefix}_cert") is None:
            name = prefix.upper()
            raise SettingsError(f"{name}_KEY: {name}_CERT, the certificate of this key, is not set; set both or neither")
    is_secured = settings.redis_tls or settings.redis_sentinel_tls or _is_secured_by_url(settings)
    if is_secured or "redis_tls" in settings.model_fields_set:
        return
    for part in _TLS_PARTS:
        if f"redis_tls_{part}" in settings.model_fields_set:
            raise SettingsError(f"REDIS_TLS_{part.upper()}: has no effect without TLS; set REDIS_TLS=true, or unset it")


def _is_secured_by_url(settings: SettingsFields) -> bool:
    return settings.redis_url is not None and settings.redis_url.get_secret_value().startswith("rediss:")


def _check_cookies(settings: SettingsFields) -> None:
    name, is_secure = settings.session_name, settings.is_cookie_secure
    prefix = name.lower()  # browsers obey the prefixes in any case (RFC 6265bis, 4.1.3)
    if prefix.startswith("__host-") and settings.cookie_domain:
        raise SettingsError(
            "SESSION_NAME: a name with __Host- excludes COOKIE_DOMAIN; unset COOKIE_DOMAIN, or use a name with __Secure-"
        )
    if prefix.startswith("__host-") and settings.cookie_path != "/":
        raise SettingsError(
            "SESSION_NAME: a name with __Host- requires COOKIE_PATH=/; unset COOKIE_PATH, or use a name with __Secure-"
        )
    if prefix.startswith(("__host-", "__secure-")) and not is_secure:
        raise SettingsError(f"SESSION_NAME: browsers drop a cookie named {name} if it is not Secure; set COOKIE_SECURE=true")
    if settings.cookie_samesite == "None" and not is_secure:
        raise SettingsError(
            "COOKIE_SAMESITE: None requires a Secure cookie, because browsers drop any other; set COOKIE_SECURE=true"
        )
    if settings.cookie_partitioned and not is_secure:
        raise SettingsError("COOKIE_PARTITIONED: browsers drop a partitioned cookie if it is not Secure; set COOKIE_SECURE=true")
    if settings.cookie_partitioned and settings.cookie_samesite != "None":
        raise SettingsError(
            "COOKIE_PARTITIONED: requires COOKIE_SAMESITE=None, because browsers send no other cookie in a frame of another site; "
            "set COOKIE_SAMESITE=None, or unset COOKIE_PARTITIONED"
        )
    if prefix.startswith("__host-") and any(each.domain or each.path != "/" for each in settings.cookie_former):
        raise SettingsError(
            f"COOKIE_FORMER: a cookie named {name} cannot have had a domain or path; unset COOKIE_FORMER, or write '/ partitioned'"
        )
    if not settings.cookie_keys and not settings.is_embedded:
        raise SettingsError(
            "COOKIE_KEYS: required if Redis is not embedded; make a key with `stateroom keys` and set it on every host"
        )


def _check_cookie_path(settings: SettingsFields) -> None:
    """Browsers send a cookie to its path and below (RFC 6265, section 5.1.4)."""
    path, public_path = settings.cookie_path, settings.public_path
    begin = f"{path.removesuffix('/')}/"
    if public_path and not f"{public_path}/".startswith(begin):
        raise SettingsError(
            f"COOKIE_PATH: browsers do not send a cookie of {path} to {public_path}, the path of PUBLIC_URL; set COOKIE_PATH=/ or "
            f"COOKIE_PATH={public_path}"
        )
    # The page to sign out is beside the one to sign in. Without the cookie it would end no session.
    beside = f"{urlsplit(settings.login_url).path.rpartition('/')[0]}/"
    if "login_url" in settings.model_fields_set and not beside.startswith(begin):
        raise SettingsError(
            f"COOKIE_PATH: browsers do not send a cookie of {path} to {settings.login_url}, LOGIN_URL, and to the pages beside it, "
            "so nobody could sign out there; set COOKIE_PATH=/"
        )


def _check_database(settings: SettingsFields) -> None:
    if settings.database_url is None and settings.redis_mode in {"sentinel", "cluster"}:
        raise SettingsError(
            f"DATABASE_URL: required with REDIS_MODE={settings.redis_mode}, because all hosts must share one user database; for "
            "example postgresql://user@host/stateroom, or none if you use the library without one"
        )
    if settings.journal_required and not settings.has_database:
        raise SettingsError(
            "JOURNAL_REQUIRED: requires a user database, and DATABASE_URL is none; name one there, or unset JOURNAL_REQUIRED"
        )


def _check_lifetimes(settings: SettingsFields) -> None:
    if settings.session_max_age > settings.session_absolute_max_age:
        raise SettingsError("SESSION_MAX_AGE: is longer than SESSION_ABSOLUTE_MAX_AGE; lower it, or raise SESSION_ABSOLUTE_MAX_AGE")
    if settings.session_renew_interval >= settings.session_max_age:
        raise SettingsError(
            "SESSION_RENEW_INTERVAL: must be shorter than SESSION_MAX_AGE; lower it, or unset it to use a tenth of SESSION_MAX_AGE"
        )
    if settings.degraded_max_age > settings.session_max_age:
        raise SettingsError("DEGRADED_MAX_AGE: is longer than SESSION_MAX_AGE; lower it, or raise SESSION_MAX_AGE")
