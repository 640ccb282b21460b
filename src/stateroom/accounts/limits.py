"""Limits what one account and one address can write: sign-ins, new session ids, revoked sessions.

Each of these steps writes sessions and rows of the journal, and a signed-in user may repeat them as fast as the network
allows. A sign-out is not limited: it ends one session and needs its cookie, so there are never more of them than sign-ins.

Steps that need the password and steps that need only a session are counted apart. A thief of a cookie can use up
the second count, and the owner can still sign in and change the password, which ends every session. If Redis is
unavailable, each worker counts by itself.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Literal

from ..backend.budget import aside
from ..errors import StoreUnavailable, TooManyAttempts
from ..logs import get_logger
from .throttle import LocalCounts, count_script, digest, network_of, run_count

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..settings import Settings

log = get_logger(__name__)

Kind = Literal["password", "session"]
"""What a step needs: the account's password, or only a session."""

_TAKE = count_script("take")


class ChangeLimits:
    """Counts changes in Redis. If Redis is unavailable, it counts in this process."""

    def __init__(self, client: RedisClient, settings: Settings) -> None:
        self._client = client
        self._prefix = settings.redis_key_prefix
        self._per_user = settings.session_changes_per_user
        self._per_address = settings.session_changes_per_address
        self._window = float(settings.session_changes_window)
        self._local = LocalCounts()

    async def take(self, kind: Kind, user_id: int | None, address: str | None) -> None:
        """Count one change of a user from an address. `user_id`: None if the account is not made yet.

        Raises `TooManyAttempts` if one of both limits is reached. A change that one limit refuses still counts for the other.
        """
        counts = {"SESSION_CHANGES_PER_ADDRESS": self._take(f"a{digest(network_of(address))}", self._per_address)}
        if user_id is not None:
            counts["SESSION_CHANGES_PER_USER"] = self._take(f"{kind[0]}{digest(str(user_id))}", self._per_user)
        waits = dict(zip(counts, await asyncio.gather(*counts.values()), strict=True))
        setting = max(waits, key=waits.__getitem__)
        if waits[setting] > 0:
            log.warning("change_limit_reached", setting=setting, user_id=user_id)
            raise TooManyAttempts(max(1, math.ceil(waits[setting])), "sign-ins and changes of sessions")

    async def _take(self, who: str, limit: int) -> float:
        """Seconds until the change would be allowed; 0 if it is allowed now."""
        if not limit:
            return 0.0
        key = f"{self._prefix}:{{c{who}}}:changes"
        try:
            return await aside(run_count(self._client, _TAKE, [key], [limit, int(self._window * 1000)]))
        except StoreUnavailable:
            return self._local.reserve((key,), (limit,), self._window)
