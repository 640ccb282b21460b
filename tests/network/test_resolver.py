"""Look-ups of names: which answer is used, and that a look-up that hangs delays no other. The look-up function is a fake."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from stateroom.network.resolver import MAX_THREADS, REMEMBER_SECONDS, Endpoint, NameUnanswered, Resolver

from ..logs import capture_events
from ..patience import at_most

HERE, THERE = Endpoint(socket.AF_INET, "10.0.0.1"), Endpoint(socket.AF_INET, "10.0.0.2")
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NOT_NOW = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Names:
    """A fake of the system's look-up. A name without an answer hangs until `answer` gives one, or until `release`."""

    def __init__(self) -> None:
        self.answers: dict[str, Sequence[Endpoint] | Exception] = {}
        self.asked: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most_threads = 0
        self._changed = threading.Condition()
        self._is_released = False

    def __call__(self, name: str) -> Sequence[Endpoint]:
        with self._changed:
            self.asked[name] += 1
            self.running[name] += 1
            self.most_threads = max(self.most_threads, self.running.total())
            self._changed.wait_for(lambda: name in self.answers or self._is_released)
            self.running[name] -= 1
            answer = self.answers.get(name, NOT_NOW)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, name: str, answer: Sequence[Endpoint] | Exception) -> None:
        with self._changed:
            self.answers[name] = answer
            self._changed.notify_all()

    def hang(self, name: str) -> None:
        with self._changed:
            self.answers.pop(name, None)

    def release(self) -> None:
        with self._changed:
            self._is_released = True
            self._changed.notify_all()


@pytest_asyncio.fixture
async def names() -> AsyncIterator[Names]:
    names = Names()
    yield names
    names.release()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_names_that_hang_delay_no_other_name_however_often_they_are_retried(names: Names) -> None:
    it = Resolver(names)
    names.answer("good", [HERE])
    for _ in range(5):
        with pytest.raises(NameUnanswered, match=r"the name dead-0 was not resolved within 0\.01 s"):
            await it.resolve("dead-0", timeout=0.01)
    late = [asyncio.create_task(it.resolve(f"dead-{number}", timeout=60)) for number in range(1, MAX_THREADS - 1)]
    with at_most(30):
        assert await it.resolve("good", timeout=60) == (HERE,)
    assert names.asked["dead-0"] == 1
    for each in late:
        each.cancel()
    await asyncio.gather(*late, return_exceptions=True)


async def test_no_more_than_the_limit_of_threads_run_and_the_rest_take_their_turn(names: Names) -> None:
    it = Resolver(names)
    every = [f"name-{number}" for number in range(2 * MAX_THREADS)]
    waiting = [asyncio.create_task(it.resolve(name, timeout=60)) for name in every]
    await asyncio.sleep(0)
    for name in every:
        names.answer(name, [HERE])
    assert await asyncio.gather(*waiting) == [(HERE,)] * len(every)
    assert 0 < names.most_threads <= MAX_THREADS


async def test_callers_at_the_same_time_share_one_look_up(names: Names) -> None:
    it = Resolver(names)
    waiting = [asyncio.create_task(it.resolve("shared", timeout=60)) for _ in range(10)]
    await asyncio.sleep(0)
    names.answer("shared", [HERE])
    assert await asyncio.gather(*waiting) == [(HERE,)] * 10
    assert names.asked["shared"] == 1


async def test_a_fresh_answer_counts_and_a_remembered_one_is_used_only_without_it(names: Names) -> None:
    it = Resolver(names)
    names.answer("moves", [HERE])
    assert await it.resolve("moves", timeout=60) == (HERE,)
    names.answer("moves", [THERE])
    assert await it.resolve("moves", timeout=60) == (THERE,)
    names.hang("moves")
    with capture_events() as lines, at_most(30):
        assert await it.resolve("moves", timeout=0.4) == (THERE,)
        assert await it.resolve("moves", timeout=0.4) == (THERE,)
    assert [(each["event"], each["host"]) for each in lines] == [("name_not_answered", "moves")]
    names.answer("moves", [HERE])  # The look-up that hung is answered, and so is every later one.
    assert await it.resolve("moves", timeout=60) == (HERE,)


