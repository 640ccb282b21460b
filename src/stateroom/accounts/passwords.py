"""Passwords: the rules for new ones, and bcrypt in threads beside the event loop.

bcrypt takes at most 72 bytes. So a password is first turned into 44 characters: base64 of its SHA-256, or of its
HMAC-SHA256 with `PASSWORD_PEPPER` as the key. The stored hash says which of the two it is (`sha256$…`, `pepper$…`), so a
pepper can be added later. Every character of a password counts, NUL bytes too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import math
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import bcrypt
import structlog

from ..errors import FieldError, Saturated, SettingsError, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ..settings import Settings
    from ..telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

MAX_PASSWORD_LENGTH = 1024
WAITING_PER_THREAD = 32
"""How many computations may wait for each thread. At 0.25 s each they take eight seconds."""
NICENESS = 10
"""Hashing threads have a lower priority than the event loop, so that many sign-ins do not slow session checks down."""
assert WAITING_PER_THREAD >= 2, "one client may have half of the queue, which must be at least one place"

PLAIN, PEPPERED = "sha256", "pepper"

# An invented salt and hash in the form of bcrypt's.
_NOBODYS_SALT_AND_HASH = "." * 21 + "O" + "." * 31

T = TypeVar("T")


class PasswordKind(NamedTuple):
    """Whether `PASSWORD_PEPPER` is in the hash, and bcrypt's cost (`BCRYPT_ROUNDS` of the time)."""

    is_peppered: bool
    rounds: int


