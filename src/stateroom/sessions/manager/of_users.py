"""All sessions of a user, or of all users: listing and ending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import StoreUnavailable
from ..kept import KeptOfUser, kept_of_user
from ..model.identity import SessionRef, UserId, is_handle, user_key
from ..model.listing import Before, SessionInfo, place_of
from ..model.session import Session, check_can_rotate, record_of
from ..store.pages import Position
from .on_parts import OnParts

if TYPE_CHECKING:
    from ..model.rows import InTransaction

LISTED_AT_MOST = 1000
"""How many sessions a list shows unless it is told otherwise."""


class OfUsers(OnParts):
    """Calls that name a user, and need none of the user's credentials."""

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

    async def exists(self, user_id: UserId | None, handle: str) -> bool:
        """Whether the user (None: an anonymous visitor) has the session of this handle. Raises `StoreUnavailable`."""
        ref = SessionRef(user_key(user_id), handle)
        return is_handle(handle) and await self._parts.store.exists(ref)

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

    async def end_everybody(self) -> int | None:
        """End the sessions of all users. Returns how many ended, None if unknown. Raises `DatabaseUnavailable`."""
        return await self._parts.ends.everybody()

    async def generation(self, user_id: UserId) -> int:
        """The user's generation, which each end of all of the user's sessions raises. Raises `DatabaseUnavailable`."""
        return (await self._parts.journal.current(user_key(user_id))).generation

    async def kept_of_user(self, user_id: UserId) -> KeptOfUser:
        """All stored facts of the user's sessions. Raises `StoreUnavailable`, `DatabaseUnavailable`."""
        return await kept_of_user(self._parts, user_id)

    def report_unknown(self, user_id: UserId) -> None:
        """Report a user whom the application did not find. If a second look confirms it, the user's sessions end."""
        self._parts.unknown_users.report(user_key(user_id))
