"""`stateroom serve`: the service in the foreground, from the locks it takes to the drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, TextIO

import structlog
from aiohttp import web

from ..accounts.accounts import DEMO_EMAIL, DEMO_PASSWORD
from ..api.health import READINESS
from ..app import make_app, make_metrics_app
from ..backend.embedded import try_lock
from ..errors import SettingsError
from ..telemetry.logging import configure_logging
from .drain import bodies_arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..settings import Settings

log = structlog.get_logger(__name__)

BACKLOG = 1024
KEEPALIVE_SECONDS = 75.0
BODY_SECONDS = 5.0
SHUTDOWN_SECONDS = 30.0
GC_THRESHOLDS = (50_000, 20, 100)
"""Requests leave few cycles behind; collecting as often as Python does by default costs a tenth of a check."""


def run(settings: Settings, make: Callable[[Settings], web.Application] = make_app) -> None:
    """Serve what `make` makes until SIGTERM or SIGINT. Raises `SettingsError`."""
    configure_logging(settings)
    with _state_lock(settings), contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(_listen(settings.host, settings.port, "PORT"))
        metrics_listener = None
        if settings.metrics_host is not None and settings.metrics_port is not None:
            metrics_listener = sockets.enter_context(_listen(settings.metrics_host, settings.metrics_port, "METRICS_PORT"))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, make(settings), listener, metrics_listener))


async def _serve(settings: Settings, app: web.Application, listener: socket.socket, metrics_listener: socket.socket | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runners = [(_runner(app), listener)]
    if metrics_listener is not None:
        runners.append((_runner(make_metrics_app(app)), metrics_listener))
    try:
        for runner, sock in runners:
            await runner.setup()
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        _announce(settings, listener)
        # What start-up made stays: the collector need not walk over it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await stop.wait()
        app[READINESS].is_draining = True
        log.info("draining", delay_seconds=settings.drain_delay)
        await asyncio.sleep(settings.drain_delay)  # load balancers see readyz fail before connections are refused
        for runner, _ in runners:
            await bodies_arrived(runner, timeout_seconds=BODY_SECONDS)
    finally:
        for runner, _ in reversed(runners):
            await runner.cleanup()


def _runner(app: web.Application) -> web.AppRunner:
    # A handler is never cut off half way: a sign-in is several steps that belong together.
    return web.AppRunner(
        app, access_log=None, handler_cancellation=False, keepalive_timeout=KEEPALIVE_SECONDS, shutdown_timeout=SHUTDOWN_SECONDS
    )


@contextlib.contextmanager
def _state_lock(settings: Settings) -> Iterator[None]:
    """Hold `STATE_DIR` where this service keeps state in it: two on one folder would spoil it for each other."""
    if not settings.is_embedded:
        yield
        return
    lock: TextIO | None
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = try_lock(settings.state_dir / "serve.lock")
    except OSError as error:
        raise SettingsError(
            f"STATE_DIR: {settings.state_dir} cannot be written: {error.strerror}; name a folder that can"
        ) from None
    if lock is None:
        raise SettingsError(f"STATE_DIR: another stateroom serves from {settings.state_dir}; stop it, or name another folder")
    with lock:
        yield


@contextlib.contextmanager
def _listen(host: str, port: int, setting: str) -> Iterator[socket.socket]:
    """A bound socket. Raises `SettingsError` where the port is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(
            f"{setting.replace('PORT', 'HOST')}: {host} is no address: {error.strerror}; for example 127.0.0.1"
        ) from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(
                    f"{setting}: {port} on {host} is in use; stop what listens there, or choose another port"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                name = setting.replace("PORT", "HOST")
                raise SettingsError(f"{name}: {host} is no address of this machine; for example 127.0.0.1, or 0.0.0.0") from None
            raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error.strerror}; choose another") from None
        sock.setblocking(False)
        yield sock


def _announce(settings: Settings, listener: socket.socket) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    lines = [f"stateroom listens on http://{host}:{listener.getsockname()[1]}"]
    if settings.is_embedded:
        lines += [f"demo user: {DEMO_EMAIL} / {DEMO_PASSWORD}", f"state is kept in {settings.state_dir.resolve()}"]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not made for this platform
        return None
    return uvloop.Loop
