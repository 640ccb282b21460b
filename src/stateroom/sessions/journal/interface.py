"""What sessions need of the journal of ends, and what stands in its place if there is none.

Kept apart from `sql.py`: an application without a database need not import SQLAlchemy, which is half of what
`import stateroom` takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from ...errors import DatabaseUnavailable, StoreUnavailable
from ..model.deployment import Current, Deployment, DeploymentRow
from ..model.identity import SessionRef
from ..model.rows import TO_THE_LAST, EndRow, InTransaction, Row

ROWS_REMEMBERED = 10_000
REMEMBERED_MS = 600_000
"""How long Redis keeps, without a journal, why a session ended: longer than any request that came with its old value."""


class Reading(NamedTuple):
    """One read of the tail. `nonces`: of those rows that were to be checked and are there."""

    rows: Sequence[Row]
    nonces: Mapping[int, str | None]
    deployment: DeploymentRow | None


class EpochChange(NamedTuple):
    """`before`: the epoch whose sessions have ended. `after`: that of the next ones."""

    before: str
    after: str


class LookedUp(NamedTuple):
    """Every row of some sessions, the generation of each of their users that has one, and whose journal it is.

    `nonces`: of those rows that were to be checked and are there.
    """

    rows: Sequence[Row]
    generations: Mapping[str, int]
    deployment: DeploymentRow | None
    nonces: Mapping[int, str | None]


class Successors(NamedTuple):
    """`not_ended`: those that have no end of their own. `is_complete`: false if there are more successors than were read."""

    not_ended: Sequence[SessionRef]
    is_complete: bool


class EndsJournal(Protocol):
    """The journal. Each call raises `DatabaseUnavailable`."""

    has_journal: bool
    """False for the stand-in (`DATABASE_URL=none`)."""

    def belong_to(self, deployment: Deployment) -> None:
        """From now on commit nothing to another deployment's database."""

    async def record(self, rows: Sequence[EndRow]) -> None:
        """Commit these ends."""

    async def raise_generation(
        self,
        user: str,
        reason: str,
        *,
        seen: int = 0,
        ended_at: int,
        in_transaction: InTransaction | None = None,
    ) -> int:
        """Commit the end of every session that the user has now. Returns the generation of their next sessions.

        `seen`: the highest generation that one of them has. The journal's own is lower if its database is an older copy.
        """

    async def rotate(
        self,
        rotation: EndRow,
        current: Current,
        *,
        revokes: str | None,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        """Commit the rotation of a session that carries this; with a reason `revokes`, also the end of every other one.

        The others' end is a generation one higher than this session's.
        False, and nothing is committed, if the session has ended already: by a row of its own, by a raised generation, or
        with everybody's.
        Calls for one user's sessions take turns.
        """

    async def current(self, user: str) -> Current:
        """The user's generation (0 if it was never raised) and the deployment's epoch, now."""

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        """Commit the end of every session of the deployment."""

    async def recommit(self, rows: Sequence[Row]) -> int:
        """Commit those of these rows that a restored database lacks, and what they did to generations and the epoch.

        Returns how many it lacked. Marks the database as restored.
        """

    async def lacks(self, rows: Sequence[Row]) -> bool:
        """Whether one of these rows is missing, and none does the same. Numbers and random words are not compared."""

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        """Why this session ended, or None if no row says so."""

    async def newest(self, limit: int) -> list[Row]:
        """The last rows, oldest first."""

    async def raised(self, after: int, limit: int) -> list[Row]:
        """Rows that ended all of a user's sessions, or everybody's, numbered higher than `after`, in order."""

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        """Rows numbered higher than `after`, and those of `gaps` that are there now, in order."""

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        """What the journal has of these sessions."""

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        """What rotations have made of a session, or tried to make: all that followed it, at most so many."""

    async def of_user(self, user: str) -> list[Row]:
        """Every row of a user, in order."""

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        """The deployment's row; its lease and its name are these if it had none. None if there is no row."""

    async def clear_restored(self, *, seen: str) -> None:
        """What a restore of the database left behind is cleared up, unless another restore was found meanwhile."""

    async def prune(self, due_at: int, limit: int) -> int:
        """Drop rows that were due then, at most so many and never the newest. Returns how many."""

    async def now_ms(self) -> int:
        """The database's time, milliseconds since the epoch: rows expire by it."""


class NoJournal:
    """With `DATABASE_URL=none` ends are as durable as Redis is.

    Redis deletes the session, and for `REMEMBERED_MS` every worker can read there why it ended, and what a rotation has made
    of it. This process remembers its own for longer.
    `_rows`: the last ends that this process made; at most `ROWS_REMEMBERED`, the oldest is dropped first.
    """

    has_journal = False

    def __init__(self) -> None:
        self._rows: OrderedDict[SessionRef, EndRow] = OrderedDict()
        self._leave: Callable[[SessionRef, str, str | None, int], Awaitable[bool]] | None = None
        self._read: Callable[[SessionRef], Awaitable[tuple[str, str | None] | None]] | None = None

    def share(
        self,
        leave: Callable[[SessionRef, str, str | None, int], Awaitable[bool]],
        read: Callable[[SessionRef], Awaitable[tuple[str, str | None] | None]],
    ) -> None:
        """From now on leave ends for other workers, and read theirs: `SessionStore.entomb` and `SessionStore.end_of`."""
        self._leave, self._read = leave, read

    def belong_to(self, deployment: Deployment) -> None:
        return

    async def record(self, rows: Sequence[EndRow]) -> None:
        for row in rows:
            self._rows.setdefault(SessionRef(row.user, row.handle), row)
        self._forget_oldest()
        if self._leave is not None:
            # What counts is that Redis deletes the session. If it cannot, that fails.
            with contextlib.suppress(StoreUnavailable):
                await asyncio.gather(
                    *(self._leave(SessionRef(row.user, row.handle), row.reason, row.successor, REMEMBERED_MS) for row in rows)
                )

    async def raise_generation(
        self,
        user: str,
        reason: str,
        *,
        seen: int = 0,
        ended_at: int,
        in_transaction: InTransaction | None = None,
    ) -> int:
        return 0

    async def rotate(
        self,
        rotation: EndRow,
        current: Current,
        *,
        revokes: str | None,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        """Raises `StoreUnavailable`: the session stays as it is then."""
        ref = SessionRef(rotation.user, rotation.handle)
        if self._leave is None:
            is_first = ref not in self._rows
        else:
            is_first = await self._leave(ref, rotation.reason, rotation.successor, REMEMBERED_MS)
        if is_first:
            self._rows[ref] = rotation
            self._forget_oldest()
        return is_first

    async def current(self, user: str) -> Current:
        return Current(0, "")

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        raise DatabaseUnavailable("with DATABASE_URL=none there is no journal that could end everybody's session")

    async def recommit(self, rows: Sequence[Row]) -> int:
        return 0

    async def lacks(self, rows: Sequence[Row]) -> bool:
        return False

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        row = await self._end_of(ref)
        return None if row is None else row.reason

    async def newest(self, limit: int) -> list[Row]:
        return []

    async def raised(self, after: int, limit: int) -> list[Row]:
        return []

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        return Reading([], {}, None)

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        found = await asyncio.gather(*(self._end_of(ref) for ref in refs))
        known = [row for row in found if row is not None]
        rows = [Row(0, row.user, row.handle, None, row.reason, row.ended_at, TO_THE_LAST, row.successor) for row in known]
        return LookedUp(rows, {}, None, {})

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        at = ref
        for _ in range(limit + 1):
            row = await self._end_of(at)
            if row is None:
                return Successors([] if at == ref else [at], is_complete=True)
            if row.successor is None:
                return Successors([], is_complete=True)
            at = SessionRef(ref.user, row.successor)
        return Successors([], is_complete=False)

    async def of_user(self, user: str) -> list[Row]:
        return []

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        return None

    async def clear_restored(self, *, seen: str) -> None:
        return

    async def prune(self, due_at: int, limit: int) -> int:
        return 0

    async def now_ms(self) -> int:
        return 0

    async def _end_of(self, ref: SessionRef) -> EndRow | None:
        """The session's end, as Redis has it or this process remembers it. Raises `DatabaseUnavailable`."""
        row = self._rows.get(ref)
        if self._read is None:
            return row
        try:
            found = await self._read(ref)
        except StoreUnavailable:
            if row is None:
                raise DatabaseUnavailable("without a database Redis keeps the ends of sessions, and it does not answer") from None
            return row
        return row if found is None else EndRow(ref.user, ref.handle, found[0], 0, found[1])

    def _forget_oldest(self) -> None:
        while len(self._rows) > ROWS_REMEMBERED:
            self._rows.popitem(last=False)
