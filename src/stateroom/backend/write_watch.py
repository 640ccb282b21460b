"""How long a server may take no bytes: `REDIS_WRITE_TIMEOUT`.

A command is handed over when the transport has given its bytes to the kernel. A server that reads nothing lets the
kernel's buffer fill, and then the transport's (64 KiB with asyncio and uvloop). From there on the transport calls
`pause_writing`, and `resume_writing` once bytes flow again
(https://docs.python.org/3/library/asyncio-protocol.html#asyncio.BaseProtocol.pause_writing). A server that takes
bytes slowly resets the time with each `resume_writing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import StoreUnavailable

SECOND_LOOK_SECONDS = 0.001
LONGEST_SECOND_LOOK_SECONDS = 0.05
assert 0 < SECOND_LOOK_SECONDS <= LONGEST_SECOND_LOOK_SECONDS, "the second look would always have the longest time"


def patience(held_up: float) -> float:
    """How long to look again after a timer that was `held_up` seconds late.

    A loop that was held up finds its timers due before it has looked at the socket: look once, then judge. The reason
    may have held up the whole machine and the server with it. So the later the timer, the longer the second look. A
    paused machine is not a dead server.
    """
    return min(max(held_up, SECOND_LOOK_SECONDS), LONGEST_SECOND_LOOK_SECONDS)


class WriteWatch:
    """Calls `on_overdue` with the fault once the transport of one connection has been paused for `timeout` seconds.

    `_timer`: set exactly while the transport is paused; None again when `on_overdue` is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, on_overdue: Callable[[StoreUnavailable], None]) -> None:
        self._loop = loop
        self._timeout = timeout
        self._on_overdue = on_overdue
        self._timer: asyncio.TimerHandle | None = None

    def paused(self) -> None:
        """The transport takes bytes, but its buffer is full."""
        due = self._loop.time() + self._timeout
        self._timer = self._loop.call_at(due, self._look_again, due)

    def resumed(self) -> None:
        """The buffer has room again, or the connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, due: float) -> None:
        self._timer = self._loop.call_later(patience(self._loop.time() - due), self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        self._on_overdue(not_taken(self._timeout))


def not_taken(write_timeout: float) -> StoreUnavailable:
    """The fault of a command that could not be handed over."""
    return StoreUnavailable(f"Redis took no command within {write_timeout:g} s (REDIS_WRITE_TIMEOUT)", kind="timeout")
