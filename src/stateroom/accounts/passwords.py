"""Passwords: the rules, and bcrypt off the loop.

bcrypt takes 72 bytes and refuses more, so a password is first made 44 characters: base64 of its SHA-256, or of its
HMAC-SHA256 under `PASSWORD_PEPPER`. What is stored says which (`sha256$…`, `pepper$…`), so that a pepper can be
added later. A password counts exactly as typed, NUL bytes too.
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
from typing import TYPE_CHECKING, TypeVar

import bcrypt

from ..errors import FieldError, Saturated, SettingsError, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..settings import Settings
    from ..telemetry.metrics import Metrics

MAX_PASSWORD_LENGTH = 1024
WAITING_PER_THREAD = 32
"""How many computations may wait for each thread: at 0.25 s each, eight seconds' worth."""
NICENESS = 10
"""Hashing threads yield to the event loop: a storm of sign-ins must not slow session checks down."""

_PLAIN, _PEPPERED = "sha256", "pepper"

# The salt and hash parts of a bcrypt string, made up.
_NOBODYS_SALT_AND_HASH = "." * 21 + "O" + "." * 31

T = TypeVar("T")


class Passwords:
    """Hashes and verifies. Owns its threads; `aclose` ends them."""

    def __init__(self, settings: Settings, metrics: Metrics, *, threads: int | None = None) -> None:
        self._rounds = settings.bcrypt_rounds
        self._min_length = settings.password_min_length
        self._pepper = settings.password_pepper.get_secret_value().encode() if settings.password_pepper else None
        self._blocklist = _read_blocklist(settings)
        self._metrics = metrics
        self._threads = threads or max(1, (os.cpu_count() or 1) - 1)
        self._executor = ThreadPoolExecutor(self._threads, "stateroom-bcrypt", initializer=_yield_to_the_loop)
        self._under_way = 0
        self._shares: Counter[str] = Counter()
        self._seconds_each = 0.25
        # What an unknown user's password is compared with: as costly as a known one's. A hash of these rounds that
        # no password has; computing one would cost the start a quarter of a second.
        self._decoy = f"{_PLAIN}$$2b${self._rounds:02d}${_NOBODYS_SALT_AND_HASH}"

    async def aclose(self) -> None:
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def errors(self, password: str, field: str = "password") -> list[FieldError]:
        """What is wrong with a password that somebody chooses, if anything."""
        if len(password) < self._min_length:
            return [FieldError(field, f"must have at least {self._min_length} characters")]
        if len(password) > MAX_PASSWORD_LENGTH:
            return [FieldError(field, f"must have at most {MAX_PASSWORD_LENGTH} characters")]
        if password.lower() in self._blocklist:
            return [FieldError(field, "is one of the most common passwords; choose another")]
        return []

    @contextlib.contextmanager
    def share(self, who: str) -> Iterator[None]:
        """A place for one computation at a time of somebody's: others must find room beside them.

        Raises `TooManyAttempts` where they have half of the queue.
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
        """What to store for a password. Raises `Saturated`."""
        tag = _PEPPERED if self._pepper is not None else _PLAIN
        prepared = self._prepare(password, tag)
        hashed = await self._compute(lambda: bcrypt.hashpw(prepared, bcrypt.gensalt(self._rounds)))
        return f"{tag}${hashed.decode()}"

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the stored one; for None, no, after the same time. Raises `Saturated`."""
        known = stored or self._decoy
        tag, _, hashed = known.partition("$")
        prepared = self._prepare(password, tag)
        matches = await self._compute(lambda: bcrypt.checkpw(prepared, hashed.encode()))
        return matches and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether settings have changed since it was stored."""
        tag, _, hashed = stored.partition("$")
        wanted = _PEPPERED if self._pepper is not None else _PLAIN
        return tag != wanted or int(hashed.split("$")[2]) != self._rounds

    def _prepare(self, password: str, tag: str) -> bytes:
        raw = password.encode("utf-8", "surrogatepass")
        if tag == _PEPPERED:
            if self._pepper is None:
                raise SettingsError("PASSWORD_PEPPER is not set, but passwords were stored with it; set it again")
            digest = hmac.digest(self._pepper, raw, "sha256")
        else:
            digest = hashlib.sha256(raw).digest()
        return base64.b64encode(digest)

    async def _compute(self, work: Callable[[], T]) -> T:
        """Run in a hashing thread. A full queue is refused before anything is computed."""
        waiting = self._under_way - self._threads
        if waiting >= self._threads * WAITING_PER_THREAD:
            self._metrics.password_hash_refusals.inc()
            seconds = math.ceil(waiting / self._threads * self._seconds_each)
            raise Saturated("too many sign-ins at once", retry_after=max(1, seconds))
        self._count(+1)
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work)
        # A caller that goes away leaves its computation running: it counts until it has ended.
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


def _yield_to_the_loop() -> None:
    """Linux lets a thread be nicer than its process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _read_blocklist(settings: Settings) -> frozenset[str]:
    """`PASSWORD_BLOCKLIST`: a file of one password a line, `off`, or the built-in list (none in embedded mode)."""
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
