"""Sessions of responses that stay open: which of them have ended?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..errors import StoreUnavailable
from .model.timestamps import expires_ms, is_readable

if TYPE_CHECKING:
    from .model.deployment import Current
    from .model.identity import SessionRef
    from .wiring import Parts


class SessionWatch:
    """What one process knows of ends, without a request's loading a session."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def has_journal(self) -> bool:
        """Whether ends are heard from the journal. Otherwise only asking the store tells."""
        return self._parts.trust.has_journal

    @property
    def is_journal_away(self) -> bool:
        """Whether the journal does not answer."""
        return self._parts.tail.is_away

    def reason(self, ref: SessionRef, carried: Current) -> str | None:
        """Why this session, which carries that, has ended, as far as this process has heard."""
        return self._parts.tail.reason(ref, carried)

    async def expiry_of(self, ref: SessionRef) -> int | None:
        """When the stored session expires (milliseconds since the epoch); None if it is gone. Raises `StoreUnavailable`."""
        fields = await self._parts.store.load(ref)
        return None if fields is None or not is_readable(fields, ref.handle) else expires_ms(fields)

    async def tombstone(self, ref: SessionRef) -> str | None:
        """Why the session was ended while the journal was unavailable; None if it was not, or Redis does not answer."""
        with contextlib.suppress(StoreUnavailable):  # a Cluster's other shards answer
            return await self._parts.store.tombstone(ref)
        return None
