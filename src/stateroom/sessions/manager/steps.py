"""The steps of one session's life, from its first request to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import DatabaseUnavailable
from ..model.record import SessionRecord
from ..model.session import Session, check_can_rotate, record_of
from .credentials import Credentials

if TYPE_CHECKING:
    from ..model.identity import UserId
    from ..protocol.restore import ClientNotesOf
    from ..sealing.key_ring import Purpose


class SessionSteps(Credentials):
    """Making, loading, saving and ending a session, and signing its user in."""

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
