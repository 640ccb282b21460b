"""Storing lost sessions again: after a failover, an eviction or a flush, or after a sign-in while Redis was unavailable.

The store is settled and says that there is no such session, but its credential was confirmed a moment ago, and the
journal has no end for it. Then it is stored again under its token, without its data. It stays pending until a second lookup
in the journal, because an end may have been committed while it was being stored. Parallel first requests do no harm, and
neither does a response that gets lost. No ended session is stored again: every end and every rotation is in the journal, or
has left a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ...errors import StoreUnavailable
from ...logs import get_logger
from ..model.client_notes import pack
from ..model.fields import sign_in_fields

if TYPE_CHECKING:
    from ...backend.client import Argument
    from ...telemetry.metrics import Metrics
    from ..model.credential import Credential
    from ..model.deployment import Current
    from ..model.fields import Fields
    from ..model.identity import SessionRef
    from ..store.session_store import SessionStore
    from .trust import Trust

log = get_logger(__name__)

ClientNotesOf = Callable[[], Mapping[str, str]]
"""Returns the notes of a session's client. It is called only if a session is stored again."""


class Restored(NamedTuple):
    """`fields`: the stored session's; None if it has ended. `reason`: why it has ended. `is_new`: this call has stored it."""

    fields: Fields | None
    reason: str | None
    is_new: bool


class Restore:
    """Stores lost sessions again."""

    def __init__(self, *, store: SessionStore, trust: Trust, metrics: Metrics) -> None:
        self._store = store
        self._trust = trust
        self._metrics = metrics

    async def restore(self, credential: Credential, *, created_ms: int, renewed_ms: int, client_notes: ClientNotesOf) -> Restored:
        """Store the credential's session again, unless it has ended.

        Raises `DatabaseUnavailable` if the journal cannot be asked, `StoreUnavailable` if the store takes no write.
        """

        def fields() -> Mapping[str, Argument]:
            return {**sign_in_fields(credential.carried, credential.auth_time), **pack(client_notes())}

        outcome = await self.store_unless_ended(credential, created_ms=created_ms, renewed_ms=renewed_ms, fields=fields)
        if outcome.is_new:
            self._metrics.sessions_restored.inc()
            log.info("session_restored", session=credential.handle)
        return outcome

    async def store_unless_ended(
        self, credential: Credential, *, created_ms: int, renewed_ms: int, fields: Callable[[], Mapping[str, Argument]]
    ) -> Restored:
        """Store a session whose token is known beforehand, unless it is stored or has ended. `fields`: what it will hold.

        Raises as `restore`.
        """
        ref = credential.ref
        reason = await self._trust.why_ended_by_journal(ref, credential.carried)
        if reason is not None:
            return Restored(None, reason, is_new=False)
        is_new = await self._store.restore(
            ref, created=created_ms, renewed=renewed_ms, deadline=credential.deadline, idle_ms=credential.idle_ms, fields=fields()
        )
        if is_new is None:
            return Restored(None, "expired", is_new=False)
        reason = await self.settle_pending(ref, credential.carried)
        if reason is not None:
            return Restored(None, reason, is_new=False)
        found = await self._store.load(ref)
        if found is None:
            raise StoreUnavailable("Redis lost the session again")
        return Restored(found, None, is_new)

    async def settle_pending(self, ref: SessionRef, carried: Current) -> str | None:
        """Look a pending session up in the journal: clear the pending field, or delete the session and return why it ended.

        Raises `DatabaseUnavailable`; then it stays pending. Raises `StoreUnavailable` if Redis has lost it again.
        """
        reason = await self._second_look(ref, carried)
        is_there = True
        try:
            if reason is not None:
                await self._store.delete_without_waiting(ref)
            else:
                is_there = await self._store.confirm(ref)
        except StoreUnavailable as fault:  # the journal decides; the next request clears the field
            log.debug("pending_session_stays", session=ref.handle, reason=fault.detail)
        if not is_there:
            reason = await self._trust.why_ended_by_journal(ref, carried)
            if reason is None:
                raise StoreUnavailable("Redis lost the session again")
        return reason

    async def _second_look(self, ref: SessionRef, carried: Current) -> str | None:
        """A method of its own, so that a drill can switch it off (drills/worker.py). Then ended sessions are stored again."""
        return await self._trust.why_ended_by_journal(ref, carried)
