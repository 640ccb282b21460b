"""All sessions in Redis, by the indexes of their users and of their expiry, and each one of them (`one_session.py`).

Times and lifetimes are milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ...backend.budget import within_budget
from ...backend.own_keys import number_in, unless_of_another_type, value_of
from ..model.fields import Fields
from ..model.identity import SessionRef, user_id_of
from ..model.timestamps import is_readable
from .key_names import TAG_COUNT
from .one_session import OneSession
from .pages import PAGE, Position, handles_page
from .results import Ended
from .scripts import SCRIPTS
from .unreadable import index_member

_SWEPT_AT_ONCE = 25
_ENDED_AT_ONCE = 50
_SWEEPS_OF_A_TAG = 20
_ASKED_AT_ONCE = 64
"""How many commands of background work leave together. A check that comes then waits for these only."""
_ALL_GENERATIONS = 2**53


class SessionStore(OneSession):
    """Lists, counts, sweeps and deletes the sessions of a user or of all, besides what can be done with one."""

    def user_key(self, user: str) -> str:
        """The key of the user's index."""
        return self._key_names.of_user(user)[0]

    async def delete_older(self, user: str, generation: int | None, *, spare: str = "") -> list[Ended]:
        """Delete the user's sessions of a lower generation (None: of any), except the one with the handle `spare`."""
        index, expiries = self._key_names.of_user(user)
        least = _ALL_GENERATIONS if generation is None else generation
        reply, _ = await self._writes.run_without_deadline(
            "end_older", [index, expiries], [self._clock.skew_ms, 0, user, least, spare]
        )
        now = int(reply[-1])
        near = self._client.standing(index).near
        if near is not None:  # the script has found their keys itself
            near.drop(self.key(SessionRef(user, handle.decode())) for handle in reply[:-1:2])
        return [
            Ended(user_id_of(user), handle.decode(), int(created), now)
            for handle, created in zip(reply[:-1:2], reply[1::2], strict=True)
        ]

    async def delete_epoch(self, epoch: str) -> AsyncIterator[Ended]:
        """Delete every session of this epoch that is in an index, in short steps."""
        for key in self._key_names.expiries:
            at, is_more = 0, True
            while is_more:
                reply, _ = await self._writes.run_without_deadline(
                    "end_epoch", [key], [self._clock.skew_ms, 0, epoch, at, _ENDED_AT_ONCE]
                )
                looked_at, now, *members = reply
                near = self._client.standing(key).near
                for handle, created, user in filter(None, map(index_member, members)):
                    if near is not None:  # the script has found their keys itself
                        near.drop([self.key(SessionRef(user, handle))])
                    yield Ended(user_id_of(user), handle, created, int(now))
                at += looked_at - len(members)
                is_more = looked_at == _ENDED_AT_ONCE

    async def users(self) -> set[str]:
        """The user keys of all users with a session, from the expiry indexes."""
        users: set[str] = set()
        for key in self._key_names.expiries:
            at, is_more = 0, True
            while is_more:
                members = await unless_of_another_type(self._client.execute(key, "ZRANGE", key, at, at + PAGE - 1), key, [])
                users.update(user for _, _, user in filter(None, map(index_member, members)))
                at += PAGE
                is_more = len(members) == PAGE
        return users - {""}

    async def handles(self, user: str) -> list[str]:
        """All of a user's sessions, oldest first, as the index has them. Some may have expired a moment ago."""
        handles: list[str] = []
        before: Position | None = None
        while page := await within_budget(handles_page(self._client, self.user_key(user), before, PAGE)):
            handles += [handle for handle, _ in page]
            before = page[-1]
        return handles[::-1]

    async def of_user(self, user: str) -> list[tuple[str, Fields]]:
        """All of a user's live sessions, oldest first: handle and fields. Those that cannot be read are left out."""
        handles = await self.handles(user)
        loaded: list[tuple[str, Fields]] = []
        for begin in range(0, len(handles), PAGE):
            loaded += await self._load_all(user, handles[begin : begin + PAGE])
        return loaded

    async def newest(self, user: str, *, limit: int, before: Position | None = None) -> list[tuple[str, Fields]]:
        """At most `limit` of a user's live sessions, newest first, from the position `before` on."""
        found: list[tuple[str, Fields]] = []
        while len(found) < limit:
            size, is_first = min(PAGE, limit), before is None
            page = await within_budget(handles_page(self._client, self.user_key(user), before, size))
            if not page:
                break
            found += await self._load_all(user, [handle for handle, _ in page])
            if is_first and len(page) < size:
                break
            before = page[-1]
        return found[:limit]

    async def _load_all(self, user: str, handles: Sequence[str]) -> list[tuple[str, Fields]]:
        loaded = await asyncio.gather(*(self.load(SessionRef(user, handle)) for handle in handles))
        there = [(handle, fields) for handle, fields in zip(handles, loaded, strict=True) if fields is not None]
        return [(handle, fields) for handle, fields in there if is_readable(fields, handle)]

    async def count_active(self) -> int:
        """The number of live sessions of the whole fleet. It costs one short command for each tag."""
        least, counted = f"({self._clock.now_ms()}", 0
        for begin in range(0, TAG_COUNT, _ASKED_AT_ONCE):
            keys = self._key_names.expiries[begin : begin + _ASKED_AT_ONCE]
            counts = (unless_of_another_type(self._client.execute(key, "ZCOUNT", key, least, "+inf"), key, 0) for key in keys)
            counted += sum(await asyncio.gather(*counts))
        return counted

    async def publish_active(self, count: int, *, kept_ms: int) -> None:
        """Write the number of live sessions to Redis for the other workers."""
        key = self._key_names.active
        await self._writes.observed(self._client.execute(key, "SET", key, count, "PX", kept_ms))

    async def published_active(self) -> int | None:
        """The number that `publish_active` wrote; None if no worker has counted lately."""
        key = self._key_names.active
        return number_in(await value_of(self._client, key), key)

    async def sweep(self, tag: int) -> list[Ended]:
        """Clear expired sessions of one tag (0 to 1,023) out of the indexes. Each is reported once in the deployment.

        It works in short steps, so that other commands wait only a short time. If very many have expired, the next sweep goes on.
        """
        key = self._key_names.expiries[tag % TAG_COUNT]
        ended: list[Ended] = []
        for _ in range(_SWEEPS_OF_A_TAG):
            due: list[Any] = await self._client.run(SCRIPTS["sweep"], [key], [self._clock.skew_ms, 0, _SWEPT_AT_ONCE])
            for member, score in zip(due[::2], due[1::2], strict=True):
                named = index_member(member)
                if named is not None:
                    handle, created, user = named
                    ended.append(Ended(user_id_of(user), handle, created, int(float(score))))
            if len(due) < 2 * _SWEPT_AT_ONCE:
                break
        return ended

    async def claim_sweep(self, worker: str, *, hold_ms: int) -> bool:
        """Whether this worker sweeps now. One worker of the deployment sweeps, until it has been silent for `hold_ms`."""
        key = self._key_names.sweeper
        if await self._writes.observed(self._client.execute(key, "SET", key, worker, "NX", "PX", hold_ms)):
            return True
        if await value_of(self._client, key) != worker.encode():
            return False
        await self._client.execute(key, "PEXPIRE", key, hold_ms)
        return True
