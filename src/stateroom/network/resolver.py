"""Looks up the addresses of host names, and never lets one name delay another.

`socket.getaddrinfo` cannot be cancelled, and a name server that does not reply blocks it for 10 seconds or longer. asyncio
calls it in its default executor, and uvloop calls it in libuv's four threads. A few retries of one dead name occupy all of
them, and then no other name can be looked up. So look-ups have threads of their own, and at most one thread for each name.

`getaddrinfo` is kept, because it does what the host is configured to do: /etc/hosts, nsswitch.conf, search domains. A
resolver in Python or C (aiodns) would do only a part of that.

A look-up that is answered always counts. While a name is not answered, or is answered with a temporary fault, the
addresses of its last answer are used. That a name does not exist (NXDOMAIN) is an answer: its addresses are forgotten,
because another server may have them soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..logs import get_logger

log = get_logger(__name__)

REMEMBER_SECONDS = 600.0
"""How long the addresses of a name are used after its last answer."""
FRESH_SHARE = 0.25
"""The part of the time-out that a caller gives a look-up before it uses remembered addresses. The rest is for connecting."""
MAX_THREADS = 32
"""How many look-ups may run at once. Others wait until one of them ends."""
assert 0 < FRESH_SHARE < 1, "a fresh answer must get a chance, and so must the connection"

# https://man7.org/linux/man-pages/man3/getaddrinfo.3.html. musl and macOS lack some of these.
_NO_SUCH_NAME = frozenset(getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name))

LookUp: TypeAlias = "Callable[[str], Sequence[Endpoint]]"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a name. `host`: the IP address. `rest`: what follows the port in a socket address (IPv6 only)."""

    family: socket.AddressFamily
    host: str
    rest: tuple[int, ...] = ()

    def at(self, port: int) -> tuple[Any, ...]:
        """The socket address with this port."""
        return (self.host, port, *self.rest)


class NameUnanswered(socket.gaierror):
    """No name server has answered for a name in time. This says nothing about whether the name exists."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(socket.EAI_AGAIN, f"the name {name} was not resolved within {seconds:g} s, because DNS does not answer")


@dataclass(slots=True)
class _LookUp:
    """A look-up that has begun. `outcome` is None until it has ended. `waiting`: an event, and its loop, for each caller."""

    began_at: float
    outcome: tuple[Endpoint, ...] | OSError | None = None
    waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The last good answer for a name, and when it came. It is not changed; the next answer replaces it."""

    endpoints: tuple[Endpoint, ...]
    at: float


def system_look_up(name: str) -> Sequence[Endpoint]:
    """The addresses of a name, in the order of the system. Blocks. Raises `OSError`, mostly `socket.gaierror`."""
    return _endpoints(name)


