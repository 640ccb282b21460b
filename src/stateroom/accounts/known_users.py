"""Users and their groups as this process last read them, for callers that ask at each request and while the database is away."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .access.model import Person
    from .groups import Groups
    from .user import User
    from .users import Users

USERS_REMEMBERED = 10_000
FACTS_SECONDS = 60.0
"""How old the facts in forward auth's headers may be while the database answers."""
RETRY_SECONDS = 1.0
"""While the database is unavailable it is asked once in this time, and no other request waits for it that has facts."""
PATIENCE_SECONDS = 1.0
"""How long a request that has facts waits for the database. A proxy waits two seconds for the answer."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What access rules and applications are told of a user. `user` has no password hash.

    `person`: the user for access rules and applications (trusted.py).
    `is_nobody`: such a user has no access, and applications are told of nobody. The account is disabled, or may do nothing but
    verify. To disable a user ends the sessions, but Redis may be unavailable then.
    """

    user: User
    groups: frozenset[str]
    person: Person
    is_nobody: bool


class _UnknownUser(DatabaseUnavailable):
    """The database answers, and does not have the user of a session."""


@dataclass(frozen=True, slots=True)
class _Read:
    """`read_at`: by the monotonic clock, in seconds, when the reading began."""

    facts: Facts
    read_at: float


class KnownUsers:
    """What one process knows of users. The users read longest ago are dropped if there are too many."""

    def __init__(
        self,
        users: Users,
        groups: Groups,
        *,
        person_of: Callable[[User, frozenset[str]], Person],
        is_restricted: Callable[[User], bool],
        trusted_seconds: float,
        report_unknown: Callable[[int], None],
    ) -> None:
        """`trusted_seconds`: how old facts may be while the database is unavailable.

        `person_of`: makes a user with these groups the person of the facts. `is_restricted`: see `Accounts.is_restricted`.
        `report_unknown`: called with the id of a session's user whom the database does not have.
        """
        self._users = users
        self._groups = groups
        self._person_of, self._is_restricted = person_of, is_restricted
        self._trusted_seconds = trusted_seconds
        self._report_unknown = report_unknown
        self._failed_at = float("-inf")
        # Users without their password hashes; the user read last is at the end. len(_known) <= USERS_REMEMBERED.
        self._known: OrderedDict[int, User] = OrderedDict()
        # The groups of some of these users. len(_read) <= 2 * USERS_REMEMBERED. A user in `_known` was read then or later.
        self._read: dict[int, _Read] = {}
        # The users who are being read.
        self._readings: dict[int, asyncio.Task[Facts]] = {}

    def remember(self, user: User) -> None:
        """Keep a user who was just read."""
        self._known[user.id] = replace(user, password_hash="")
        self._known.move_to_end(user.id)
        if len(self._known) > USERS_REMEMBERED:
            dropped, _ = self._known.popitem(last=False)
            self._read.pop(dropped, None)

    def last_read(self, user_id: int) -> User | None:
        """The user as this process last read it; None if it has not, or not lately."""
        return self._known.get(user_id)

    async def get(self, user_id: int) -> User:
        """See `Accounts.get`."""
        user = await self._users.by_id(user_id)
        if user is None:
            self._known.pop(user_id, None)
            self._read.pop(user_id, None)
            self._report_unknown(user_id)
            raise _UnknownUser("the user database does not know this user; it may have been restored from a backup")
        self.remember(user)
        return user

    def recent(self, user_id: int) -> Facts | None:
        """What `facts` returns, if that takes no time; None if the database must be asked."""
        since = time.monotonic() - FACTS_SECONDS
        read = self._read.get(user_id)
        if read is not None and read.read_at >= since and read.facts.user is self._known.get(user_id):
            return read.facts
        return self._kept(user_id, since)

    async def facts(self, user_id: int) -> Facts:
        """See `Accounts.facts`."""
        recent = self.recent(user_id)
        if recent is not None:
            return recent
        now = time.monotonic()
        kept = self._kept(user_id, now - self._trusted_seconds)
        if kept is not None and now < self._failed_at + RETRY_SECONDS:
            return kept
        reading = self._reading(user_id)
        if kept is not None and not (await asyncio.wait([reading], timeout=PATIENCE_SECONDS))[0]:
            self._failed_at = time.monotonic()
            return kept  # the reading goes on, and what it finds is kept
        try:
            return await asyncio.shield(reading)  # others wait for it too
        except _UnknownUser:  # the database has answered, so the facts of others must not get older
            raise
        except DatabaseUnavailable:
            self._failed_at = time.monotonic()
            kept = self._kept(user_id, self._failed_at - self._trusted_seconds)
            if kept is None:
                raise
            return kept

    async def aclose(self) -> None:
        """End the readings that wait for the database."""
        readings = [*self._readings.values()]
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _reading(self, user_id: int) -> asyncio.Task[Facts]:
        """The task that reads a user: the one that is under way, or a new one."""
        reading = self._readings.get(user_id)
        if reading is None:
            reading = self._readings[user_id] = asyncio.create_task(self._read_facts(user_id))
            reading.add_done_callback(lambda done: self._end_reading(user_id, done))
        return reading

    def _end_reading(self, user_id: int, done: asyncio.Task[Facts]) -> None:
        self._readings.pop(user_id, None)
        if not done.cancelled():
            done.exception()  # perhaps nobody waits for it any more

    async def _read_facts(self, user_id: int) -> Facts:
        now = time.monotonic()
        user = await self.get(user_id)
        groups = frozenset(await self._groups.of(user_id))
        facts = self._facts(self._known.get(user_id, user), groups)
        self._read[user_id] = _Read(facts, now)
        return facts

    def _kept(self, user_id: int, read_since: float) -> Facts | None:
        """The facts that were read at this time or later."""
        read, user = self._read.get(user_id), self._known.get(user_id)
        if read is None or user is None or read.read_at < read_since:
            return None
        if read.facts.user is not user:  # it was read again since
            self._read[user_id] = read = _Read(self._facts(user, read.facts.groups), read.read_at)
        return read.facts

    def _facts(self, user: User, groups: frozenset[str]) -> Facts:
        return Facts(user, groups, self._person_of(user, groups), user.is_disabled or self._is_restricted(user))
