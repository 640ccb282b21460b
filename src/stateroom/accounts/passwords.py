"""Passwords: the rules for new ones, and bcrypt in threads beside the event loop.

bcrypt takes at most 72 bytes. So a password is first turned into 44 characters: base64 of its SHA-256, or of its
HMAC-SHA256 with `PASSWORD_PEPPER` as the key. The stored hash says which of the two it is (`sha256$…`, `p:1a2b$…`), so a
pepper can be added later. The four digits tell whether the pepper is still the one that was used. Earlier releases wrote
`pepper$…`, without these digits. Every character of a password counts, NUL bytes too.

Every check does the work of the most costly hash, because the time must not tell whether an account exists. A hash of
cost c takes 2^c steps. After a check at a lower cost, the costs c, c + 1, … up to the highest one but one are computed too.
The sum of all steps is 2^highest, whatever c is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import math
import os
import re
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import bcrypt

from ..errors import REQUIRED, FieldError, Saturated, SettingsError, TooManyAttempts
from ..logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..settings import Settings
    from ..telemetry.metrics import Metrics

MAX_PASSWORD_LENGTH = 1024
WAITING_PER_THREAD = 32
"""How many computations may wait for each thread. At 0.25 s each they take eight seconds."""
NICENESS = 10
"""Hashing threads have a lower priority than the event loop, so that many sign-ins do not slow session checks down."""
COMMON = "is one of the most common passwords; choose another one"
assert WAITING_PER_THREAD >= 2, "one client may have half of the queue, which must be at least one place"

_PLAIN, _PEPPERED_BEFORE = "sha256", "pepper"
_KIND = re.compile(r"(sha256|pepper|p:[0-9a-f]{4})\$\$2b\$([0-9]{2})\$")
KIND_LENGTH = 14
"""How many characters at the beginning of a stored hash say its kind: the pre-hash and the cost."""
assert len(_PLAIN) == len(_PEPPERED_BEFORE) == len("p:1a2b") == KIND_LENGTH - len("$$2b$12$")

# An invented salt and hash in the form of bcrypt's.
_NOBODYS_SALT = "." * 21 + "O"
_NOBODYS_SALT_AND_HASH = _NOBODYS_SALT + "." * 31

LOCKED = f"{_PLAIN}$$2b$12${_NOBODYS_SALT_AND_HASH}"
"""A stored hash that no password has. Earlier releases understand it too."""

log = get_logger(__name__)

T = TypeVar("T")


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
        # How long the last computation took; a guess before the first. It is used only for Retry-After.
        self._seconds_each = 0.25
        # The cost of the work that every check does: the highest one known. self._rounds <= _highest.
        self._highest = self._rounds
        self._pepper_tag = _PLAIN if self._pepper is None else f"p:{_check_digits(self._pepper)}"

    async def aclose(self) -> None:
        """End the hashing threads. Computations that have not begun are cancelled."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def errors(self, password: str, field: str = "password") -> list[FieldError]:
        """The errors of a new password; none if it is valid."""
        if not password:
            return [FieldError(field, REQUIRED)]
        if len(password) < self._min_length:
            return [FieldError(field, f"must have at least {self._min_length} characters")]
        if len(password) > MAX_PASSWORD_LENGTH:
            return [FieldError(field, f"must have at most {MAX_PASSWORD_LENGTH} characters")]
        if password.lower() in self._blocklist:
            return [FieldError(field, COMMON)]
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

    def survey(self, kinds: Iterable[str]) -> None:
        """Learn from the database what is stored: the first `KIND_LENGTH` characters of each hash, each kind once.

        Raises `SettingsError` if passwords were stored with a pepper that `PASSWORD_PEPPER` does not hold.
        """
        for kind in kinds:
            known = _KIND.fullmatch(kind)
            if known is None:
                continue
            if not self._has_pepper_of(known[1]):
                if self._pepper is None:
                    raise SettingsError(
                        "PASSWORD_PEPPER is not set, but it was set when the passwords were stored; set the old value again"
                    )
                raise SettingsError(
                    "PASSWORD_PEPPER is not the value with which the passwords were stored; set the old value again"
                )
            self._highest = max(self._highest, int(known[2]))

    async def hash(self, password: str) -> str:
        """Return the hash to store for a password. Raises `Saturated`."""
        prepared = self._prepare(password, self._pepper_tag)
        hashed = await self._compute(lambda: bcrypt.hashpw(prepared, bcrypt.gensalt(self._rounds)))
        return f"{self._pepper_tag}${hashed.decode()}"

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether this is the password of the stored hash. Raises `Saturated`.

        `stored` is None for an unknown user: then the result is False, after as much work. A hash that cannot be checked, because
        the pepper is missing, gives the same result, so that the result does not tell who has an account.
        """
        known = _KIND.match(stored or "")
        if known is not None and not self._has_pepper_of(known[1]):
            log.error("password_pepper_missing", fix="set PASSWORD_PEPPER to the value that it had when the passwords were stored")
            known = None
        if known is None or stored is None:
            prepared, salt = self._prepare(password, self._pepper_tag), _salt(self._highest)
            await self._compute(lambda: bcrypt.hashpw(prepared, salt))
            return False
        hashed, cost = stored.partition("$")[2].encode(), int(known[2])
        self._highest = max(self._highest, cost)
        prepared, rest = self._prepare(password, known[1]), range(cost, self._highest)
        return await self._compute(lambda: _checked(prepared, hashed, rest))

    def needs_rehash(self, stored: str) -> bool:
        """Whether the settings for hashing have changed since this hash was stored."""
        known = _KIND.match(stored)
        if known is None or int(known[2]) != self._rounds:
            return True
        # A hash of an earlier release with the pepper stays as it is, because that release may still run on other hosts.
        return known[1] != self._pepper_tag and (self._pepper is None or known[1] != _PEPPERED_BEFORE)

    def _has_pepper_of(self, tag: str) -> bool:
        """Whether a pre-hash of this kind can be computed now. Without check digits, any pepper may be the right one."""
        return tag in {_PLAIN, self._pepper_tag} or (tag == _PEPPERED_BEFORE and self._pepper is not None)

    def _prepare(self, password: str, tag: str) -> bytes:
        raw = password.encode("utf-8", "surrogatepass")
        if tag != _PLAIN:
            assert self._pepper is not None, "callers have asked _has_pepper_of"
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


def _check_digits(pepper: bytes) -> str:
    """Digits that tell one pepper from another. They are 16 bits, so that they do not help anybody to guess it."""
    return hmac.digest(pepper, b"stateroom: which pepper is this", "sha256").hex()[:4]


def _salt(cost: int) -> bytes:
    return f"$2b${cost:02d}${_NOBODYS_SALT}".encode()


def _checked(prepared: bytes, hashed: bytes, more: Iterable[int]) -> bool:
    matches = bcrypt.checkpw(prepared, hashed)
    for cost in more:
        bcrypt.hashpw(prepared, _salt(cost))
    return matches


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
