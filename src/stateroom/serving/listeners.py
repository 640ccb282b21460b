"""Opens the sockets that the service listens on. If that fails, the error names the setting to change."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings import Settings

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listeners:
    """The public socket, and the socket for metrics if `METRICS_HOST` and `METRICS_PORT` are set."""

    public: socket.socket
    metrics: socket.socket | None


@contextlib.contextmanager
def listen(settings: Settings, *, is_shared: bool = False) -> Iterator[Listeners]:
    """Listen on the addresses of the settings. Raises `SettingsError`, for example if a port is in use.

    `is_shared`: other processes listen on the same ports, and the kernel distributes connections among them
    (SO_REUSEPORT: https://man7.org/linux/man-pages/man7/socket.7.html).
    """
    with _both(settings, is_shared=is_shared) as bound:
        for sock in (bound.public, bound.metrics):
            if sock is not None:
                sock.listen(BACKLOG)
        yield bound


@contextlib.contextmanager
def reserve(settings: Settings) -> Iterator[Listeners]:
    """Reserve the ports for workers that will share them. Raises `SettingsError`, for example if a port is in use.

    A shared port would silently accept a foreign process beside us. So first check, without sharing, that nobody uses the
    port. The reserved sockets are bound and do not listen, so they get no connections.
    """
    with _both(settings, is_shared=False) as probed:
        port = probed.public.getsockname()[1]
        metrics_port = probed.metrics.getsockname()[1] if probed.metrics is not None else None
    chosen = settings.model_copy(update={"port": port, "metrics_port": metrics_port})
    with _both(chosen, is_shared=True) as bound:
        yield bound


@contextlib.contextmanager
def _both(settings: Settings, *, is_shared: bool) -> Iterator[Listeners]:
    with contextlib.ExitStack() as sockets:
        public = sockets.enter_context(_bind(settings.host, settings.port, "PORT", is_shared=is_shared))
        metrics = None
        if settings.metrics_host is not None and settings.metrics_port is not None:
            metrics = sockets.enter_context(
                _bind(settings.metrics_host, settings.metrics_port, "METRICS_PORT", is_shared=is_shared)
            )
        yield Listeners(public, metrics)


@contextlib.contextmanager
def _bind(host: str, port: int, setting: str, *, is_shared: bool) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(
            f"{setting.replace('PORT', 'HOST')}: {host} is not an address: {error.strerror}; for example 127.0.0.1"
        ) from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            sock.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(
                    f"{setting}: {port} on {host} is in use; stop the process that listens there, or choose another port"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                name = setting.replace("PORT", "HOST")
                raise SettingsError(
                    f"{name}: {host} is not an address of this machine; for example 127.0.0.1, or 0.0.0.0"
                ) from None
            raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error.strerror}; choose another port") from None
        sock.setblocking(False)
        yield sock
