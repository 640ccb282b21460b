"""Tells which sessions of open responses have ended."""

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
    """What one process knows of ends. It loads no sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def has_journal(self) -> bool:
        """Whether the journal tells of ends. Without a journal the store must be asked."""
        return self._parts.trust.has_journal

    @property
    def is_journal_away(self) -> bool:
        """Whether the journal does not answer."""
        return self._parts.tail.is_away

    def reason(self, ref: SessionRef, carried: Current) -> str | None:
        """Why this session, with this generation and epoch, has ended, as far as this process knows."""
        return self._parts.tail.reason(ref, carried)

    async def expiry_of(self, ref: SessionRef) -> int | None:
        """When the stored session expires (milliseconds since the epoch); None if it is gone. Raises `StoreUnavailable`."""
        fields = await self._parts.store.load(ref)
        return None if fields is None or not is_readable(fields, ref.handle) else expires_ms(fields)

    async def tombstone(self, ref: SessionRef) -> str | None:
        """The reason in the session's tombstone; None if it has none, or Redis does not reply."""
        with contextlib.suppress(StoreUnavailable):  # the other shards of a Cluster may reply
            return await self._parts.store.tombstone(ref)
        return None
