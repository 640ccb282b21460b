"""The journal's rows that a worker holds in memory, and which sessions they end.

For the ends of single sessions the last rows are enough, because the store's cursor tells which rows it lacks
(protocol/replay.py). Rows that ended all of a user's sessions are held from startup for as long as they are needed, because
the store may still have such a session: a slow sign-in stores it after the row was replayed, or the replay did not find it
because the user's index was evicted. The rows take a third of a kilobyte for each user who was signed out everywhere within
a session's longest life.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from ..model.identity import SessionRef
from ..model.rows import CLOCK, EVERYBODY, Row

if TYPE_CHECKING:
    from ..model.deployment import Current

ROWS_KEPT = 20_000


class HeldRows:
    """`floor`: rows up to this number are not held, except those that ended all of a user's sessions.

    It decreases only if the database went back.
    `ended`: the first row that ended a session. The key has the user too: a user may write rows about another's handle.
    `generations`: for each user the row with their highest generation, in the order in which the rows were read.
    `replaced`: the epochs that the deployment had before, and the rows that ended their sessions.
    `clock_row`: the row about clocks with the latest time; None if there is none.
    `unwritten`: ends that are acknowledged and wait until the journal answers again.
    `_rows`: what is held, in the order of reading.
    """

    def __init__(self) -> None:
        self.floor = 0
        self.ended: dict[SessionRef, Row] = {}
        self.generations: OrderedDict[str, Row] = OrderedDict()
        self.replaced: dict[str, Row] = {}
        self.clock_row: Row | None = None
        self.unwritten: dict[SessionRef, Row] = {}
        self._rows: deque[Row] = deque()

    @property
    def not_before_ms(self) -> int:
        """A value that was sealed earlier proves nothing by itself: a clock was set back, or its end may have been pruned."""
        return 0 if self.clock_row is None else self.clock_row.ended_at

    def reason(self, ref: SessionRef, carried: Current) -> str | None:
        """Why this session, with this generation and epoch, has ended, as far as these rows tell."""
        if carried.epoch in self.replaced:
            return EVERYBODY
        row = self.ended.get(ref) or self.unwritten.get(ref)
        if row is not None:
            return row.reason
        row = self.generations.get(ref.user)
        if row is not None and row.ends(ref, carried):
            return row.reason
        return None

    def last_until(self, seq: int) -> Row | None:
        """Of the rows up to this number the one that was read last; None if it is not held."""
        if seq <= self.floor:
            return None
        return next((row for row in reversed(self._rows) if row.seq <= seq), None)

    def after(self, seq: int) -> list[Row]:
        """Rows numbered higher than `seq`, which must be the floor or above it."""
        return [row for row in self._rows if row.seq > seq]

    def forget_due(self, due_at: int) -> None:
        """Drop the rows that can end no living session any more: they were due at this time. The oldest come first."""
        while self.generations and next(iter(self.generations.values())).expires_at < due_at:
            self.generations.popitem(last=False)

    def _in_order(self) -> list[Row]:
        """Every row that is held, by number."""
        of_many = {*self.generations.values(), *self.replaced.values(), *([self.clock_row] if self.clock_row else ())}
        return sorted({*self._rows, *of_many}, key=lambda row: row.seq)

    def _has_read(self, own: Row) -> bool:
        """Whether a read has brought a row that this worker committed, or a row with the same effect."""
        if own.epoch is not None:
            return own.epoch in self.replaced
        if own.handle is not None:
            return SessionRef(own.user, own.handle) in self.ended
        raised = self.generations.get(own.user)
        return raised is not None and (raised.generation or 0) >= (own.generation or 0)

    def _keep(self, row: Row) -> None:
        self._rows.append(row)
        if row.handle is not None:
            self.ended.setdefault(SessionRef(row.user, row.handle), row)
        else:
            self._keep_end_of_many(row)
        while len(self._rows) > ROWS_KEPT:
            self._drop(self._rows.popleft())

    def _drop(self, row: Row) -> None:
        self.floor = max(self.floor, row.seq)
        if row.handle is not None and self.ended.get(SessionRef(row.user, row.handle)) is row:
            del self.ended[SessionRef(row.user, row.handle)]

    def _keep_end_of_many(self, row: Row) -> None:
        if row.epoch is not None:
            self.replaced[row.epoch] = row
        if row.reason == CLOCK and row.ended_at > self.not_before_ms:
            self.clock_row = row
        if row.generation is None:
            return
        known = self.generations.get(row.user)
        if known is None or (known.generation or 0) < (row.generation or 0):
            self.generations[row.user] = row
            self.generations.move_to_end(row.user)

    def _forget_numbered(self) -> None:
        """Drop what has a number of the database before it went back. The clock row and the unwritten ends stay."""
        self._rows.clear()
        self.ended.clear()
        self.generations.clear()
        self.replaced.clear()
        self.floor = 0
