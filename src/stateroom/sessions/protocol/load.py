"""From a credential to a session: loaded from the store, known from the credential alone, ended, or unknown.

If something cannot be known, the session holds a fault. Code that asks the session gets the fault, and the client gets 503.
Without knowledge the response is never "signed out".
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from ...backend.budget import spend, within_budget
from ...backend.near_cache import HEARD_SECONDS
from ...backend.own_keys import is_of_another_type
from ...backend.standing import UNKNOWN
from ...errors import DatabaseUnavailable, SessionEnded, StoreUnavailable, Unavailable
from ...logs import get_logger
from ..model.fields import PENDING
from ..model.lifetimes import Lifetimes
from ..model.timestamps import expiry, facts_of, read_facts

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ...backend.standing import Glimpse
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from ..model.clock import Clock
    from ..model.credential import Credential
    from ..model.fields import Fields
    from ..model.identity import SessionRef
    from ..model.record import SessionRecord
    from ..model.sighting import Sighting
    from ..store.session_store import SessionStore
    from .replay import Replay
    from .restore import ClientNotesOf, Restore
    from .sightings import Sightings
    from .trust import Trust

log = get_logger(__name__)

_HEARD_MS = int(HEARD_SECONDS * 1000)


class Loader:
    """Loads the session of an opened credential."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        client: RedisClient,
        store: SessionStore,
        trust: Trust,
        replay: Replay,
        restore: Restore,
        sightings: Sightings,
        clock: Clock,
    ) -> None:
        self._client = client
        self._store = store
        self._trust = trust
        self._replay = replay
        self._restore = restore
        self._sightings = sightings
        self._clock = clock
        self._lifetimes = Lifetimes.of(settings)
        self._results = metrics.session_loads
        self._hits = metrics.session_loads["hit"]
        self._cache_hits = metrics.session_cache_hits
        self._keeps_copies = settings.session_cache_max_age > 0

    async def load(
        self, record: SessionRecord, credential: Credential, client_notes: ClientNotesOf, *, may_copy: bool = True
    ) -> None:
        """Make `record` what the credential opens: a stored session, a degraded one, an ended one, or an unknown one.

        `client_notes`: the notes of the client, for a session that is stored again. `may_copy`: a copy of the stored session
        may be used (`SESSION_CACHE_MAX_AGE`).
        """
        sighting = self._sightings.of(credential)
        if may_copy and self._keeps_copies and self._load_copy(record, credential, sighting):
            return
        key = sighting.key
        standing = self._client.standing(key)
        glimpse = standing.glimpse
        began = time.monotonic()
        try:
            fields = await self._store.load_fields(key)  # this takes the read time-out at most
        except StoreUnavailable as fault:
            spend(time.monotonic() - began)
            await self._load_without_store(record, credential, sighting, fault)
            return
        except ResponseError as error:  # a key of another type is not a session
            if not is_of_another_type(error, key):
                raise
            fields = {}
        now = time.monotonic()
        spend(now - began)
        if self._client.standing(key) is not standing:  # a Cluster's shard has answered for another one
            glimpse = UNKNOWN.glimpse
        if self._store.is_there(fields) and self._fill(record, credential, fields, sighting):
            if PENDING not in fields and self._trust.vouches(glimpse, credential.ref, record.generation, record.epoch, now):
                self._hit(record, sighting)
            else:
                await self._check_doubtful(record, credential, sighting, glimpse, is_pending=PENDING in fields)
            return
        await self._load_missing(record, credential, sighting, glimpse, client_notes)

    def fill(self, record: SessionRecord, credential: Credential, fields: Fields) -> bool:
        """Make `record` the session with these fields, which the caller has just stored or found. False if they are unreadable."""
        return self._fill(record, credential, fields, self._sightings.of(credential))

    async def ended(self, record: SessionRecord) -> SessionEnded:
        """The error for a session that the store had a moment ago. The record becomes an anonymous visitor's.

        Raises `StoreUnavailable` if Redis lost the session; the next request stores it again. Raises `DatabaseUnavailable`.
        """
        reason = await self._trust.why_ended_by_journal(record.ref, record.carried)
        if reason is None and record.ref.user and self._trust.has_journal and record.expires_ms > self._clock.now_ms():
            raise StoreUnavailable("Redis lost the session a moment ago; its next request stores it again")
        record.end(reason or "expired")
        return SessionEnded(reason or "expired")

    def _load_copy(self, record: SessionRecord, credential: Credential, sighting: Sighting) -> bool:
        """Load a copy of the stored session without asking Redis. False if there is no copy that may be used."""
        standing = self._client.standing(sighting.key)
        fields = standing.near.get(sighting.key) if standing.near is not None else None
        if fields is None or PENDING in fields:
            return False
        trust, ref = self._trust, credential.ref
        if not self._fill(record, credential, fields, sighting):
            return False
        now_monotonic = time.monotonic()
        if trust.has_journal and not trust.vouches(standing.glimpse, ref, record.generation, record.epoch, now_monotonic):
            record.forget()
            return False
        now = self._clock.now_ms()
        if record.expires_ms <= now:  # the server deletes it, and tells of that, perhaps later
            record.forget()
            return False
        # No invalidation has come: the store has it, or had it when it last replied.
        record.known_ms = now
        sighting.seen_ms, sighting.renewed_ms = now - _HEARD_MS, record.renewed_ms
        self._hits.pending += 1
        self._cache_hits.pending += 1
        return True

    def _fill(self, record: SessionRecord, credential: Credential, fields: Fields, sighting: Sighting) -> bool:
        """Whether the fields are a live session of the credential's user. Unreadable fields are a missing session."""
        try:
            facts = facts_of(fields)
            timestamps = sighting.timestamps
            if timestamps is None or facts != sighting.facts:  # they are equal at most requests
                timestamps = read_facts(facts, credential.user, self._lifetimes, is_persistent=credential.is_persistent)
                sighting.facts, sighting.timestamps = facts, timestamps
            if timestamps.is_bounded and timestamps.expires <= self._clock.now_ms():
                return False  # Redis keeps it for longer than the settings allow
            record.fill(credential, fields, timestamps, sighting)
        except (KeyError, ValueError):
            record.forget()
            log.warning("session_unreadable", session=credential.handle)
            return False
        return True

    def _hit(self, record: SessionRecord, sighting: Sighting) -> None:
        record.known_ms = sighting.seen_ms = self._clock.now_ms()
        sighting.renewed_ms = record.renewed_ms
        self._hits.pending += 1

    async def _check_doubtful(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, glimpse: Glimpse, *, is_pending: bool
    ) -> None:
        """The store has the session, but the store alone is not enough to trust it."""
        ref = credential.ref
        try:
            if is_pending and self._trust.has_journal:
                reason = await self._restore.settle_pending(ref, record.carried)
            else:
                reason = await self._trust.why_ended(glimpse, ref, record.carried)
        except Unavailable as fault:
            record.forget()
            self._unknown(record, credential, fault)
            return
        if reason is None:
            self._hit(record, sighting)
        else:
            record.forget()
            self._ended(record, credential, reason)
            if not is_pending and self._trust.is_settled(glimpse):
                await self._clear_away(ref, reason)

    async def _clear_away(self, ref: SessionRef, reason: str) -> None:
        """Delete an ended session that the replay did not find: it was stored later, or the user's index did not name it."""
        if reason != "rotated":  # a rotated one may be on its way to its new id, and still holds the data
            with contextlib.suppress(StoreUnavailable):
                await self._store.delete_without_waiting(ref)

    async def _load_missing(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, glimpse: Glimpse, client_notes: ClientNotesOf
    ) -> None:
        """The store has no such session: it was ended, has expired, or was lost."""
        if not credential.user:
            record.has_gone(credential.ref, credential.carried, None)
            self._results["miss"].inc()
            return
        try:
            self._replay.hurry_unless_covered(glimpse)
            if not credential.token:
                await self._load_missing_by_token(record, credential, sighting, glimpse)
            elif not self._trust.is_settled(glimpse):
                fault = StoreUnavailable("the store is not settled and has no such session")
                await self._load_by_journal(record, credential, sighting, fault)
            elif not self._trust.is_good_alone(credential, sighting):
                self._ended(record, credential, await self._reason_of_miss(credential))
            else:
                await self._store_again(record, credential, sighting, client_notes)
        except Unavailable as fault:
            self._unknown(record, credential, fault)

    async def _load_missing_by_token(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, glimpse: Glimpse
    ) -> None:
        """An access token restores no lost session. For its few minutes it tells who the user is, unless the session has ended.

        Raises `DatabaseUnavailable`, and `StoreUnavailable` if the store cannot say whether there is a tombstone.
        """
        if self._trust.is_settled(glimpse) and not self._trust.is_good_alone(credential, sighting):
            self._ended(record, credential, await self._reason_of_miss(credential))
            return
        reason = await within_budget(self._store.tombstone(credential.ref))
        if reason is not None:
            self._ended(record, credential, reason)
            return
        fault = StoreUnavailable("Redis does not have the session, and an access token does not store it again")
        await self._load_by_journal(record, credential, sighting, fault)

    async def _reason_of_miss(self, credential: Credential) -> str:
        """The reason for the 401, which is sent in any case; `expired` if it cannot be known."""
        try:
            return await self._trust.why_ended_by_journal(credential.ref, credential.carried) or "expired"
        except DatabaseUnavailable:
            return "expired"

    async def _store_again(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, client_notes: ClientNotesOf
    ) -> None:
        try:
            outcome = await self._restore.restore(
                credential, created_ms=_created_ms(credential, sighting), renewed_ms=sighting.renewed_ms, client_notes=client_notes
            )
        except StoreUnavailable as fault:  # it takes no write now; a later request restores the session
            await self._load_by_journal(record, credential, sighting, fault)
            return
        if outcome.fields is not None and self._fill(record, credential, outcome.fields, sighting):
            record.restored = outcome.is_new
            self._hit(record, sighting)
        else:
            self._ended(record, credential, outcome.reason or "expired")

    async def _load_without_store(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, fault: StoreUnavailable
    ) -> None:
        if not credential.user:
            record.degrade(fault)
            self._results["degraded"].inc()
            return
        try:
            await self._load_by_journal(record, credential, sighting, fault)
        except DatabaseUnavailable as other:
            self._unknown(record, credential, other)

    async def _load_by_journal(
        self, record: SessionRecord, credential: Credential, sighting: Sighting, fault: StoreUnavailable
    ) -> None:
        """Load from the credential and the journal alone. Raises `DatabaseUnavailable`."""
        if not self._trust.has_journal:
            self._unknown(record, credential, fault)
            return
        if credential.deadline <= self._clock.now_ms():
            self._ended(record, credential, "expired")
            return
        reason = await self._trust.why_ended_by_journal(credential.ref, credential.carried)
        if reason is not None:
            self._ended(record, credential, reason)
        elif self._trust.is_good_alone(credential, sighting):
            record.fill_from_credential(
                credential,
                created_ms=_created_ms(credential, sighting),
                renewed_ms=sighting.renewed_ms,
                expires_ms=expiry(sighting.renewed_ms, idle=credential.idle_ms, deadline=credential.deadline),
                confirmed_ms=self._trust.confirmed_ms(credential, sighting),
            )
            record.degrade(fault)
            self._results["degraded"].inc()
        else:
            self._unknown(record, credential, fault)

    def _ended(self, record: SessionRecord, credential: Credential, reason: str) -> None:
        record.has_gone(credential.ref, credential.carried, reason)
        self._results["miss"].inc()

    def _unknown(self, record: SessionRecord, credential: Credential, fault: Unavailable) -> None:
        record.fail(fault, credential.ref)
        self._results["degraded"].inc()


def _created_ms(credential: Credential, sighting: Sighting) -> int:
    """When the session was made. A value of the release before does not tell; then what this worker saw in Redis."""
    if credential.created_ms or sighting.timestamps is None:
        return credential.created_ms or credential.auth_time
    return sighting.timestamps.created
