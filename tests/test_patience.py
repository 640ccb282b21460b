"""`at_most` bounds the time that code takes, and not the time for which the machine stands still."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURED = """
import time
from tests.patience import at_most
with at_most(1):
    print("begins", flush=True)
    {}
"""


@pytest.fixture
def measure() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs this code in another process, inside `at_most(1)`. Returns when it begins."""
    processes: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", MEASURED.format(code)]
        process = subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        return process

    yield begin
    for each in processes:
        each.kill()
        each.communicate()


def test_a_machine_that_stands_still_takes_no_time(measure: Callable[[str], subprocess.Popen[str]]) -> None:
    process = measure("time.sleep(0.3)")
    for _ in range(2):
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)  # for so long it stands still
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    _, error = process.communicate()
    assert process.returncode == 0, error


@pytest.mark.parametrize("code", ["time.sleep(1.2)", "while time.process_time() < 1.5: pass"])
def test_code_that_waits_or_computes_does(measure: Callable[[str], subprocess.Popen[str]], code: str) -> None:
    process = measure(code)
    _, error = process.communicate()
    assert process.returncode == 1
    assert "AssertionError: took " in error
