"""Runs a PostgreSQL server on loopback. The kernel stops it when the thread that started it ends.

PostgreSQL refuses to run as root. If we are root, it runs as `postgres` or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..backend.embedded import die_with_parent
from .ports import LOOPBACK, free_port

USER, PASSWORD = "stateroom", "a password of no secret"
STOP_SECONDS = 10.0
# The data need not survive a crash of the machine.
OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "unix_socket_directories=",
    f"listen_addresses={LOOPBACK}",
)


def postgres_folder() -> Path | None:
    """The folder of PostgreSQL's programs; None if it is not installed. On Debian they are not on the PATH."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = debian[-1] if debian else Path(found) if found else None
    return path.parent if path is not None else None


class Postgres:
    """A server. As a context manager it starts the server, then stops it and deletes its data."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._owner = _owner()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="stateroom-pg-"))
        secret = self._folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if self._owner:
            for path in (self._folder, secret):
                shutil.chown(path, self._owner, self._owner_group())
        self._call("initdb", "-D", str(self._data), "-U", USER, "-E", "UTF8", "--locale=C", "-A", "scram-sha-256",
                   "--pwfile", str(secret), "--no-sync", "--no-instructions")  # fmt: skip
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it if it does not run, and return when it accepts connections.

        Call it in a thread that lives as long as the server should.
        """
        if self._process is not None and self._process.poll() is None:
            return
        settings = [part for option in OPTIONS for part in ("-c", option)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,  # noqa: PLW1509 (it makes one system call)
                start_new_session=True, **self._identity(),
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", LOOPBACK, "-p", str(self.port)], check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "server.log").read_text(encoding="utf-8"))
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it and close every connection to it (PostgreSQL's "fast" shutdown)."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Stop, with SIGSTOP, the process that accepts connections. Clients connect and get no reply."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(signal.SIGCONT)

    def make_database(self) -> str:
        """Create an empty database. Returns its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        self._call("createdb", *self._client_options(), name)
        return self.url(name)

    def dump(self, url: str) -> bytes:
        """A backup of one of its databases, as SQL. `url`: as `make_database` returned it."""
        return self._call("pg_dump", *self._client_options(), url.rpartition("/")[2])

    def restore(self, url: str, dump: bytes) -> None:
        """Replace one of its databases by a backup: drop it, create it and read the dump. Connections to it are closed."""
        name = url.rpartition("/")[2]
        self._call("dropdb", *self._client_options(), "--force", name)
        self._call("createdb", *self._client_options(), name)
        self._call("psql", *self._client_options(), "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", name, given=dump)

    def url(self, database: str, *, password: str = PASSWORD, scheme: str = "postgresql") -> str:
        """A `DATABASE_URL` for one of its databases."""
        return f"{scheme}://{USER}:{password.replace(' ', '%20')}@{LOOPBACK}:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _client_options(self) -> list[str]:
        return ["-h", LOOPBACK, "-p", str(self.port), "-U", USER]

    def _call(self, program: str, *arguments: str, given: bytes = b"") -> bytes:
        command: Sequence[str] = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd="/", capture_output=True, check=False, input=given,
            env={**os.environ, "PGPASSWORD": PASSWORD}, **self._identity(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()}")
        return bytes(done.stdout)

    def _identity(self) -> dict[str, Any]:
        return {"user": self._owner, "group": self._owner_group(), "extra_groups": []} if self._owner else {}

    def _owner_group(self) -> int | None:
        return pwd.getpwnam(self._owner).pw_gid if self._owner else None


def _owner() -> str | None:
    """The user to run the server as; None if our own user will do."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
