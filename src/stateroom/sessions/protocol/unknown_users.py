"""Ending the sessions of users whom the user database does not know.

A database that was restored from a backup lacks the users who registered after the backup. Their sessions would live on
without an account. While the journal says that it was restored (`Tail.restored`), lookups ask for the user too, and one
worker searches the store for sessions of unknown users. The service also reports a user whom it did not find.

A user counts as unknown only after two looks a minute apart, so that a half-restored database ends no session meanwhile. If
many users are unknown, no session is ended: then it is the wrong database, or half of the right one. Until a session of an
unknown user is ended, its requests get 503.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from ...logs import get_logger
from ..model.identity import UserId, user_id_of
from ..model.rows import UNKNOWN_USER

if TYPE_CHECKING:
    from ..journal.interface import EndsJournal
    from ..journal.tail import Tail
    from ..store.session_store import SessionStore
    from .ends import Ends

log = get_logger(__name__)

KnownUsers = Callable[[Collection[UserId]], Awaitable[Collection[UserId]]]
"""Which of these users exist, by the primary of the user database. Raises `DatabaseUnavailable`."""

SECOND_LOOK_SECONDS = 60.0
ASKED_AT_ONCE = 500
FEW = 10
"""Up to this many unknown users are signed out whatever their share is. A small deployment may lose all of its users."""
GREATEST_SHARE = 0.1


class UnknownUsers:
    """One worker's search. `known_users`: asks the application; None if it has no table of users, and then no session ends.

    Times are of the monotonic clock. `_first_seen`: users who were found unknown, and when first. `_due_at`: when the whole
    store is searched next. `_done_at`: when the present search may be over; None while there is none.
    """

    def __init__(
        self,
        *,
        journal: EndsJournal,
        tail: Tail,
        store: SessionStore,
        ends: Ends,
        known_users: KnownUsers | None,
        least_seconds: float,
    ) -> None:
        """`least_seconds`: how long a credential may restore a session. A search lasts longer."""
        self._journal = journal
        self._tail = tail
        self._store = store
        self._ends = ends
        self._known_users = known_users
        self._least_seconds = least_seconds
        self._first_seen: dict[str, float] = {}
        self._due_at = 0.0
        self._done_at: float | None = None
        self._word: str | None = None

    def report(self, user: str) -> None:
        """The application did not find this user. The next turn looks again."""
        if self._known_users is not None:
            self._first_seen.setdefault(user, time.monotonic())

    async def check(self, users: Collection[str]) -> set[str]:
        """Which of these users are unknown; none unless the database counts as restored. Raises `DatabaseUnavailable`."""
        return await self._unknown(users) if self._tail.restored is not None else set()

    async def turn(self, *, sweeps: bool) -> None:
        """Look again at reported users. If this worker sweeps and the database counts as restored, look at all users.

        Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        word = self._tail.restored
        if word != self._word:
            self._word, self._done_at, self._due_at = word, None, 0.0
        if not sweeps or word is None:
            if self._first_seen:
                await self._look(self._first_seen)
            return
        if time.monotonic() < self._due_at:
            return
        if self._done_at is None:
            self._done_at = time.monotonic() + self._least_seconds + SECOND_LOOK_SECONDS
        if self._known_users is not None:  # without a table of users no user can be unknown
            await self._look(self._first_seen.keys() | await self._store.users())
        self._due_at = time.monotonic() + SECOND_LOOK_SECONDS
        if not self._first_seen and self._is_over():
            await self._journal.clear_restored(seen=word)
            log.info("restore_cleared_up")

    def _is_over(self) -> bool:
        return self._known_users is None or (self._done_at is not None and time.monotonic() > self._done_at)

    async def _look(self, asked: Collection[str]) -> None:
        unknown = await self._unknown(asked)
        now = time.monotonic()
        self._first_seen = {user: self._first_seen.get(user, now) for user in unknown}
        if len(unknown) > max(FEW, GREATEST_SHARE * len(asked)):
            log.error(
                "many_users_unknown", unknown=len(unknown), asked=len(asked),
                fix="restore the whole user database, or run `stateroom db adopt`, which signs all users out",
            )  # fmt: skip
            return
        for user, since in list(self._first_seen.items()):
            if now - since >= SECOND_LOOK_SECONDS:
                await self._end(user)
                del self._first_seen[user]

    async def _end(self, user: str) -> None:
        generation, committed_at = await self._ends.raise_generation(user, UNKNOWN_USER)
        count = await self._ends.delete_older(user, generation, UNKNOWN_USER, spare="", committed_at=committed_at)
        log.warning("unknown_user_ended", user_id=user_id_of(user), count=count)

    async def _unknown(self, users: Collection[str]) -> set[str]:
        if self._known_users is None:
            return set()
        keys = [user for user in users if user]
        unknown: set[str] = set()
        for begin in range(0, len(keys), ASKED_AT_ONCE):
            ids = {user_id_of(key): key for key in keys[begin : begin + ASKED_AT_ONCE]}
            known = set(await self._known_users([each for each in ids if each is not None]))
            unknown |= {key for each, key in ids.items() if each not in known}
        return unknown
