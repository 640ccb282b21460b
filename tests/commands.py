"""Runs the `stateroom` command in processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import stateroom

from .processes import said_of

SOURCES = str(Path(stateroom.__file__).parents[1])
TIMEOUT_SECONDS = 60

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(folder: Path, settings: dict[str, object]) -> dict[str, str]:
    """An environment with only these settings of Stateroom, quick hashes, and all state in `folder`."""
    own = {"STATE_DIR": folder / "var", "PORT": 0, "BCRYPT_ROUNDS": 4, "LOG_FORMAT": "json"}
    return os.environ | {"PYTHONPATH": SOURCES} | {name: str(value) for name, value in (own | settings).items()}


class Serving:
    """A running `stateroom serve`. As a context manager it always stops it. `PROGRAM`: the module and its first arguments.

    `LAUNCHER`: a command before the interpreter, which becomes it.
    """

    LAUNCHER: tuple[str, ...] = ()
    PROGRAM: ClassVar[tuple[str, ...]] = ("stateroom", "serve")

    def __init__(self, folder: Path, *arguments: str, **settings: object) -> None:
        self.folder = folder
        self._log = folder / f"serve-{time.monotonic_ns()}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*self.LAUNCHER, sys.executable, "-m", *self.PROGRAM, *arguments],
                env=environment(folder, settings),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        try:
            self.wait_for("listens on")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(TIMEOUT_SECONDS)

    @property
    def output(self) -> str:
        """Everything that it has printed and logged."""
        return self._log.read_text()

    @property
    def port(self) -> int:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (told := re.search(r"listens on http://\S+:(\d+)\n", self.output)) is None:
            assert "listens on" in self.output, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)  # It has written half of the line.
        return int(told[1])

    def wait_for(self, text: str) -> None:
        """Wait until its output has this text."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while text not in self.output:
            assert self._process.poll() is None, f"stateroom serve ended: {self.output}"
            assert time.monotonic() < deadline, f"no {text!r} in {self.output}"
            time.sleep(0.02)  # There is no event for another process' file.

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is true of it."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert self._process.poll() is None, f"stateroom serve ended: {self.output}"
            assert time.monotonic() < deadline, f"it never came to this: {what}; {self.output}"
            time.sleep(0.02)  # There is no event for another process.

    @contextlib.contextmanager
    def sign_in_under_way(self) -> Iterator[Callable[[], bytes]]:
        """A request whose handler waits for the body. The yielded function sends the body and returns the answer."""
        body = json.dumps({"email": "demo@example.com", "password": "password123"}).encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS) as sock:
            sock.sendall(
                b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            assert sock.recv(1000).startswith(b"HTTP/1.1 100")

            def finish() -> bytes:
                sock.sendall(body)
                return sock.recv(10_000)

            yield finish

    @property
    def pid(self) -> int:
        """The process id of the service, which with several workers is their supervisor."""
        return self._process.pid

    @property
    def workers(self) -> dict[int, int]:
        """The process ids of its workers, by number."""
        found = {}
        for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            words = said_of(pid, "cmdline").split(b"\0")
            if b"stateroom.serving.worker" in words:
                found[int(words[words.index(b"stateroom.serving.worker") + 1])] = int(pid)
        return found

    def metric(self, sample: str) -> float | None:
        """A figure from `/metrics`, by name and labels, as written there."""
        _, document, _ = self.call("GET", "/metrics")
        lines = dict(line.rsplit(" ", 1) for line in document["text"].splitlines() if not line.startswith("#"))
        return float(lines[sample]) if sample in lines else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the exit status."""
        self.signal(number)
        return self.wait()

    def signal_workers(self, number: signal.Signals) -> None:
        """Send a signal to each of its workers. A single one is the process itself."""
        for pid in self.workers.values() or [self._process.pid]:
            os.kill(pid, number)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(TIMEOUT_SECONDS)

    def call(
        self, method: str, path: str, body: object = None, *, cookie: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """The status, the body, and the cookie that was set."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            sent = {"Content-Type": "application/json"} | ({"Cookie": cookie} if cookie else {}) | dict(headers or {})
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            response = connection.getresponse()
            text = response.read().decode()
            document = json.loads(text) if "json" in (response.getheader("Content-Type") or "") else {"text": text}
            return response.status, document, (response.getheader("Set-Cookie") or "").split(";")[0]
        finally:
            connection.close()

    def sign_in(self, email: str = "demo@example.com", password: str = "password123") -> str:
        """Sign in. Returns the session's cookie."""
        status, document, cookie = self.call("POST", "/api/auth/login", {"email": email, "password": password})
        assert status == 200, document
        return cookie
