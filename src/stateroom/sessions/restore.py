"""Sessions that Redis lost come back: after a failover, an eviction, a flush; and a sign-in while it was away.

The store is settled and says that there is no such session, but the cookie was confirmed a moment ago, and the
journal has no end for it: it is stored again under the same token, without its data. It stays pending until the
journal has been asked once more, for an end that was committed while it was being stored. Parallel first requests are
harmless, and so is an answer that gets lost. Nobody who should be out comes back, because every end and every
rotation is in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from ..errors import StoreUnavailable
from .notes import pack

if TYPE_CHECKING:
    from ..backend.client import Argument
    from ..telemetry.metrics import Metrics
    from .cookie import Cookie
    from .honour import Honour
    from .keys import Address
    from .store import Fields, SessionStore

log = structlog.get_logger(__name__)

NotesOf = Callable[[], Mapping[str, str]]
"""Tells what a session notes of its client, where one is stored again."""


class Restore:
    """Stores lost sessions again."""

    def __init__(self, store: SessionStore, honour: Honour, metrics: Metrics) -> None:
        self._store = store
        self._honour = honour
        self._metrics = metrics

    async def restore(self, cookie: Cookie, created_ms: int, notes: NotesOf) -> tuple[Fields | None, str | None, bool]:
        """The session's fields or why it has ended, and whether this call has brought it back.

        Raises `DatabaseUnavailable` where the journal cannot be asked, `StoreUnavailable` where the store takes no
        write.
        """

        def fields() -> Mapping[str, Argument]:
            return {"g": cookie.generation, "a": cookie.auth_time, **pack(notes())}

        found, reason, is_new = await self.store_unless_ended(cookie, created_ms, fields)
        if is_new:
            self._metrics.sessions_restored.inc()
            log.info("session_restored", session=cookie.handle)
        return found, reason, is_new

    async def store_unless_ended(
        self, cookie: Cookie, created_ms: int, fields: Callable[[], Mapping[str, Argument]]
    ) -> tuple[Fields | None, str | None, bool]:
        """The same of any session whose token is known beforehand. `fields`: what it holds where it is not there."""
        at = cookie.address
        reason = await self._honour.why_ended_by_journal(at.user, at.handle, cookie.generation)
        if reason is not None:
            return None, reason, False
        is_new = await self._store.restore(
            at, created=created_ms, renewed=cookie.renewed_ms, deadline=cookie.deadline, idle_ms=cookie.idle_ms, fields=fields()
        )
        if is_new is None:
            return None, "expired", False
        reason = await self.settle_pending(at, cookie.generation)
        if reason is not None:
            return None, reason, False
        found = await self._store.load(at)
        if found is None:
            raise StoreUnavailable("Redis lost the session again")
        return found, None, is_new

    async def settle_pending(self, at: Address, generation: int) -> str | None:
        """Ask the journal about a pending session: clear its mark, or delete it and say why.

        Raises `DatabaseUnavailable`, then it stays pending; `StoreUnavailable` where Redis has lost it again.
        """
        reason = await self._second_look(at, generation)
        is_there = True
        try:
            if reason is not None:
                await self._store.end_at_once(at)
            else:
                is_there = await self._store.confirm(at)
        except StoreUnavailable as fault:  # the journal's word is what counts; the next request clears up
            log.debug("pending_session_stays", session=at.handle, reason=fault.detail)
        if not is_there:
            reason = await self._honour.why_ended_by_journal(at.user, at.handle, generation)
            if reason is None:
                raise StoreUnavailable("Redis lost the session again")
        return reason

    async def _second_look(self, at: Address, generation: int) -> str | None:
        return await self._honour.why_ended_by_journal(at.user, at.handle, generation)
