"""The state machine: an acknowledged end is never trusted later; an acknowledged sign-in is never refused as ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from stateroom.errors import StateroomError
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.sealing.token_keys import new_token_key

from .world import SENTINELS, World

# Each takes two seconds; a campaign of thousands is for a night: PROMISE_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("PROMISE_EXAMPLES", "10"))
STEPS = 30
WORKERS = 2
USERS = ["ada", "bob"]
TOKEN_KEY = new_token_key()
PAUSES = st.sampled_from([0.0, 0.003, 0.1, 0.3, 0.6, 1.5])
a_worker = st.integers(0, WORKERS - 1)


@dataclass(eq=False)
class Kept:
    """A session as its client knows it. `may_be_out`: an end was asked for, or its answer got lost.

    `became`: what rotations have made of it. Who signs out with an old id, in time, signs that out.
    `sealed_at`: when its cookie was sealed. `token`: an access token of it.
    """

    user: str
    cookie: str = ""
    sealed_at: float = 0.0
    token: str = ""
    may_be_out: bool = False
    is_asked_out: bool = False
    is_signed_out: bool = False
    ended_at: float | None = None
    became: list[Kept] = field(default_factory=list)

    def line(self) -> list[Kept]:
        """It, and all that it became."""
        return [self, *(each for one in self.became for each in one.line())]


class Promise(RuleBasedStateMachine):
    journal_required = False
    caches = False
    sessions = Bundle("sessions")

    def make_world(self) -> World:
        return World(workers=WORKERS, journal_required=self.journal_required, caches=self.caches, token_keys=TOKEN_KEY)

    def may_be_lost(self, kept: Kept) -> bool:
        """Whether it may be told that it expired, though nobody ended it."""
        return False

    @initialize()
    def begin(self) -> None:
        self.world = self.make_world()
        self.under_way: list[asyncio.Task[None]] = []
        self.kept: list[Kept] = []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.finish()
            finally:
                self.world.close()

    # What clients do

    @rule(target=sessions, user=st.sampled_from(USERS), worker=a_worker)
    def sign_in(self, user: str, worker: int) -> Kept:
        async def act() -> Kept:
            manager = self.world.workers[worker].manager
            try:
                session = await manager.create(user)
            except StateroomError:
                return Kept(user, may_be_out=True)
            return Kept(user, manager.seal(session), self.world.clock.now, manager.mint_access_token(session)[0])

        kept = self.world.do(act())
        self.kept.append(kept)
        return kept

    @rule(kept=sessions, worker=a_worker)
    def load(self, kept: Kept, worker: int) -> None:
        self.world.do(self._load(kept, worker))

    @rule(kept=sessions, worker=a_worker)
    def begin_load(self, kept: Kept, worker: int) -> None:
        self.under_way.append(self.world.start(self._load(kept, worker)))

    @rule(kept=sessions, worker=a_worker)
    def load_by_token(self, kept: Kept, worker: int) -> None:
        """It may be refused: it is good for minutes, and restores nothing."""
        if not kept.token:
            return
        asked_at, was_out = self.world.clock.now, kept.ended_at
        session = self.world.do(self.world.workers[worker].manager.load(kept.token, purpose="bearer"))
        with contextlib.suppress(StateroomError):
            is_out = was_out is not None and was_out < asked_at
            assert not (is_out and session.is_signed_in), "an acknowledged end was trusted, by an access token"

    @rule(kept=sessions, worker=a_worker)
    def sign_out(self, kept: Kept, worker: int) -> None:
        self.world.do(self._sign_out(kept, worker))

    @rule(kept=sessions, worker=a_worker)
    def begin_sign_out(self, kept: Kept, worker: int) -> None:
        self.under_way.append(self.world.start(self._sign_out(kept, worker)))

    @rule(target=sessions, kept=sessions, worker=a_worker)
    def rotate(self, kept: Kept, worker: int) -> Kept:
        new = Kept(kept.user, may_be_out=True)
        self.world.do(self._rotate(kept, new, worker))
        return new

    @rule(target=sessions, kept=sessions, worker=a_worker)
    def begin_rotate(self, kept: Kept, worker: int) -> Kept:
        new = Kept(kept.user, may_be_out=True)
        self.under_way.append(self.world.start(self._rotate(kept, new, worker)))
        return new

    @rule(user=st.sampled_from(USERS), worker=a_worker)
    def revoke_all(self, user: str, worker: int) -> None:
        mine = [each for kept in self.kept if kept.user == user for each in kept.line()]
        self.world.do(self._end_all(mine, self.world.workers[worker].manager.revoke_all(user)))

    @rule(worker=a_worker)
    def everybody_out(self, worker: int) -> None:
        everybody = [each for kept in self.kept for each in kept.line()]
        self.world.do(self._end_all(everybody, self.world.workers[worker].manager.end_everybody()))

    @rule()
    def finish(self) -> None:
        """Let everything that is under way come to its end."""
        under_way, self.under_way = self.under_way, []
        if under_way:
            self.world.do(_all(under_way))

    # What happens to them

    @rule(pause=PAUSES)
    def pass_time(self, pause: float) -> None:
        self.world.advance(pause)

    @rule(on=st.booleans())
    def replication(self, *, on: bool) -> None:
        self.world.replicates = on

    @rule()
    def replicate(self) -> None:
        if self.world.replicates:
            self.world.replicate()

    @precondition(lambda self: not self.world.replica.says_master)
    @rule()
    def fail_over(self) -> None:
        self.world.fail_over()

    @rule(number=st.integers(0, SENTINELS - 1))
    def sentinel_learns(self, number: int) -> None:
        self.world.sentinel_learns(number)

    @precondition(lambda self: self.world.replica.says_master)
    @rule()
    def old_primary_learns(self) -> None:
        self.world.old_primary_learns()

    @rule(on=st.booleans())
    def refuse_writes(self, *, on: bool) -> None:
        self.world.primary.refuses_writes = on

    @rule(worker=a_worker, node=st.integers(0, 1), cut=st.booleans())
    def link_to_server(self, worker: int, node: int, *, cut: bool) -> None:
        links = self.world.workers[worker].client.cut
        (links.add if cut else links.discard)(self.world.nodes[node].address)

    @rule(worker=a_worker, number=st.integers(0, SENTINELS - 1), cut=st.booleans())
    def link_to_sentinel(self, worker: int, number: int, *, cut: bool) -> None:
        links = self.world.workers[worker].client.cut_sentinels
        (links.add if cut else links.discard)(number)

    @rule(worker=a_worker)
    def delay_a_write(self, worker: int) -> None:
        self.world.workers[worker].client.delays_next_write = True

    @precondition(lambda self: self.world.late)
    @rule(again=st.booleans())
    def deliver_late(self, *, again: bool) -> None:
        if again:
            self.world.late.append(self.world.late[0])
        self.world.deliver_late()

    @rule()
    def flush(self) -> None:
        self.world.do(self.world.primary.flush())

    @rule()
    def copy_disk(self) -> None:
        self.world.snapshot = self.world.primary.dump()

    @precondition(lambda self: self.world.snapshot is not None and not self.world.replica.says_master)
    @rule()
    def old_disk(self) -> None:
        self.world.old_disk(self.world.snapshot)

    @rule(slow=st.booleans())
    def commits(self, *, slow: bool) -> None:
        self.world.table.commit_seconds = 0.15 if slow else 0.002

    # The promises

    async def _loaded(self, kept: Kept, worker: int) -> Session | None:
        """The session, None where it is unknown; with what was promised of it."""
        if not kept.cookie:
            return None
        asked_at, was_out = self.world.clock.now, kept.ended_at
        session = await self.world.workers[worker].load(kept.cookie)
        try:
            is_signed_in = session.is_signed_in
        except StateroomError:
            return None
        if was_out is not None and was_out < asked_at:
            assert not is_signed_in, "an acknowledged end was trusted"
        if not kept.may_be_out and not (session.ended == "expired" and self.may_be_lost(kept)):
            assert is_signed_in, f"an acknowledged sign-in was refused: {session.ended}"
        return session

    async def _load(self, kept: Kept, worker: int) -> None:
        await self._loaded(kept, worker)

    def load_everywhere(self) -> None:
        for kept in self.kept:
            for worker in range(WORKERS):
                self.world.do(self._load(kept, worker))

    async def _end_all(self, ended: list[Kept], work: Awaitable[object]) -> None:
        for kept in ended:
            kept.may_be_out = kept.is_asked_out = True
        try:
            await work
        except StateroomError:
            return
        for kept in ended:
            if kept.cookie:
                kept.ended_at = kept.ended_at or self.world.clock.now

    async def _sign_out(self, kept: Kept, worker: int) -> None:
        session = await self._loaded(kept, worker)
        if session is None or record_of(session).ending_ref is None:
            return
        for each in kept.line():
            each.may_be_out = each.is_asked_out = True
        try:
            await self.world.workers[worker].manager.end(session)
        except StateroomError:
            return
        for each in kept.line():
            each.is_signed_out = True
            if each.cookie:
                each.ended_at = each.ended_at or self.world.clock.now

    async def _rotate(self, kept: Kept, new: Kept, worker: int) -> None:
        session = await self._loaded(kept, worker)
        if session is None or not record_of(session).ref.user:
            return
        manager = self.world.workers[worker].manager
        new.is_asked_out = kept.is_asked_out
        new.is_signed_out = kept.is_signed_out
        is_alone = not kept.may_be_out  # two rotations at once: one of them has lost
        kept.may_be_out = True
        kept.became.append(new)
        try:
            await manager.rotate(session, signs_in=True)
        except StateroomError:
            return
        kept.ended_at = kept.ended_at or self.world.clock.now
        new.cookie, new.sealed_at = manager.seal(session), self.world.clock.now
        new.token, _ = manager.mint_access_token(session)
        self.kept.append(new)
        if new.is_signed_out:
            new.ended_at = self.world.clock.now
        elif is_alone and len(kept.became) == 1 and not new.is_asked_out:
            new.may_be_out = False


async def _all(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks)


def as_test(machine: type[Promise]) -> Any:
    """The machine as a test."""
    test = pytest.mark.timeout(60 + 60 * EXAMPLES)(machine.TestCase)
    test.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    return test
