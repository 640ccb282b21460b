"""The journal of ends as sessions need it, and its replacement for applications without a database.

It is kept apart from `sql.py`, so that an application without a database need not import SQLAlchemy. SQLAlchemy takes half
of the time of `import stateroom`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from ...errors import DatabaseUnavailable, StoreUnavailable
from ..model.deployment import Current, Deployment, DeploymentRow, SentinelRow
from ..model.identity import SessionRef
from ..model.rows import TO_THE_LAST, EndRow, InTransaction, Row

ROWS_REMEMBERED = 10_000
REMEMBERED_MS = 600_000
"""How long Redis keeps, without a journal, why a session ended: longer than a request with its old value takes."""


class Reading(NamedTuple):
    """One read of the tail. `nonces`: by number, for the rows that were to be checked and exist."""

    rows: Sequence[Row]
    nonces: Mapping[int, str | None]
    deployment: DeploymentRow | None


class EpochChange(NamedTuple):
    """`before`: the epoch whose sessions have ended. `after`: the epoch of the next sessions."""

    before: str
    after: str


class LookedUp(NamedTuple):
    """Every row of several sessions, the generations of their users if they have any, and the deployment of the journal.

    `nonces`: by number, for the rows that were to be checked and exist.
    """

    rows: Sequence[Row]
    generations: Mapping[str, int]
    deployment: DeploymentRow | None
    nonces: Mapping[int, str | None]


class Successors(NamedTuple):
    """`not_ended`: the successors without an end of their own. `is_complete`: false if there are more than were read."""

    not_ended: Sequence[SessionRef]
    is_complete: bool


class EndsJournal(Protocol):
    """The journal. Each call raises `DatabaseUnavailable`."""

    has_journal: bool
    """False for `NoJournal` (`DATABASE_URL=none`)."""

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

        `seen`: the highest generation of the user's sessions. The journal's own is lower if its database is an older copy.
        """

    async def rotate(
        self,
        rotation: EndRow,
        current: Current,
        *,
        revokes: str | None,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        """Commit the rotation of a session, and with a reason `revokes` also the end of the user's other sessions.

        `current`: the session's generation and epoch. The others are ended by a generation one higher.
        If the session has ended already (by its own row, a raised generation or a new epoch), this commits nothing and
        returns False. Calls for one user's sessions take turns.
        """

    async def current(self, user: str) -> Current:
        """The user's generation (0 if it was never raised) and the deployment's epoch, now."""

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        """Commit the end of every session of the deployment."""

    async def recommit(self, rows: Sequence[Row], sentinels: SentinelRow) -> int:
        """Commit the rows that a restored database lacks, and their effects on generations and the epoch.

        `sentinels`: raise the deployment's row to this state. Returns how many rows it lacked. Marks the database as restored.
        """

    async def lacks(self, rows: Sequence[Row]) -> bool:
        """Whether one of these rows is missing, and no other row has its effect. Numbers and nonces are not compared."""

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        """Why this session ended, or None if no row says so."""

    async def newest(self, limit: int) -> list[Row]:
        """The last rows, oldest first."""

    async def raised(self, after: int, limit: int) -> list[Row]:
        """Rows with a generation, an epoch or the reason `clock`, numbered higher than `after`, in order."""

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        """Rows numbered higher than `after`, and those of `gaps` that are there now, in order."""

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        """Look these sessions up."""

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        """The successors of a session, also of rotations that failed later; at most `limit` of them."""

    async def of_user(self, user: str) -> list[Row]:
        """Every row of a user, in order."""

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        """The deployment's row, after its lease and name were set if it had none. None if there is no row."""

    async def raise_sentinels(self, to: SentinelRow) -> SentinelRow:
        """Commit a higher epoch of the same base, unless the row has that or a higher one. Returns the row as it is then."""

    async def accept_sentinels(self, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
        """Commit the next base with this epoch and primary, if the row is still `seen`. Returns the row as it is then."""

    async def clear_restored(self, *, seen: str) -> None:
        """Note that the cleaning up after a restore of the database is done, unless another restore was found meanwhile."""

    async def prune(self, due_at: int, limit: int) -> int:
        """Delete rows that were due at this time, at most `limit` and never the newest. Returns how many.

        A row with the reason `clock` notes that sealed values from before the last deleted end prove nothing by themselves.
        """

    async def note_set_back(self, not_before: int, *, sealed_until: int) -> None:
        """Commit that Redis' clock was set back from `sealed_until` to `not_before`, unless that is known.

        Later rows are kept as if they were written at `sealed_until` at the earliest.
        """

    async def now_ms(self) -> int:
        """The database's time, milliseconds since the epoch: rows expire by it."""


class NoJournal:
    """With `DATABASE_URL=none` ends are as durable as Redis is.

    Redis deletes the session. For `REMEMBERED_MS` every worker can read there why it ended, and its successor. A process
    remembers its own ends for longer.
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
        """From now on write ends for other workers, and read theirs: `SessionStore.entomb` and `SessionStore.end_of`."""
        self._leave, self._read = leave, read

    def belong_to(self, deployment: Deployment) -> None:
        return

    async def record(self, rows: Sequence[EndRow]) -> None:
        for row in rows:
            self._rows.setdefault(SessionRef(row.user, row.handle), row)
        self._forget_oldest()
        if self._leave is not None:
            # The tombstone only tells the reason. If Redis cannot delete the session, the deletion itself raises.
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

    async def recommit(self, rows: Sequence[Row], sentinels: SentinelRow) -> int:
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

    async def raise_sentinels(self, to: SentinelRow) -> SentinelRow:
        return to

    async def accept_sentinels(self, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
        return seen

    async def clear_restored(self, *, seen: str) -> None:
        return

    async def prune(self, due_at: int, limit: int) -> int:
        return 0

    async def note_set_back(self, not_before: int, *, sealed_until: int) -> None:
        return

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
