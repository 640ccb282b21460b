"""A worker that lives and does not answer its supervisor is replaced. Nothing else makes a worker look silent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stateroom.serving.heartbeat import becomes_ready, falls_silent

from ..commands import Serving
from ..processes import said_of

TIMEOUT_SECONDS = 5


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, "--workers", "2", WORKER_TIMEOUT=TIMEOUT_SECONDS) as service:
        yield service


def state_of(pid: int) -> bytes:
    """`S` asleep, `T` stopped, … (proc(5))."""
    return said_of(pid, "stat").rpartition(b") ")[2][:1]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Inside this context the process is stopped, unless somebody kills it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def silent(service: Serving) -> int:
    return service.output.count('"worker_silent"')


def test_a_worker_that_hangs_is_replaced_and_the_other_stays(two: Serving) -> None:
    hanging, other = two.workers[0], two.workers[1]
    began = time.monotonic()
    with stopped(hanging):
        two.wait_for('"worker_restarted"')
    assert time.monotonic() - began > TIMEOUT_SECONDS * 0.8
    assert silent(two) == 1
    assert two.workers[0] != hanging
    assert two.workers[1] == other
    assert not Path(f"/proc/{hanging}").exists()
    for _ in range(20):  # One connection each.
        assert two.call("GET", "/livez")[0] == 200
    assert two.metric("stateroom_worker_restarts_total") == 1


@pytest.mark.parametrize("whole", [False, True], ids=["supervisor", "whole machine"])
def test_a_suspended_machine_loses_no_worker(two: Serving, *, whole: bool) -> None:
    before = two.workers
    with contextlib.ExitStack() as stops:
        for pid in (two.pid, *(before.values() if whole else ())):
            stops.enter_context(stopped(pid))
        two.wait_until(lambda: state_of(two.pid) == b"T", "the supervisor is stopped")
        time.sleep(TIMEOUT_SECONDS * 1.6)  # Longer than a worker may be silent.
    time.sleep(TIMEOUT_SECONDS * 0.6)  # Longer than a wrong decision takes.
    assert two.workers == before
    assert silent(two) == 0


def test_a_worker_that_drains_has_all_its_time(tmp_path: Path) -> None:
    settings = {"WORKER_TIMEOUT": TIMEOUT_SECONDS, "DRAIN_DELAY": TIMEOUT_SECONDS * 1.6}
    with Serving(tmp_path, "--workers", "2", **settings) as service:
        os.kill(service.workers[0], signal.SIGTERM)
        service.wait_for('"worker_restarted"')
        assert '"status": 0' in service.output
        assert service.stop() == 0
        assert silent(service) == 0
        assert "workers_killed" not in service.output


def test_a_worker_that_hangs_while_it_starts_is_replaced_too(two: Serving) -> None:
    first = two.workers[1]
    os.kill(first, signal.SIGKILL)
    two.wait_until(lambda: two.workers.get(1, first) != first, "another one starts")
    hanging = two.workers[1]
    with stopped(hanging):
        assert '"worker_restarted"' not in two.output
        two.wait_for('"worker_restarted"')
    assert silent(two) == 1
    assert two.workers[1] not in {first, hanging}
    assert two.call("GET", "/livez")[0] == 200


@contextlib.asynccontextmanager
async def child(code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


WORKER = """
import asyncio, os, time
from stateroom.serving.heartbeat import answer_supervisor

async def main():
    answer_supervisor(lambda: None)
    os.write(1, b"ready")
    await asyncio.sleep(0.3)
    time.sleep({blocked})
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def has_fallen_silent(process: asyncio.subprocess.Process, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            return await falls_silent(process, 2.0)
    except TimeoutError:
        return False


async def test_a_blocked_event_loop_is_silent() -> None:
    async with child(WORKER.format(blocked=60)) as process:
        assert process.stdout is not None
        assert await process.stdout.readexactly(5) == b"ready"
        assert await has_fallen_silent(process, within=30)


async def test_a_short_pause_is_forgiven() -> None:
    async with child(WORKER.format(blocked=0.8)) as process:
        assert process.stdout is not None
        assert await process.stdout.readexactly(5) == b"ready"
        assert not await has_fallen_silent(process, within=5)


async def test_a_worker_that_ends_is_noticed_before_the_next_question() -> None:
    async with child("import os; os.read(0, 1)") as process:
        began = time.monotonic()
        assert not await falls_silent(process, 8 * 60.0)
        assert time.monotonic() - began < 30


STARTING = """
import asyncio, os, time
from stateroom.serving.heartbeat import answer_supervisor

time.sleep({loading})

async def main():
    answer_supervisor(lambda: None)
    print("a line of a library", flush=True)
    await asyncio.sleep({waiting})
    os.write(1, b"ready\\n")
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def starts(loading: float, waiting: float, *, patience: float) -> bool:
    async with child(STARTING.format(loading=loading, waiting=waiting)) as process, asyncio.timeout(50):
        return await becomes_ready(process, b"ready\n", patience)


async def test_a_worker_that_loads_its_program_for_a_while_becomes_ready() -> None:
    assert await starts(1, 0, patience=30)


async def test_a_worker_that_waits_for_something_answers_meanwhile() -> None:
    assert await starts(0, 9, patience=8)


async def test_a_worker_that_never_loads_its_program_is_silent() -> None:
    with pytest.raises(TimeoutError):
        await starts(60, 0, patience=2)


async def test_a_worker_that_ends_while_it_starts_is_not_ready() -> None:
    async with child("print('ready or not')") as process:
        assert not await becomes_ready(process, b"ready\n", 60)