class Passwords:
    """Hashes and verifies passwords. It owns the hashing threads; `aclose` ends them."""

    def __init__(self, settings: Settings, metrics: Metrics, *, threads: int | None = None) -> None:
        self._rounds = settings.bcrypt_rounds
        self._min_length = settings.password_min_length
        self._pepper = settings.password_pepper.get_secret_value().encode() if settings.password_pepper else None
        self._blocklist = _read_blocklist(settings)
        self._metrics = metrics
        self._threads = threads or max(1, (os.cpu_count() or 1) - 1)
        self._executor = ThreadPoolExecutor(self._threads, "stateroom-bcrypt", initializer=_lower_priority)
        # Computations that run or wait: 0 <= _under_way <= _threads * (1 + WAITING_PER_THREAD).
        self._under_way = 0
        # Network -> its attempts that have a place now: 1 <= _shares[who] <= _threads * WAITING_PER_THREAD // 2.
        # A network without attempts has no entry.
        self._shares: Counter[str] = Counter()
        # How long the last computation took; a guess before the first. It only serves for Retry-After.
        self._seconds_each = 0.25
        # Every check takes as long as one of this cost: the highest that is stored or set. `_rounds <= _level`.
        self._level = self._rounds

    async def aclose(self) -> None:
        """End the hashing threads. Computations that have not begun are cancelled."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def errors(self, password: str, field: str = "password") -> list[FieldError]:
        """The faults of a new password; empty if it is good."""
        if len(password) < self._min_length:
            return [FieldError(field, f"must have at least {self._min_length} characters")]
        if len(password) > MAX_PASSWORD_LENGTH:
            return [FieldError(field, f"must have at most {MAX_PASSWORD_LENGTH} characters")]
        if password.lower() in self._blocklist:
            return [FieldError(field, "is one of the most common passwords; choose another")]
        return []

    @contextlib.contextmanager
    def share(self, who: str) -> Iterator[None]:
        """Take a place in the queue for one attempt of a network, until the block ends.

        One network may have at most half of the queue, so that others find room. Raises `TooManyAttempts` if it has that.
        """
        taken = self._shares[who]
        if taken >= self._threads * WAITING_PER_THREAD // 2:
            raise TooManyAttempts(max(1, math.ceil(taken / self._threads * self._seconds_each)))
        self._shares[who] += 1
        try:
            yield
        finally:
            self._shares[who] -= 1
            if not self._shares[who]:
                del self._shares[who]

    async def hash(self, password: str) -> str:
        """Return the hash to store for a password. Raises `Saturated`."""
        tag = PEPPERED if self._pepper is not None else PLAIN
        prepared = self._prepare(password, tag)
        hashed = await self._compute(lambda: bcrypt.hashpw(prepared, bcrypt.gensalt(self._rounds)))
        return f"{tag}${hashed.decode()}"

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether this is the password of the stored hash. Raises `Saturated`.

        `stored` is None for an unknown user: then the answer is no. Each check takes as long as any other, whatever cost was
        stored: a check of cost c is followed by dummies of the costs c, c+1, … up to the highest cost less one, and
        2^c + 2^c + 2^(c+1) + … is 2^highest.
        """
        tag, _, hashed = (stored or f"{PLAIN}${_decoy(self._level)}").partition("$")
        if tag == PEPPERED and self._pepper is None:
            log.error("pepper_missing", fix="passwords were stored with PASSWORD_PEPPER; set it again")
            tag, hashed, stored = PLAIN, _decoy(self._level), None
        prepared, rounds = self._prepare(password, tag), _rounds_of(hashed)
        self._level = max(self._level, rounds)
        costs = range(rounds, self._level)

        def check() -> bool:
            matches = bcrypt.checkpw(prepared, hashed.encode())
            for cost in costs:
                bcrypt.checkpw(prepared, _decoy(cost).encode())
            return matches

        return await self._compute(check) and stored is not None

    def know_stored(self, kinds: Collection[PasswordKind]) -> None:
        """How the stored passwords were hashed: no check is quicker than the slowest of them."""
        self._level = max([self._rounds, *(each.rounds for each in kinds)])

    @property
    def has_pepper(self) -> bool:
        """Whether `PASSWORD_PEPPER` is set."""
        return self._pepper is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether the settings for hashing have changed since this hash was stored."""
        tag, _, hashed = stored.partition("$")
        wanted = PEPPERED if self._pepper is not None else PLAIN
        return tag != wanted or _rounds_of(hashed) != self._rounds

    def _prepare(self, password: str, tag: str) -> bytes:
        raw = password.encode("utf-8", "surrogatepass")
        if tag == PEPPERED and self._pepper is not None:
            digest = hmac.digest(self._pepper, raw, "sha256")
        else:
            digest = hashlib.sha256(raw).digest()
        return base64.b64encode(digest)

    async def _compute(self, work: Callable[[], T]) -> T:
        """Run a computation in a hashing thread. Raises `Saturated` at once if the queue is full."""
        waiting = self._under_way - self._threads
        if waiting >= self._threads * WAITING_PER_THREAD:
            self._metrics.password_hash_refusals.inc()
            seconds = math.ceil(waiting / self._threads * self._seconds_each)
            raise Saturated("too many sign-ins at once", retry_after=max(1, seconds))
        self._count(+1)
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work)
        # If the caller is cancelled, its computation still runs to its end, and counts until then.
        future.add_done_callback(lambda _: self._count(-1))
        result, took = await asyncio.shield(future)
        self._seconds_each = took
        self._metrics.password_hash_duration.observe(took)
        return result

    def _count(self, step: int) -> None:
        self._under_way += step
        self._metrics.password_hash_queue_depth.set(max(0, self._under_way - self._threads))

    @staticmethod
    def _timed(work: Callable[[], T]) -> tuple[T, float]:
        began = time.perf_counter()
        return work(), time.perf_counter() - began


def _decoy(rounds: int) -> str:
    """A hash of this cost that no password has. It is not computed, because that would take as long as a check."""
    return f"$2b${rounds:02d}${_NOBODYS_SALT_AND_HASH}"


def _rounds_of(hashed: str) -> int:
    return int(hashed.split("$")[2])


def _lower_priority() -> None:
    """Lower the priority of this thread. Linux allows that for a single thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _read_blocklist(settings: Settings) -> frozenset[str]:
    """`PASSWORD_BLOCKLIST`: a file with one password in each line, `off`, or the built-in list (none in embedded mode)."""
    chosen = settings.password_blocklist
    if chosen == "off" or (chosen is None and settings.is_embedded):
        return frozenset()
    try:
        if chosen is None:
            text = (resources.files(__package__) / "common_passwords.txt").read_text(encoding="utf-8")
        else:
            text = Path(chosen).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"PASSWORD_BLOCKLIST: {chosen} cannot be read: {error}; name a text file, or off") from None
    return frozenset(line.strip().lower() for line in text.splitlines() if line.strip())