async def test_a_look_up_that_is_answered_late_still_serves_the_next_caller(names: Names) -> None:
    it = Resolver(names)
    with pytest.raises(NameUnanswered):
        await it.resolve("slow", timeout=0.01)
    waiting = asyncio.create_task(it.resolve("slow", timeout=60))
    await asyncio.sleep(0)
    names.answer("slow", [HERE])
    await waiting
    names.hang("slow")
    assert await it.resolve("slow", timeout=0.01) == (HERE,)


async def test_a_temporary_fault_leaves_the_remembered_answer_and_without_one_it_is_raised(names: Names) -> None:
    it = Resolver(names)
    names.answer("known", [HERE])
    await it.resolve("known", timeout=60)
    for name in ("known", "unknown"):
        names.answer(name, NOT_NOW)
    assert await it.resolve("known", timeout=60) == (HERE,)
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await it.resolve("unknown", timeout=60)


async def test_a_name_that_does_not_exist_any_more_is_forgotten(names: Names) -> None:
    it = Resolver(names)
    names.answer("ended", [HERE])
    await it.resolve("ended", timeout=60)
    names.answer("ended", NO_SUCH_NAME)
    with pytest.raises(socket.gaierror, match="not known"):
        await it.resolve("ended", timeout=60)
    names.hang("ended")
    with pytest.raises(NameUnanswered):
        await it.resolve("ended", timeout=0.01)


async def test_a_remembered_answer_is_used_for_some_minutes_only(names: Names) -> None:
    clock = Clock()
    it = Resolver(names, clock=clock)
    names.answer("old", [HERE])
    await it.resolve("old", timeout=60)
    names.hang("old")
    clock.now = REMEMBER_SECONDS - 1
    assert await it.resolve("old", timeout=0.01) == (HERE,)
    clock.now = REMEMBER_SECONDS
    with pytest.raises(NameUnanswered):
        await it.resolve("old", timeout=0.01)


async def test_an_error_of_the_look_up_itself_reaches_the_caller_and_ends_no_thread(names: Names) -> None:
    it = Resolver(names)
    names.answer("odd", ValueError("what"))
    with pytest.raises(OSError, match="ValueError: what"):
        await it.resolve("odd", timeout=60)
    names.answer("odd", [HERE])
    assert await it.resolve("odd", timeout=60) == (HERE,)


@pytest.mark.parametrize(
    ("literal", "found"),
    [
        ("127.0.0.1", Endpoint(socket.AF_INET, "127.0.0.1")),
        ("::1", Endpoint(socket.AF_INET6, "::1", (0, 0))),
        ("::ffff:127.0.0.1", Endpoint(socket.AF_INET6, "::ffff:127.0.0.1", (0, 0))),
        ("fe80::1%1", Endpoint(socket.AF_INET6, "fe80::1", (0, 1))),
    ],
)
async def test_an_ip_address_needs_no_look_up(names: Names, literal: str, found: Endpoint) -> None:
    assert await Resolver(names).resolve(literal, timeout=0.01) == (found,)
    assert not names.asked


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
async def test_a_name_that_is_no_name_does_not_exist(name: str) -> None:
    with pytest.raises(socket.gaierror) as raised:
        await Resolver().resolve(name, timeout=60)
    assert raised.value.errno == socket.EAI_NONAME


async def test_the_names_of_the_system_are_found() -> None:
    found = await Resolver().resolve("localhost", timeout=60)
    assert {each.host for each in found} <= {"127.0.0.1", "::1"}


async def test_a_caller_that_gives_up_leaves_nothing_behind(names: Names) -> None:
    it = Resolver(names)
    for _ in range(3):
        with pytest.raises(NameUnanswered):
            await it.resolve("dead", timeout=0.01)
    assert not it._under_way["dead"].waiting


async def test_without_another_thread_the_caller_is_told(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    it = Resolver(names)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await it.resolve("good", timeout=60)
    names.answer("good", [HERE])
    assert await it.resolve("good", timeout=60) == (HERE,)


def test_a_look_up_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import asyncio, time\n"
        "from stateroom.network.resolver import NameUnanswered, Resolver\n"
        "try:\n"
        "    asyncio.run(Resolver(lambda name: time.sleep(600)).resolve('dead', timeout=0.01))\n"
        "except NameUnanswered:\n"
        "    print('ends')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")
