"""The session manager: every step of a session's life, for code with and without a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import DatabaseUnavailable, NotByAccessToken, StoreUnavailable
from .kept import KeptOfUser, kept_of_user
from .model.identity import SessionRef, UserId, is_handle, user_key
from .model.listing import Before, SessionInfo, place_of
from .model.record import SessionRecord
from .model.session import Session, record_of
from .sealing.access_tokens import looks_like_token
from .sealing.token_keys import key_set
from .store.pages import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backend.client import PoolFigures
    from ..database import Steps
    from ..settings import Settings
    from .journal.own_database import OwnDatabase
    from .model.clock import Clock
    from .model.credential import Credential
    from .model.rows import InTransaction
    from .protocol.restore import ClientNotesOf
    from .protocol.trust import StoreState
    from .sealing.key_ring import Purpose
    from .sealing.token_keys import TokenKey
    from .wiring import Parts

LISTED_AT_MOST = 1000
"""How many sessions a list shows unless it is told otherwise."""


class SessionManager:
    """Sessions of one application.

    A call that asks Redis raises `StoreUnavailable` if Redis does not reply, and a call that asks the journal raises
    `DatabaseUnavailable`. Before the application has started neither replies.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def settings(self) -> Settings:
        """The application's settings."""
        return self._parts.settings

    @property
    def clock(self) -> Clock:
        """Redis' time, which sessions use: `now_ms()` is milliseconds since the epoch."""
        return self._parts.clock

    # One session

    def anonymous(self) -> Session:
        """A new session of an anonymous visitor. It is not stored."""
        return Session(SessionRecord(), self._parts.saver)

    async def create(
        self,
        user_id: UserId | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        remember: bool = False,
        max_age: float | None = None,
    ) -> Session:
        """Store a new session with this data, signed in if a user is given. `seal` makes the client's value.

        `metadata`: notes of the client (`SessionInfo`). `max_age`: see `sign_in`.
        Raises `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`; `TypeError` for data that JSON cannot hold.
        """
        session = self.anonymous()
        session.update(data or {})
        await self.sign_in(session, user_id, metadata=metadata or {}, remember=remember, max_age=max_age)
        return session

    async def load(
        self, value: str, client_notes: ClientNotesOf = dict, *, may_copy: bool = True, purpose: Purpose = "cookie"
    ) -> Session:
        """The session of a sealed value, or of an access token. This call raises nothing. Attributes of the session may raise.

        If the value does not open, it is an anonymous visitor's session. If it opens and the session has ended, `ended` says
        why. While Redis is unavailable it may be `degraded`: the user is known, the data is unknown. If even the user cannot be
        known, every use of the session raises the cause.
        `client_notes`: returns the notes of the client, for a session that is stored again. `may_copy`: a copy may be used
        (`SESSION_CACHE_MAX_AGE`). `purpose`: whether the value came as a cookie or a bearer. A bearer may be an access token.
        """
        record = SessionRecord()
        try:
            credential = self._open(value, purpose)
        except DatabaseUnavailable as fault:
            record.fail(fault)
            return Session(record, self._parts.saver)
        if credential is None:
            self._parts.metrics.session_loads["invalid"].inc()
        else:
            await self._parts.loader.load(record, credential, client_notes, may_copy=may_copy)
            if credential.is_legacy and self._parts.key_ring.seals_former:
                record.must_reseal = False
        return Session(record, self._parts.saver)

    def opens(self, value: str) -> bool:
        """Whether a bearer is one of ours. Its session may have ended."""
        try:
            return self._open(value, "bearer") is not None
        except DatabaseUnavailable:  # it looks like ours
            return True

    def recognises(self, value: str) -> bool:
        """Whether a value has the form of one of our credentials, for any purpose, also if it opens nothing any more.

        A proxy that asks us must not pass such a value on to the application behind it.
        """
        tokens = self._parts.access_tokens
        return self._parts.key_ring.recognises(value) or (tokens is not None and tokens.recognises(value))

    def seal(self, session: Session, purpose: Purpose = "cookie") -> str:
        """The value that opens a stored session, for a cookie or for a bearer. A cookie's value does not open as a bearer.

        Raises `DatabaseUnavailable` while the deployment id is unknown. Raises `ValueError` if nothing is stored, or if an
        access token opened the session: an access token is good for minutes only.
        """
        record = record_of(session)
        if not record.token:
            if record.is_stored:
                raise ValueError("an access token opened the session; only a session of a cookie or a sealed bearer can be sealed")
            raise ValueError("the session is not stored; write to it or sign in first")
        return self._parts.key_ring.seal(
            record.token,
            purpose,
            user_id=record.user_id,
            generation=record.generation,
            auth_time=record.auth_ms,
            deadline=record.deadline_ms,
            idle_ms=record.idle_ms,
            issued_at=record.confirmed_ms or self._parts.clock.now_ms(),
            is_persistent=record.is_persistent,
            epoch=record.epoch,
            created_ms=record.created_ms,
        )

    async def save(self, session: Session, *, renew: bool = False) -> bool:
        """Write the changes; with `renew`, slide the idle lifetime if that is due. Returns whether the client needs a new value.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        return await self._parts.saver.save(record_of(session), renew=renew)

    async def renew(self, session: Session) -> bool:
        """Slide the idle lifetime, unless it was slid within `SESSION_RENEW_INTERVAL`.

        If Redis is unavailable or the session is gone, this returns False and raises nothing.
        """
        return await self._parts.saver.renew(record_of(session))

    async def was_replaced(self, session: Session) -> bool:
        """Whether the client has, or may have, a newer session than the ended one that its request brought. Raises nothing."""
        gone = record_of(session).gone
        if gone is None:
            return False
        try:
            return any(row.reason == "rotated" for row in (await self._parts.journal.look_up([gone])).rows)
        except DatabaseUnavailable:
            return True

    async def exists(self, user_id: UserId | None, handle: str) -> bool:
        """Whether the user (None: an anonymous visitor) has the session of this handle. Raises `StoreUnavailable`."""
        ref = SessionRef(user_key(user_id), handle)
        return is_handle(handle) and await self._parts.store.exists(ref)

    # Signing in and out

    async def sign_in(
        self,
        session: Session,
        user_id: UserId | None,
        *,
        metadata: Mapping[str, str],
        remember: bool = False,
        max_age: float | None = None,
        generation: int | None = None,
        epoch: str | None = None,
        degraded: bool = True,
    ) -> None:
        """Give the session a new id and this user. The data of an anonymous visitor stays, another user's data does not.

        While the store takes no writes the session is degraded: only its sealed value carries it. A later request stores it, in
        the same way as a session that Redis has lost. `max_age`: it lives at most this many seconds.
        `generation`: the user's, and `epoch`: the deployment's, both read before the password was checked.
        `degraded=False`: if the store takes no writes, this raises `StoreUnavailable`.
        Raises `SessionEnded` if all of the user's sessions were ended since then. The session then stays as it was before.
        Raises `ValueError` for a `max_age` below 1.
        """
        record = record_of(session)
        async with self._parts.saver.turn(record):
            await self._parts.sign_ins.sign_in(
                record,
                user_id,
                client_notes=metadata,
                remember=remember,
                max_age=max_age,
                generation=generation,
                epoch=epoch,
                degraded=degraded,
            )

    async def generation(self, user_id: UserId) -> int:
        """The user's generation, which each end of all of the user's sessions raises. Raises `DatabaseUnavailable`."""
        return (await self._parts.journal.current(user_key(user_id))).generation

    async def rotate(self, session: Session, *, signs_in: bool = False) -> None:
        """Give a stored session a new id; its data stays. Call this after any change of privilege.

        `signs_in`: the user has just given the password. Once the old session's end is committed the new session is good. If
        the store fails then, a later request stores the session without its data. Raises `NotByAccessToken`, `SessionEnded`,
        `StoreUnavailable`, `DatabaseUnavailable`.
        """
        record = record_of(session)
        async with self._parts.saver.turn(record):
            check_can_rotate(session)
            if record.ref.user:
                await self._parts.rotations.rotate(record, signs_in=signs_in)
            else:
                await self._parts.sign_ins.rotate_visitors(record)

    async def end(self, session: Session, reason: str = "logout") -> None:
        """End a session. Afterwards it is an anonymous visitor's. Raises `StoreUnavailable`, `DatabaseUnavailable`."""
        record = record_of(session)
        async with self._parts.saver.turn(record):
            ref = record.ending_ref
            if ref is None and record.fault is not None:  # nothing is known of the session, not even its id
                raise record.fault
            if ref is not None:
                await self._parts.ends.end(ref, reason)
            elif record.rotated_ref is not None:
                await self._parts.ends.end_what_became_of(record.rotated_ref, reason)
            record.forget()

    # A user's sessions

    async def list(self, user_id: UserId, *, limit: int = LISTED_AT_MOST, before: Before | None = None) -> list[SessionInfo]:
        """The user's live sessions, newest first, at most `limit` of them. Raises `StoreUnavailable`.

        `before`: the last session of the previous page, or its `id` and `created_at`. It may have ended meanwhile.
        An unreadable session is left out and logged. Raises `ValueError` for a limit below 1.
        """
        if limit < 1:
            raise ValueError("limit must be at least 1")
        position = None if before is None else Position(*place_of(before))
        found = await self._parts.store.newest(user_key(user_id), limit=limit, before=position)
        return [SessionInfo.of(handle, fields) for handle, fields in found]

    async def revoke(self, user_id: UserId, handle: str, *, reason: str = "revoked") -> bool | None:
        """End one session of the user. False if the user has no such session, None if that cannot be known.

        If it cannot be known, the end is committed nevertheless. Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        parts, ref = self._parts, SessionRef(user_key(user_id), handle)
        if not is_handle(handle):
            return False
        is_there: bool | None = None
        try:
            is_there = await parts.store.exists(ref)
        except StoreUnavailable:
            if not parts.trust.has_journal:
                raise
        if is_there is False and parts.trust.is_settled(parts.client.standing(parts.store.key(ref)).glimpse):
            return False
        ended = await parts.ends.end(ref, reason)
        return True if ended is not None or is_there else None

    async def revoke_all(
        self,
        user_id: UserId,
        *,
        keep: Session | None = None,
        reason: str = "revoked",
        in_transaction: InTransaction | None = None,
    ) -> int | None:
        """End every session of the user, except `keep`, which gets a new id. Returns how many ended, None if unknown.

        `in_transaction` is called with the connection that is about to commit the end. Its writes and the end are committed
        together or not at all. It needs the journal; without one this raises `ValueError`.
        Raises `SessionEnded` if `keep` has ended meanwhile, and `NotByAccessToken` if an access token opened it; then no session
        is ended. Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        user, parts = user_key(user_id), self._parts
        if in_transaction is not None and not parts.trust.has_journal:
            raise ValueError("with DATABASE_URL=none there is no transaction to write in")
        spare = ""
        if keep is None:
            generation, committed_at = await parts.ends.raise_generation(user, reason, in_transaction)
        else:
            record = record_of(keep)
            async with parts.saver.turn(record):
                check_can_rotate(keep)
                committed_at = await parts.rotations.rotate(record, revokes=reason, in_transaction=in_transaction)
            generation, spare = record.generation, record.ref.handle
        return await parts.ends.delete_older(
            user, generation if parts.trust.has_journal else None, reason, spare=spare, committed_at=committed_at
        )

    async def kept_of_user(self, user_id: UserId) -> KeptOfUser:
        """All stored facts of the user's sessions. Raises `StoreUnavailable`, `DatabaseUnavailable`."""
        return await kept_of_user(self._parts, user_id)

    async def end_everybody(self) -> int | None:
        """End the sessions of all users. Returns how many ended, None if unknown. Raises `DatabaseUnavailable`."""
        return await self._parts.ends.everybody()

    def report_unknown(self, user_id: UserId) -> None:
        """Report a user whom the application did not find. If a second look confirms it, the user's sessions end."""
        self._parts.unknown_users.report(user_key(user_id))

    def own(self, database: Steps) -> OwnDatabase:
        """The user database, for the application's tables. A step in another deployment's raises `DatabaseUnavailable`."""
        from .journal.own_database import OwnDatabase

        return OwnDatabase(database, self._parts.deployment)

    # The deployment

    def deployment(self) -> tuple[str, str]:
        """The deployment's id and name. Raises `DatabaseUnavailable` while the id is unknown."""
        deployment = self._parts.deployment
        return deployment.known_id(), deployment.name

    def derive_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for this purpose, derived from the first cookie key."""
        return self._parts.key_ring.derive_key(purpose)

    async def count_active(self) -> int:
        """The number of live sessions of the deployment. Raises `StoreUnavailable`."""
        return await self._parts.store.count_active()

    async def sweep(self) -> int:
        """Clear expired sessions out of the indexes, and count them. Returns how many. Raises `StoreUnavailable`.

        The application does this by itself while it runs.
        """
        return await self._parts.sweeper.sweep()

    async def ping(self) -> None:
        """Raises `StoreUnavailable` if Redis does not answer."""
        client = self._parts.client
        for shard in client.shards():
            await client.execute(shard, "PING")

    def pool_figures(self) -> PoolFigures:
        """The connection pool now."""
        return self._parts.client.pool_figures()

    def store_state(self) -> StoreState:
        """The store as this process sees it: settled, unsettled, read_only or away."""
        return self._parts.trust.state(self._parts.client, self._parts.store)

    def renewal_horizon(self) -> int:
        """Sessions that were renewed before this time are due for renewal (milliseconds since the epoch)."""
        return self._parts.saver.renewal_horizon()

    @property
    def has_access_tokens(self) -> bool:
        """Whether `JWT_KEYS` is set."""
        return self._parts.access_tokens is not None

    def mint_access_token(self, session: Session) -> tuple[str, int]:
        """An access token for a signed-in session, and how many seconds it is good.

        Raises `ValueError` without `JWT_KEYS`. Raises `NotByAccessToken` if an access token opened the session, because tokens
        that mint tokens would be good for as long as the session.
        """
        if self._parts.access_tokens is None:
            raise ValueError("access tokens are disabled; set JWT_KEYS to enable them")
        check_can_rotate(session)
        return self._parts.access_tokens.mint(record_of(session))

    def public_token_keys(self) -> dict[str, Any]:
        """The public keys of access tokens as a JSON Web Key Set (RFC 7517). Raises `ValueError` if tokens are off."""
        if self._parts.access_tokens is None:
            raise ValueError("access tokens are disabled; set JWT_KEYS to enable them")
        return key_set(self._parts.access_tokens.keys)

    def replace_token_keys(self, keys: Sequence[TokenKey]) -> None:
        """Use these keys of access tokens from now on: the first signs, all verify. Has no effect if tokens are off."""
        if self._parts.access_tokens is not None and keys:
            self._parts.access_tokens.replace(keys)

    def replace_keys(self, keys: Sequence[bytes]) -> None:
        """Use these cookie keys from now on: the first seals, all open. Values of other keys no longer open."""
        self._parts.key_ring.replace(keys)

    def _open(self, value: str, purpose: Purpose) -> Credential | None:
        tokens = self._parts.access_tokens
        if tokens is not None and purpose == "bearer" and looks_like_token(value):
            return tokens.open(value)
        return self._parts.key_ring.open(value, purpose)


def check_can_rotate(session: Session) -> None:
    """Raises `NotByAccessToken` if an access token opened the session, because no new value could reach the client."""
    record = record_of(session)
    if record.is_stored and not record.is_sealable:
        raise NotByAccessToken
