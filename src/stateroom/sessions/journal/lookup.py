"""Looking sessions up in the journal: has this session ended, and what is its user's generation now?

Sessions are looked up if the tail is not enough: sessions that are known from a sealed value alone, sessions of a store that
is not settled, and sessions that are stored again. A lookup is sent after the request came, so it sees every end that was
committed before. Waiting requests share one query. A worker sends one query at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ...errors import DatabaseUnavailable
from ..model.identity import SessionRef
from ..model.rows import EVERYBODY

if TYPE_CHECKING:
    from ..model.deployment import Current, Deployment, DeploymentRow
    from ..model.rows import Row
    from .checked_rows import Checked
    from .interface import EndsJournal
    from .tail import Tail

SESSIONS_AT_ONCE = 256


class Verdict(NamedTuple):
    """The journal's state of a session. `reason`: why it ended; None if it did not.

    `generation`: its user's generation now. A session of a lower generation has ended too. `epoch`: the deployment's epoch
    now. A session of another epoch has ended too.
    """

    reason: str | None
    generation: int
    epoch: str


class Lookup:
    """One worker's lookups. `is_away`: whether the journal is known to be unavailable.

    `_waiting`: sessions that no query has asked for yet. `_task`: sends queries until none waits; None while none waits.
    """

    def __init__(
        self,
        journal: EndsJournal,
        deployment: Deployment,
        is_away: Callable[[], bool],
        unknown: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None,
        *,
        patience: float,
    ) -> None:
        """`unknown`: which of these users the restored database does not know. `patience`: seconds until a question is given up.

        `tail`: knows rows that must still be there, and the epochs that the deployment had before.
        """
        self.unknown = unknown
        self.tail: Tail | None = None
        self._journal = journal
        self._deployment = deployment
        self._is_away = is_away
        self._patience = patience
        self._waiting: dict[SessionRef, asyncio.Future[Verdict]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, ref: SessionRef, carried: Current) -> str | None:
        """Why this session, with this generation and epoch, has ended; None if it has not. Raises `DatabaseUnavailable`."""
        verdict = await self._ask(ref)
        if verdict.reason is not None:
            return verdict.reason
        if verdict.generation > carried.generation:
            return await self._journal.reason(ref, carried.generation) or "revoked"
        return None if verdict.epoch == carried.epoch else EVERYBODY

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, ref: SessionRef) -> Verdict:
        if self._is_away():
            raise DatabaseUnavailable("the journal does not answer")
        future = self._waiting.get(ref)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._waiting[ref] = future
            if self._task is None:
                self._task = asyncio.create_task(self._answer_all(), name="stateroom journal lookups")
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DatabaseUnavailable("the journal takes too long to answer") from None

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:SESSIONS_AT_ONCE]}
                await self._answer(batch)
        finally:
            self._task = None

    async def _unknown_among(self, batch: Collection[SessionRef]) -> Collection[str]:
        return () if self.unknown is None else await self.unknown({ref.user for ref in batch if ref.user})

    def _check_whose(self, deployment: DeploymentRow | None) -> None:
        """Raises `DatabaseUnavailable` if it is another deployment's journal, or names no deployment."""
        if self._journal.has_journal and (deployment is None or deployment.id != self._deployment.id):
            raise DatabaseUnavailable("the user database is another deployment's")

    def _check_not_older(self, epoch: str, checked: Checked, nonces: Mapping[int, str | None]) -> None:
        """Raises `DatabaseUnavailable` if the database went back: it lacks ends that were acknowledged.

        The tail is about to commit them again.
        """
        if self.tail is not None and (epoch in self.tail.replaced or self.tail.went_back(checked, nonces)):
            raise DatabaseUnavailable("the user database went back to an older state")

    async def _answer(self, batch: dict[SessionRef, asyncio.Future[Verdict]]) -> None:
        try:
            checked = {} if self.tail is None else self.tail.checked
            rows, generations, deployment, nonces = await self._journal.look_up(list(batch), checked=checked)
            self._check_whose(deployment)
            epoch = "" if deployment is None else deployment.epoch
            self._check_not_older(epoch, checked, nonces)
            unknown = await self._unknown_among(batch)
        except BaseException as error:
            fault = error if isinstance(error, DatabaseUnavailable) else DatabaseUnavailable("the journal did not answer")
            for future in batch.values():
                if not future.done():
                    future.set_exception(fault)
                    future.exception()  # the waiting request may have ended
            if not isinstance(error, DatabaseUnavailable):
                raise
            return
        ended: dict[SessionRef, Row] = {}
        for row in rows:
            ended.setdefault(SessionRef(row.user, row.handle or ""), row)
        for ref, future in batch.items():
            end = ended.get(ref)
            if future.done():
                continue
            if end is None and ref.user in unknown:
                future.set_exception(DatabaseUnavailable("the user database, which was restored, does not know this user"))
                future.exception()
            else:
                future.set_result(Verdict(end.reason if end is not None else None, generations.get(ref.user, 0), epoch))
