"""Limits failed sign-ins, and mails: for each account and address, and, with a far higher limit, for each address.

An attempt is counted before it is made, and the count is taken back if it succeeds. Nobody can lock out a user from
another address. Ten typing errors do not lock out an office behind one address. If Redis is unavailable, each worker
counts by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

from ..addresses import network_around, parse_client
from ..backend.budget import aside
from ..backend.client import RedisClient, Script
from ..backend.own_keys import log_another_type, log_unreadable, number_in, value_of
from ..errors import StoreUnavailable, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backend.client import Argument
    from ..settings import Settings

IPV6_PREFIX = 64
MAX_LOCAL_COUNTS = 10_000


def count_script(name: str) -> Script:
    """Read a script of counts, for `run_count`."""
    return Script.read(f"{__package__}.lua", name, shared=["counts"])


_RESERVE, _FORGIVE, _GIVE_BACK = count_script("reserve"), count_script("forgive"), count_script("give_back")


class Throttle:
    """Counts attempts in Redis. If Redis is unavailable, it counts in this process."""

    def __init__(self, client: RedisClient, keys: str, limits: tuple[int, int], window: float) -> None:
        """`keys`: how the names of the keys begin. `limits`: for each account and address, and for each address.

        `window`: how long a count lives, in seconds.
        """
        self._client = client
        self._begin = keys
        self._limits = limits
        self._window = window
        self._local = LocalCounts()

    @classmethod
    def of_logins(cls, client: RedisClient, settings: Settings) -> Self:
        """Limits failed sign-ins."""
        limits = settings.login_attempts, settings.login_attempts_per_address
        return cls(client, f"{settings.redis_key_prefix}:{{t", limits, float(settings.login_window))

    @classmethod
    def of_mails(cls, client: RedisClient, settings: Settings) -> Self:
        """Limits mails that somebody asks for."""
        limits = settings.mail_requests, settings.mail_requests_per_address
        return cls(client, f"{settings.redis_key_prefix}:{{m", limits, float(settings.mail_requests_window))

    async def reserve(self, email: str, address: str | None) -> None:
        """Count an attempt, unless a limit is reached. Raises `TooManyAttempts` then."""
        keys = self._keys(email, address)
        try:
            wait = await aside(run_count(self._client, _RESERVE, keys, [*self._limits, int(self._window * 1000)]))
        except StoreUnavailable:
            wait = self._local.reserve(keys, self._limits, self._window)
        if wait > 0:
            raise TooManyAttempts(max(1, math.ceil(wait)))

    async def forgive(self, email: str, address: str | None) -> None:
        """The attempt succeeded: forget the account's failures from this address, and take the address's count back."""
        keys = self._keys(email, address)
        self._local.give_back(keys)
        self._local.forget(keys[0])
        with contextlib.suppress(StoreUnavailable):
            await run_count(self._client, _FORGIVE, keys)

    async def acquit(self, email: str, address: str | None) -> None:
        """Forget the account's failures from this address. The attempt stays counted for the address."""
        key = self._keys(email, address)[0]
        self._local.forget(key)
        with contextlib.suppress(StoreUnavailable):
            await self._client.execute(key, "DEL", key)

    async def give_back(self, email: str, address: str | None) -> None:
        """The attempt could not be made: take both counts back."""
        keys = self._keys(email, address)
        self._local.give_back(keys)
        with contextlib.suppress(StoreUnavailable):
            await run_count(self._client, _GIVE_BACK, keys)

    async def failures(self, email: str, address: str) -> int:
        """How many attempts are counted for an account from this address now. Raises `StoreUnavailable`."""
        key = self._keys(email, address)[0]
        return number_in(await value_of(self._client, key), key) or 0

    async def forget(self, email: str, address: str) -> None:
        """Delete the count of an account from this address. Raises `StoreUnavailable`."""
        key = self._keys(email, address)[0]
        await self._client.execute(key, "DEL", key)

    def _keys(self, email: str, address: str | None) -> tuple[str, str]:
        """The keys of both counts. They contain hashes instead of addresses, and are in one Cluster slot."""
        network = digest(network_of(address))
        account = digest(email)
        return f"{self._begin}{network}}}:{account}", f"{self._begin}{network}}}:all"


async def run_count(client: RedisClient, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> float:
    """Run a script of counts. Returns how many seconds to wait; 0 if the step was counted. Raises `StoreUnavailable`.

    A key that held no count was deleted. This logs it.
    """
    wait, of_another_type, unreadable = await client.run(script, keys, args)
    for key in of_another_type:
        log_another_type(key.decode(), is_replaced=True)
    for key in unreadable:
        log_unreadable(key.decode())
    return int(wait) / 1000


class LocalCounts:
    """Counts in this process' memory. If there are too many, the key that was counted longest ago is dropped."""

    def __init__(self) -> None:
        # Key -> (count, end of the window by the monotonic clock). 0 <= count <= the key's limit.
        # len(_counts) <= MAX_LOCAL_COUNTS. The key that was counted last is at the end.
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def reserve(self, keys: tuple[str, ...], limits: tuple[int, ...], window: float) -> float:
        """Count each key, unless one has reached its limit. Returns how many seconds to wait; 0 if the keys were counted."""
        now = time.monotonic()
        seen = [self._counts.get(key, (0, 0.0)) for key in keys]
        seen = [(count, until) if until > now else (0, now + window) for count, until in seen]
        wait = max((until - now for (count, until), limit in zip(seen, limits, strict=True) if count >= limit), default=0.0)
        if wait <= 0:
            for key, (count, until) in zip(keys, seen, strict=True):
                self._counts[key] = (count + 1, until)
                self._counts.move_to_end(key)
            while len(self._counts) > MAX_LOCAL_COUNTS:
                self._counts.popitem(last=False)
        return wait

    def give_back(self, keys: tuple[str, ...]) -> None:
        """Take one count of each key back."""
        for key in keys:
            count, until = self._counts.get(key, (0, 0.0))
            if count:
                self._counts[key] = (count - 1, until)

    def forget(self, key: str) -> None:
        """Drop a key's count."""
        self._counts.pop(key, None)


def network_of(address: str | None) -> str:
    """An IPv4 address, or the /64 network of an IPv6 address, because one user usually has all of it. Empty if unknown."""
    parsed = parse_client(address)
    if parsed is None:
        return ""
    return str(parsed) if parsed.version == 4 else str(network_around(parsed, ipv4_prefix=32, ipv6_prefix=IPV6_PREFIX))


def digest(text: str) -> str:
    """A hash that replaces an address or an account in the name of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
