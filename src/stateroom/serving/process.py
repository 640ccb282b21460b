"""One serving process: it takes its locks, serves, and drains on SIGTERM.

On SIGHUP it reads the files that the settings name again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from aiohttp import web
from prometheus_client import disable_created_metrics

from ..accounts.demo import DEMO_EMAIL, DEMO_PASSWORD
from ..api.health import READINESS
from ..api.security_headers import security_headers
from ..app import make_app, make_metrics_app
from ..backend.embedded import try_lock
from ..errors import SettingsError
from ..insides import untested
from ..logs import get_logger
from ..network.loops import OwnSockets
from ..private import own_folder
from ..settings import Settings
from ..setup import FILES
from ..telemetry.logging import configure_logging
from .drain import bodies_arrived
from .listeners import BACKLOG, Listeners, listen
from .runner import CANCEL_SECONDS, SHUTDOWN_SECONDS, Runner
from .startup_warnings import warn_at_startup

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

log = get_logger(__name__)

BODY_SECONDS = 5.0
CLOSING_SECONDS = 5.0
"""How long the stores may take to be closed, and the embedded server to stop. The supervisor kills a worker that takes longer."""
DRAIN_SECONDS = BODY_SECONDS + SHUTDOWN_SECONDS + 2 * CANCEL_SECONDS + CLOSING_SECONDS
"""The longest time from the end of `DRAIN_DELAY` to the exit, whatever clients do. Grace periods of manifests must be longer."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Requests leave few reference cycles. With Python's defaults, garbage collection takes a tenth of a session check."""


def run(settings: Settings, make: Callable[[Settings], web.Application] = make_app) -> None:
    """Serve the application that `make` returns, until SIGTERM or SIGINT. Raises `SettingsError`."""
    configure_logging(settings)
    warn_at_startup(settings)
    with state_lock(settings), listen(settings) as listeners, asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(settings, make(settings), listeners, on_ready=lambda: announce(settings, listeners)))


async def serve(
    settings: Settings,
    app: web.Application,
    listeners: Listeners,
    *,
    on_ready: Callable[[], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`, then drain. `on_ready` is called when it serves. Raises `SettingsError`."""
    stop = stop or asyncio.Event()
    handle_signals(stop, app[FILES].reread)
    disable_created_metrics()  # type: ignore[no-untyped-call] # otherwise each counter has a second series that hardly anyone uses
    if libraries := untested():
        log.warning("untested_versions", libraries=libraries, fix="install the versions that requirements.txt names")
    headers = security_headers(settings)
    limits = {"max_line_size": settings.header_max_bytes, "max_field_size": settings.header_max_bytes}
    runners = [(Runner(app, headers, **limits), listeners.public)]
    if listeners.metrics is not None:
        runners.append((Runner(make_metrics_app(app), headers), listeners.metrics))
    try:
        for runner, sock in runners:
            await runner.setup()
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        on_ready()
        # The objects made at startup stay, so the garbage collector need not look at them each time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await stop.wait()
        app[READINESS].is_draining = True
        log.info("draining", delay_seconds=settings.drain_delay)
        await asyncio.sleep(settings.drain_delay)  # load balancers see readyz fail before connections are refused
        for runner, _ in runners:
            runner.hurry()
        await asyncio.gather(*(bodies_arrived(runner, timeout_seconds=BODY_SECONDS) for runner, _ in runners))
    finally:
        # Together, because each may take all the time that a shutdown has.
        ends = await asyncio.gather(*(runner.cleanup() for runner, _ in runners), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end


def handle_signals(stop: asyncio.Event, on_hangup: Callable[[], None]) -> None:
    """SIGTERM and SIGINT set `stop`. SIGHUP calls `on_hangup`; but if our terminal was closed, it sets `stop` too."""
    loop = asyncio.get_running_loop()
    had_terminal = _has_terminal()

    def hang_up() -> None:
        if had_terminal and not _has_terminal():
            stop.set()
        else:
            on_hangup()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the supervisor blocks it until now


@contextlib.contextmanager
def state_lock(settings: Settings) -> Iterator[None]:
    """Lock `STATE_DIR` in embedded mode, because two services must not use one folder. Raises `SettingsError`."""
    if not settings.is_embedded:
        yield
        return
    lock: TextIO | None
    own_folder(settings.state_dir)
    try:
        lock = try_lock(settings.state_dir / "serve.lock")
    except OSError as error:
        raise SettingsError(
            f"STATE_DIR: {settings.state_dir} cannot be written: {error.strerror}; name a folder that can be written"
        ) from None
    if lock is None:
        raise SettingsError(
            f"STATE_DIR: another `stateroom serve` runs in {settings.state_dir.resolve()}; stop it, or name another folder"
        )
    with lock:
        yield


def announce(settings: Settings, listeners: Listeners) -> None:
    """Print the service's address and the folder for mails, and in embedded mode the demo user and the state folder."""
    lines = [f"stateroom listens on {_url(settings.host, listeners.public)}"]
    if settings.has_demo_user:
        lines.append(f"demo user: {DEMO_EMAIL} / {DEMO_PASSWORD}")
    if settings.is_embedded:
        lines.append(f"sessions and users are stored in {settings.state_dir.resolve()}")
    if settings.mail_url is not None and settings.mail_url.is_folder:
        lines.append(f"mails are written to {settings.mail_url.path.resolve()}")
    if listeners.metrics is not None:
        lines.append(f"metrics are at {_url(settings.metrics_host or '', listeners.metrics)}/metrics")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _url(host: str, sock: socket.socket) -> str:
    return f"http://[{host}]:{sock.getsockname()[1]}" if ":" in host else f"http://{host}:{sock.getsockname()[1]}"


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The fastest event loop for this platform: uvloop's if it is installed. Else None, which means asyncio's own."""
    try:
        import uvloop
    except ImportError:  # not available for this platform
        return None

    class Loop(OwnSockets, uvloop.Loop):  # type: ignore[misc] # its create_connection has overloads
        """uvloop's loop, which looks up names in threads of our own."""

    return Loop


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
