"""Defaults that depend on other settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..addresses import is_loopback_name
from .fields import RedisMode, SettingsFields
from .mail import MailServer
from .places import EVERY_ADDRESS

DEFAULT_METRICS_HOST, DEFAULT_METRICS_PORT = "127.0.0.1", 9464
"""9464 is the port of OpenTelemetry's Prometheus exporter (its specification, "OTEL_EXPORTER_PROMETHEUS_PORT")."""


def fill_in(settings: SettingsFields) -> None:
    """Set each setting of `IMPLIED` that was not given."""
    for name, imply in IMPLIED.items():
        if name not in settings.model_fields_set:
            settings.__dict__[name] = imply(settings)  # the model is frozen, except here


def _redis_mode(settings: SettingsFields) -> RedisMode:
    if settings.redis_sentinels:
        return "sentinel"
    if settings.redis_cluster_nodes:
        return "cluster"
    if settings.model_fields_set & {"redis_url", "redis_host", "redis_port"}:
        return "single"
    return "embedded"


def _session_name(settings: SettingsFields) -> str:
    if not settings.is_cookie_secure:
        return "session_id"
    if settings.cookie_domain or settings.cookie_path != "/":
        return "__Secure-session"
    return "__Host-session"


def _metrics_host(settings: SettingsFields) -> str | None:
    """The metrics have their own listener if `METRICS_PORT` is set, or if other machines can reach the public listener."""
    is_own = settings.metrics_port is not None or not is_loopback_name(settings.host)
    return DEFAULT_METRICS_HOST if is_own else None


def _metrics_port(settings: SettingsFields) -> int | None:
    return DEFAULT_METRICS_PORT if settings.metrics_host is not None else None


def _public_url(settings: SettingsFields) -> str | None:
    """Embedded, the service's own address: links in mails are for the machine on which it runs."""
    if settings.public_origins:
        return settings.public_origins[0]
    host = "localhost" if settings.host in EVERY_ADDRESS else f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}" if settings.is_embedded else None


def _deployment(settings: SettingsFields) -> str:
    """The origin of `PUBLIC_URL`, only if that is set. Deployments that have `PUBLIC_ORIGINS` alone were always sealed without a name."""
    return settings.public_origin


def _mail_url(settings: SettingsFields) -> MailServer | None:
    return MailServer.folder(settings.state_dir / "mail") if settings.is_embedded else None


def _mail_from(settings: SettingsFields) -> str | None:
    return "Stateroom <stateroom@localhost>" if settings.mail_url is not None and settings.mail_url.is_folder else None


def _email_verification(settings: SettingsFields) -> Literal["off", "required"]:
    return "required" if settings.has_mail and not settings.is_embedded else "off"


IMPLIED: Mapping[str, Callable[[SettingsFields], Any]] = {
    "redis_mode": _redis_mode,  # first: others depend on it
    "metrics_host": _metrics_host,
    "metrics_port": _metrics_port,  # after the host
    "redis_write_replicas": lambda settings: 1 if settings.redis_mode == "sentinel" else 0,
    "redis_sentinel_tls": lambda settings: settings.redis_tls,
    "redis_sentinel_tls_ca": lambda settings: settings.redis_tls_ca,
    "redis_sentinel_tls_cert": lambda settings: settings.redis_tls_cert,
    "redis_sentinel_tls_key": lambda settings: settings.redis_tls_key,
    "redis_sentinel_tls_server_name": lambda settings: settings.redis_tls_server_name,
    "session_renew_interval": lambda settings: min(60.0, settings.session_max_age / 10),
    "degraded_max_age": lambda settings: min(settings.degraded_max_age, settings.session_max_age),
    "session_name": _session_name,
    "deployment": _deployment,  # before public_url gets its default
    "public_url": _public_url,
    "mail_url": _mail_url,
    "mail_from": _mail_from,  # after the URL
    "email_verification": _email_verification,  # after the URL
}
