"""The state machine of the promise (machine.py), with a user database that goes back to a backup. Rule 18 of the protocol."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, precondition, rule

from ..fake_journal import Table
from .machine import Promise, a_worker, as_test
from .world import Worker

pytestmark = pytest.mark.impatient


class PromiseWithRestores(Promise):
    """The user database goes back to a backup, whole or in part, also under load; a name leads to a wrong database."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.backup: Table | None = None

    @rule()
    def back_up(self) -> None:
        self.backup = self.world.table.copy()

    @precondition(lambda self: self.backup is not None)
    @rule(what=st.sampled_from(["whole", "rows", "generations"]))
    def restore_database(self, what: str) -> None:
        """While it is noticed a sign-in may be refused: its user's generation was read from the older database."""
        self.finish()
        self._restore(what)

    @precondition(lambda self: self.backup is not None)
    @rule(what=st.sampled_from(["whole", "rows", "generations"]))
    def restore_database_under_load(self, what: str) -> None:
        """The file is renamed while requests are under way: what began before goes on with the old file."""
        self._restore(what)
        self.finish()

    def _restore(self, what: str) -> None:
        assert self.backup is not None
        older = self.backup.copy()
        if what == "rows":
            older.generations, older.deployment = dict(self.world.table.generations), self.world.table.deployment
        elif what == "generations":
            older.rows, older.last_seq = dict(self.world.table.rows), self.world.table.last_seq
        if not all(self._can_notice(worker, older) for worker in self.world.workers):
            # All that a worker has read is in the backup. What was committed since, only the worker that committed it misses.
            self.finish()
            self.world.restore_database(older)
        else:
            self.world.restore_database(older)
            self.load_everywhere()
        self.world.advance(3.0)
        self.load_everywhere()

    def _can_notice(self, worker: Worker, older: Table) -> bool:
        """Whether its next look-up tells that the database went back."""
        tail = worker.parts.tail
        return older.deployment.epoch in tail.replaced or tail.went_back(tail.checked, older.nonces(tail.checked))

    @rule(worker=a_worker, seconds=st.sampled_from([0.002, 0.05, 0.3]))
    def journal_answers_after(self, worker: int, seconds: float) -> None:
        """A read that began with the old file may end when others have seen the new one for a while."""
        self.world.workers[worker].journal.ask_seconds = seconds

    @rule(worker=a_worker, wrong=st.booleans())
    def wrong_database(self, worker: int, *, wrong: bool) -> None:
        self.finish()
        self.world.wrong_database(worker, is_wrong=wrong)


TestPromiseWithRestores = as_test(PromiseWithRestores)
