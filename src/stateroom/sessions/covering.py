"""Asking the journal by key: is this session ended, and what is its user's generation now.

For sessions that the tail cannot vouch for: those known from a cookie alone, those of a store that is not settled,
and those that come back. A covering question is sent after the request came, so that it sees every end that was
committed before. Requests that wait share one; a worker has one under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DatabaseUnavailable
from .tail import PATIENCE_SECONDS

if TYPE_CHECKING:
    from .rows import EndsJournal, Row

SESSIONS_AT_ONCE = 256


class Verdict(NamedTuple):
    """What the journal says of a session. `reason`: why it ended, None where it did not.

    `generation`: its user's now; a session of a lower one has ended too.
    """

    reason: str | None
    generation: int


class Covering:
    """The questions of one worker. `is_away` says whether the journal is known not to answer."""

    def __init__(self, journal: EndsJournal, is_away: Callable[[], bool]) -> None:
        self._journal = journal
        self._is_away = is_away
        self._waiting: dict[tuple[str, str], asyncio.Future[Verdict]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, user: str, handle: str, generation: int) -> str | None:
        """Why this session has ended, or None where it has not. Raises `DatabaseUnavailable`."""
        verdict = await self._ask(user, handle)
        if verdict.reason is not None:
            return verdict.reason
        if verdict.generation > generation:
            return await self._journal.reason(user, handle, generation) or "revoked"
        return None

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, user: str, handle: str) -> Verdict:
        if self._is_away():
            raise DatabaseUnavailable("the journal does not answer")
        future = self._waiting.get((user, handle))
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._waiting[user, handle] = future
            if self._task is None:
                self._task = asyncio.create_task(self._answer_all(), name="stateroom covering reads")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
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

    async def _answer(self, batch: dict[tuple[str, str], asyncio.Future[Verdict]]) -> None:
        try:
            rows, generations = await self._journal.covering(list(batch))
        except BaseException as error:
            fault = error if isinstance(error, DatabaseUnavailable) else DatabaseUnavailable("the journal did not answer")
            for future in batch.values():
                if not future.done():
                    future.set_exception(fault)
                    future.exception()  # whoever waited may have gone
            if not isinstance(error, DatabaseUnavailable):
                raise
            return
        ended: dict[tuple[str, str], Row] = {}
        for row in rows:
            ended.setdefault((row.user, row.handle or ""), row)
        for (user, handle), future in batch.items():
            end = ended.get((user, handle))
            if not future.done():
                future.set_result(Verdict(end.reason if end is not None else None, generations.get(user, 0)))
