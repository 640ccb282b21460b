"""Asks one Sentinel for the primary, again and again, over one connection.

The Sentinel announces `+switch-master` over the same connection; RESP3 carries both. Each Sentinel has its own tasks, so a
Sentinel that hangs delays no other. A question is sent each interval, whether or not the last one has its reply, so that
a long round trip makes replies late but not rare (intervals.py). Replies come in the order of the questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from ..intervals import ask_timeout, interval, longest_round_trip, settles
from ..logs import get_logger
from ..settings import Address
from .breaker import Breaker, BreakerState
from .multiplexer import Multiplexer
from .outages import BY_ITSELF, OutageLog, fix_of

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .dial import Dialer, LiveDialer

log = get_logger(__name__)

HANDSHAKE_REPLIES = 2
"""To HELLO and to SUBSCRIBE, one after the other."""
SPARE_QUESTIONS = 8
"""For questions that are sent before the interval has passed: a Sentinel announced a primary, or a connection is opened."""


UNREACHABLE_LOG_SECONDS = 60.0
"""At most one log line in so long says that a Sentinel cannot be reached."""
_UNREACHED = f"check that this Sentinel runs, and how long a round trip takes; {BY_ITSELF}"

SLOW_IN_A_ROW = 10
"""A warning is logged after so many replies in a row that are too slow for the lease. One slow reply says nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A Sentinel's reply. It is never changed; the next reply replaces it.

    `epoch`: the Sentinel's config epoch of this primary; `0 <= epoch`.
    `asked_at`: when the question was sent, by the monotonic clock: `asked_at <= now`.
    """

    primary: Address
    epoch: int
    asked_at: float


class Sentinel:
    """One Sentinel: its connection, and its last reply. `on_answer` is called after each question, with or without a reply.

    `answer`: the reply to the last question that has a reply or a fault; None if it has a fault.
    `fault`: why that question failed; empty exactly while there is a reply.
    `first_error`: the error of the first attempt to connect; None before it, and if it succeeded.
    `finished_at`: when that question was sent. It never decreases; 0 before the first.
    """

    def __init__(
        self,
        address: Address,
        service: str,
        dialer: Dialer | LiveDialer,
        on_answer: Callable[[], None],
        *,
        lease_seconds: float,
    ) -> None:
        self.address = address
        self.answer: Answer | None = None
        self.fault = "not asked yet"
        self.first_error: BaseException | None = None
        self.finished_at = 0.0
        self._service = service
        self._dialer = dialer
        self._on_answer = on_answer
        self._lease_seconds = lease_seconds
        self._interval = interval(lease_seconds)
        # How many of the last replies in a row were too slow for the lease. A quick one sets it back.
        self._slow = 0
        timeout = ask_timeout(lease_seconds, dialer.read_timeout)
        # Set to ask before the interval has passed.
        self._now = asyncio.Event()
        # A question takes one when it is sent, and gives it back with its reply or its fault.
        self._turns = asyncio.Semaphore(math.ceil(timeout / self._interval) + SPARE_QUESTIONS)
        # The questions under way. Each task removes itself.
        self._questions: set[asyncio.Task[None]] = set()
        # None before `start`.
        self._task: asyncio.Task[None] | None = None
        self._outages = OutageLog(self._fix_of, self._log_outage, general_fix=_UNREACHED)
        # When an outage was logged last, by the monotonic clock.
        self._outage_logged_at = -math.inf
        self._breaker = Breaker(self._breaker_moved)
        self._multiplexer = Multiplexer(
            self._open,
            self._breaker,
            read_timeout=timeout,
            write_timeout=timeout,
            connect_timeout=dialer.dial_timeout + HANDSHAKE_REPLIES * dialer.read_timeout,
            on_push=self._on_announcement,
        )

    async def start(self) -> None:
        """Begin to connect and to ask. Return after the first attempt to connect."""
        self.first_error = await self._multiplexer.start()
        self._task = asyncio.create_task(self._keep_asking(), name=f"stateroom sentinel {self.address}")

    async def aclose(self) -> None:
        """Stop asking and close the connection."""
        tasks = [*self._questions]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._multiplexer.aclose()
        await self._outages.aclose()

    def ask_now(self) -> None:
        """Send the next question now."""
        self._now.set()

    async def _keep_asking(self) -> None:
        while True:
            await self._turns.acquire()
            self._now.clear()  # whoever calls `ask_now` from here on needs another question
            question = asyncio.create_task(self._ask(time.monotonic()), name=f"stateroom question to Sentinel {self.address}")
            self._questions.add(question)
            question.add_done_callback(self._finished)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._now.wait()

    def _finished(self, question: asyncio.Task[None]) -> None:
        self._questions.discard(question)
        self._turns.release()

    async def _ask(self, asked_at: float) -> None:
        answer, fault = None, ""
        try:
            named, state = await asyncio.gather(
                self._multiplexer.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
                self._multiplexer.execute("SENTINEL", "MASTER", self._service),
            )
            answer = _answer(named, state, asked_at)
            self._judge_round_trip(time.monotonic() - asked_at)
        except StoreUnavailable as error:
            fault = error.detail
        except (RedisError, KeyError, ValueError, TypeError) as error:
            fault = f"{str(error) or type(error).__name__} (REDIS_MASTER_NAME is {self._service})"
        if asked_at < self.finished_at:  # a later question has its reply or its fault already
            return
        self.answer, self.fault, self.finished_at = answer, fault, asked_at
        self._on_answer()

    def _judge_round_trip(self, seconds: float) -> None:
        if settles(seconds, self._lease_seconds):
            self._slow = 0
            return
        self._slow += 1
        if self._slow == SLOW_IN_A_ROW:
            log.warning(
                "sentinel_slow",
                sentinel=str(self.address),
                seconds=round(seconds, 3),
                allowed=round(longest_round_trip(self._lease_seconds), 3),
                fix="run `stateroom doctor`, which names the JOURNAL_LEASE that fits",
            )

    async def _open(self) -> AbstractConnection:
        """Connect and subscribe. The confirmation is a push message. It is read here, or it would look like a reply."""
        connection = await self._dialer.dial(self.address)
        try:
            await connection.send_command("SUBSCRIBE", "+switch-master", check_health=False)
            await connection.read_response(push_request=True)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _breaker_moved(self, state: BreakerState, reason: str) -> None:
        if state is BreakerState.OPEN:
            self._outages.begin(reason, self._breaker.cause)
        elif state is BreakerState.CLOSED:
            self._outages.end()

    async def _fix_of(self, error: BaseException) -> str:
        return await fix_of(error, self._dialer.present, self.address, may_fail_over=False)

    def _log_outage(self, reason: str, fix: str) -> None:
        now = time.monotonic()
        if now - self._outage_logged_at >= UNREACHABLE_LOG_SECONDS:
            self._outage_logged_at = now
            log.warning("sentinel_unreachable", sentinel=str(self.address), reason=reason, fix=fix)

    def _on_announcement(self, push: list[Any]) -> None:
        if push[0] == b"message" and push[2].split(b" ", 1)[0].decode() == self._service:
            self.ask_now()


def _answer(named: Any, state: Any, asked_at: float) -> Answer:
    if not named:
        raise ValueError("this Sentinel does not know the primary")
    # A Sentinel that has promoted a replica replies with the new epoch at once, before it announces the replica.
    return Answer(Address(named[0].decode(), int(named[1])), int(fields_of(state)[b"config-epoch"]), asked_at)


def fields_of(state: Any) -> dict[bytes, bytes]:
    """The fields of a Sentinel's reply about one server. It is a map with RESP3 and a flat list with RESP2."""
    if isinstance(state, dict):
        return state
    return dict(zip(state[::2], state[1::2], strict=True))
