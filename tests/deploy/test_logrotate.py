"""The example for logrotate keeps the lines that docs/logs.md promises: all, except whole lines during the copy."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..commands import environment
from ..conftest import require_tool

EXAMPLE = Path(__file__).parents[2] / "deploy" / "logrotate" / "stateroom"
LOG = "/var/log/stateroom/stateroom.log"

WRITER = """
import logging, sys
from stateroom.logs import get_logger
from stateroom import testing
from stateroom.telemetry.logging import configure_logging
configure_logging(testing.settings(log_format="json"))
log, number = get_logger("writer"), 0
while True:
    log.info("line", number=number)
    number += 1
"""


class Rotation:
    """Runs the real logrotate with the example's rules on one log."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._program = require_tool("logrotate")
        self._folder = folder
        self._log = log
        text = EXAMPLE.read_text(encoding="utf-8")
        assert LOG in text
        self._rules = folder / "rules"
        self._rules.write_text(text.replace(LOG, str(log)))
        self._rules.chmod(0o644)

    def rotate(self) -> None:
        command = [self._program, "--force", "--state", str(self._folder / "state"), str(self._rules)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def lines(self) -> list[str]:
        """All lines, the oldest first. `delaycompress` leaves the newest rotated file uncompressed."""
        files = [Path(f"{self._log}.1"), self._log]
        return [line for file in files if file.exists() for line in file.read_bytes().decode().splitlines()]


@contextlib.contextmanager
def writer(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stderr, subprocess.Popen([sys.executable, "-c", WRITER], stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def until_longer(log: Path, than: int) -> None:
    deadline = time.monotonic() + 60
    while log.stat().st_size <= than:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_writer_loses_only_whole_lines_during_the_copy(tmp_path: Path) -> None:
    log = tmp_path / "stateroom.log"
    rotation = Rotation(tmp_path, log)
    with writer(log):
        until_longer(log, 20_000)
        rotation.rotate()
        until_longer(log, 20_000)
    *lines, _ = rotation.lines()  # the last may be incomplete: the writer was killed
    numbers = [json.loads(line)["number"] for line in lines]
    assert numbers[0] == 0
    gaps = [(one, other) for one, other in itertools.pairwise(numbers) if other != one + 1]
    assert len(gaps) <= 1, "lines were lost outside the rotation"
    assert all(one < other for one, other in gaps), "lines are in order, and none is there twice"


def test_the_service_writes_to_the_emptied_file(tmp_path: Path) -> None:
    """The service's access log has its own way to write. Nothing is lost if nothing is written during the rotation."""
    log = tmp_path / "stateroom.log"
    rotation = Rotation(tmp_path, log)
    serve = [sys.executable, "-m", "stateroom", "serve"]
    with (
        log.open("ab") as stderr,
        subprocess.Popen(serve, env=environment(tmp_path, {}), cwd=tmp_path, stderr=stderr) as process,
    ):
        try:
            until_longer(log, 0)
            port = port_in(log)
            ask(port, 5)
            rotation.rotate()
            assert log.read_bytes() == b""
            ask(port, 5)
        finally:
            process.terminate()
    routes = [json.loads(line)["route"] for line in rotation.lines() if '"event":"request"' in line]
    assert routes == ["/livez"] * 10


def port_in(log: Path) -> int:
    while (told := re.search(r"listens on http://\S+:(\d+)\n", log.read_text())) is None:
        time.sleep(0.02)
    return int(told[1])


def ask(port: int, times: int) -> None:
    """Ask `/livez`. When a response has come, its line is written."""
    for _ in range(times):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