class Resolver:
    """Resolves names for all event loops of this process. `look_up` blocks, and raises `OSError`.

    Invariants: `0 <= _threads <= MAX_THREADS`; each name that waits for a thread or is being looked up is in `_under_way`.
    """

    def __init__(self, look_up: LookUp = system_look_up, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[str, _LookUp] = {}
        self._queued: deque[str] = deque()
        self._threads = 0
        self._answers: dict[str, _Answer] = {}
        # Names for which we have logged that a remembered answer is used.
        self._told: set[str] = set()

    async def resolve(self, name: str, *, timeout: float) -> tuple[Endpoint, ...]:
        """The addresses of a name, at least one. An IP address needs no look-up. `timeout` is in seconds.

        Raises `socket.gaierror`: `NameUnanswered` if nothing is known about the name after `timeout`.
        """
        with contextlib.suppress(OSError, UnicodeError):
            return _endpoints(name, socket.AI_NUMERICHOST)
        look_up = self._begin(name)
        patience = timeout
        if self._remembered(name) is not None:
            patience = look_up.began_at + timeout * FRESH_SHARE - self._clock()
        await self._ended(look_up, patience)
        outcome = look_up.outcome
        if isinstance(outcome, tuple):
            self._told.discard(name)
            return outcome
        if outcome is None or not _is_final(outcome):
            remembered = self._remembered(name)
            if remembered is not None:
                self._tell(name, remembered)
                return remembered.endpoints
        if outcome is None:
            raise NameUnanswered(name, timeout)
        raise type(outcome)(*outcome.args)  # a copy, because several callers raise it

    def _remembered(self, name: str) -> _Answer | None:
        with self._lock:
            answer = self._answers.get(name)
        return answer if answer is not None and self._clock() - answer.at < REMEMBER_SECONDS else None

    def _tell(self, name: str, answer: _Answer) -> None:
        """Log once that DNS does not answer. The next answer in time ends this."""
        if name not in self._told:
            self._told.add(name)
            log.warning(
                "name_not_answered",
                host=name,
                age_seconds=round(self._clock() - answer.at, 1),
                fix="check the name servers of this host (/etc/resolv.conf); until they answer, the last known address is used",
            )

    def _begin(self, name: str) -> _LookUp:
        """The look-up of this name that is under way, or a new one."""
        with self._lock:
            look_up = self._under_way.get(name)
            if look_up is None:
                look_up = self._under_way[name] = _LookUp(self._clock())
                self._queued.append(name)
                if self._threads < MAX_THREADS:
                    self._start_thread()
            return look_up

    def _start_thread(self) -> None:
        # A daemon, so that a look-up that hangs does not keep the process from ending.
        thread = threading.Thread(target=self._work, name="stateroom-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # The system allows no more threads.
            name = self._queued.pop()
            self._under_way.pop(name).outcome = OSError(socket.EAI_MEMORY, str(error))
        else:
            self._threads += 1

    async def _ended(self, look_up: _LookUp, seconds: float) -> None:
        """Wait until the look-up has ended, or the time is over."""
        event = asyncio.Event()
        with self._lock:
            if look_up.outcome is not None:
                return
            look_up.waiting[event] = asyncio.get_running_loop()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
        finally:
            with self._lock:
                look_up.waiting.pop(event, None)

    def _work(self) -> None:
        """Look up names until none waits. This is the body of a thread."""
        while True:
            with self._lock:
                if not self._queued:
                    self._threads -= 1
                    return
                name = self._queued.popleft()
            self._end(name, self._outcome(name))

    def _outcome(self, name: str) -> tuple[Endpoint, ...] | OSError:
        try:
            return tuple(self._look_up(name))
        except UnicodeError:  # No name has an empty part, or a part of more than 63 characters.
            return socket.gaierror(socket.EAI_NONAME, "this is not a valid host name")
        except OSError as error:
            return error
        except Exception as error:  # noqa: BLE001 (the callers would wait for a thread that has ended)
            return OSError(socket.EAI_FAIL, f"{type(error).__name__}: {error}")

    def _end(self, name: str, outcome: tuple[Endpoint, ...] | OSError) -> None:
        now = self._clock()
        with self._lock:
            look_up = self._under_way.pop(name)
            look_up.outcome = outcome
            if isinstance(outcome, tuple):
                self._answers[name] = _Answer(outcome, now)
                self._answers = {each: known for each, known in self._answers.items() if now - known.at < REMEMBER_SECONDS}
            elif _is_final(outcome):
                self._answers.pop(name, None)
            waiting = list(look_up.waiting.items())
        for event, loop in waiting:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(event.set)


def _endpoints(name: str, flags: int = 0) -> tuple[Endpoint, ...]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(Endpoint(family, str(address[0]), address[2:]) for family, _, _, _, address in found)


def _is_final(fault: OSError) -> bool:
    """Whether the fault is an answer: the name does not exist."""
    return isinstance(fault, socket.gaierror) and fault.errno in _NO_SUCH_NAME


RESOLVER = Resolver()
"""The resolver of this process."""
