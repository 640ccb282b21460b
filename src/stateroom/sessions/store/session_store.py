"""Sessions in Redis. The fields of a session's hash are described in `model/fields.py`.

A missing session is a normal result and not an error. Every fault of the system is a `StoreUnavailable`.
Times and lifetimes are milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

from ...backend.budget import within_budget
from ...backend.client import Argument, RedisClient, as_mapping
from ...backend.own_keys import number_in, text_of, unless_of_another_type, value_of
from ...errors import SessionTooLarge, StoreUnavailable
from ..model.fields import USER, Delta, Fields
from ..model.identity import SessionRef, user_id_of
from ..model.messages import FLASH_MAX_BYTES, FLASH_MAX_LINES
from ..model.timestamps import expires_ms, is_readable
from .key_names import TAG_COUNT, KeyNames
from .pages import PAGE, Position, handles_page
from .redis_clock import RedisClock
from .results import Conflict, Created, Ended, Renewed, Saved
from .room import fitted, size_of
from .scripts import SCRIPTS, Durability, Writes
from .unreadable import index_member

UNCLAIMED_MS = 10_000
"""How long a rotation's copy lives if it is not claimed."""

_SWEPT_AT_ONCE = 25
_ENDED_AT_ONCE = 50
_SWEEPS_OF_A_TAG = 20
_ASKED_AT_ONCE = 64
"""How many commands of background work leave together. A check that comes then waits for these only."""
_ALL_GENERATIONS = 2**53
_OK, _TOO_LARGE, _CONFLICT, _EXISTS = 1, -2, -3, -4


class SessionStore:
    """Loads, saves, renews, rotates, deletes, lists, counts and sweeps sessions. `timeout`: how many seconds a caller waits.

    `has_journal`: the reasons of ends are in the journal. Otherwise a script's reply is the only word of some of them.
    """

    def __init__(
        self,
        client: RedisClient,
        key_names: KeyNames,
        clock: RedisClock,
        *,
        max_bytes: int,
        timeout: float,
        durability: Durability | None = None,
        has_journal: bool = False,
    ) -> None:
        self._client = client
        self._key_names = key_names
        self._clock = clock
        self._max_bytes = max_bytes
        self._writes = Writes(client, clock, timeout=timeout, durability=durability, has_journal=has_journal)

    @property
    def is_refusing(self) -> bool:
        """Whether the server refused the last write (NOREPLICAS, READONLY, MISCONF, OOM)."""
        return self._writes.is_refusing

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def key(self, ref: SessionRef) -> str:
        """The session's key."""
        return self._key_names.session(ref)

    def user_key(self, user: str) -> str:
        """The key of the user's index."""
        return self._key_names.of_user(user)[0]

    def load_fields(self, key: str) -> Awaitable[Fields]:
        """All fields under a session's key, as Redis has them. It is a request's one command, so no coroutine is around it."""
        return self._client.execute(key, "HGETALL", key)

    async def _hash(self, key: str) -> Fields:
        return await unless_of_another_type(self.load_fields(key), key, {})

    def is_there(self, fields: Fields) -> bool:
        """Whether these fields, which `load_fields` returned, are a session."""
        return bool(fields) and not (self._clock.skew_ms and self._has_expired(fields))

    async def load(self, ref: SessionRef) -> Fields | None:
        """All fields, or None if there is no such session."""
        fields = await within_budget(self._hash(self.key(ref)))
        return fields if self.is_there(fields) else None

    async def create(
        self,
        ref: SessionRef,
        *,
        idle_ms: int,
        lifetime_ms: int,
        max_per_user: int,
        fields: Mapping[str, Argument],
        replaces: str = "",
    ) -> Created:
        """Store a new session. Raises `SessionTooLarge`. If there is too little room, the oldest flash messages are left out.

        `replaces`: the handle of the user's session that is about to end. It does not count against `max_per_user`.
        """
        fields = fitted(fields, self._max_bytes)
        self.check_data(fields)
        args: list[Argument] = [ref.handle, ref.user, idle_ms, lifetime_ms, max_per_user, replaces]
        for name, value in fields.items():
            args += (name, value)
        reply = await self._writes.run_durably("create", self._key_names.of_session(ref), args)
        if reply[0] == _EXISTS:
            raise StoreUnavailable("a session with this id is stored already", kind="refused")
        return Created(int(reply[1]), int(reply[2]), tuple(each.decode() for each in reply[3]))

    async def save(self, ref: SessionRef, delta: Delta, *, renew: bool, until: float | None = None) -> Saved | None:
        """Write the changes; None if the session is gone. Raises `SessionTooLarge`; the stored session stays as it was.

        `until`: as in `claim_rotation`.
        """
        args: list[Argument] = [ref.handle, ref.user, self._max_bytes, int(renew)]
        args += (len(delta.values), len(delta.appended), len(delta.deleted), FLASH_MAX_LINES, FLASH_MAX_BYTES)
        for name, raw in delta.values.items():
            args += (name, raw)
        for name, text in delta.appended.items():
            args += (name, text)
        args += delta.deleted
        reply = await self._writes.run("save", self._key_names.of_session(ref), args, until=until)
        if reply[0] == _TOO_LARGE:
            self._check_size(int(reply[1]))
        if reply[0] != _OK:
            return None
        return Saved(int(reply[1]), Renewed(int(reply[2]), int(reply[3])) if renew else None)

    async def renew(self, ref: SessionRef, *, interval_ms: int) -> Renewed | None:
        """Slide the idle lifetime, unless that was done less than `interval_ms` ago; None if the session is gone."""
        reply = await self._writes.run("renew", self._key_names.of_session(ref), [ref.handle, ref.user, interval_ms])
        return Renewed(int(reply[1]), int(reply[2])) if reply[0] == _OK else None

    async def change(
        self, ref: SessionRef, name: str, seen: bytes | None, value: bytes | None, *, until: float | None = None
    ) -> Conflict | int | None:
        """Set a field that still has the value `seen`. Returns the session's size, a `Conflict`, or None if the session is gone.

        `until`: as in `claim_rotation`.
        """
        args: list[Argument] = [self._max_bytes, name, seen or b"", value or b""]
        reply = await self._writes.run("change", [self._key_names.session(ref)], args, until=until)
        if reply[0] == _CONFLICT:
            return Conflict(reply[1] or None)
        if reply[0] == _TOO_LARGE:
            self._check_size(int(reply[1]))
        return int(reply[1]) if reply[0] == _OK else None

    async def take(self, ref: SessionRef, names: Sequence[str], *, until: float | None = None) -> list[bytes | None] | None:
        """Read and delete fields in one step; None if the session is gone. `until`: as in `claim_rotation`."""
        reply = await self._writes.run("take", [self._key_names.session(ref)], list(names), until=until)
        return list(reply[1:]) if reply[0] == _OK else None

    async def prepare_rotation(self, old: SessionRef, new: SessionRef, *, generation: int, signs_in: bool) -> int | None:
        """Copy a session under a new handle, unclaimed. Returns the copy's time of sign-in, or None if the old one is gone."""
        keys = [self._key_names.session(old), self._key_names.session(new)]
        reply = await self._writes.run("prepare", keys, [UNCLAIMED_MS, generation, int(signs_in)])
        return int(reply[2]) if reply[0] == _OK else None

    async def claim_rotation(self, old: SessionRef, new: SessionRef, *, until: float | None = None) -> Renewed | None:
        """Make the copy the session and delete the old one; None if the copy is gone.

        After `until` (monotonic clock; None: the caller's budget) this does nothing any more. If it raises, the outcome is
        unknown until then.
        """
        session, expiries, sessions = self._key_names.of_session(new)
        keys = [session, self._key_names.session(old), expiries, sessions]
        reply = await self._writes.run_durably("claim", keys, [new.handle, old.handle, new.user], until=until)
        return Renewed(int(reply[1]), int(reply[2])) if reply[0] == _OK else None

    async def restore(
        self, ref: SessionRef, *, created: int, renewed: int, deadline: int, idle_ms: int, fields: Mapping[str, Argument]
    ) -> bool | None:
        """Store a lost session again, pending. False if it is stored already, None if it has expired or has a tombstone."""
        args: list[Argument] = [ref.handle, ref.user, created, renewed, deadline, idle_ms]
        for name, value in fields.items():
            args += (name, value)
        keys = [*self._key_names.of_session(ref), self._key_names.tombstone(ref)]
        reply = await self._writes.run("restore", keys, args)
        return {_OK: True, _EXISTS: False}.get(reply[0])

    async def confirm(self, ref: SessionRef) -> bool:
        """Make a pending session a good one; False if it is gone."""
        reply = await self._writes.run_durably("confirm", self._key_names.of_session(ref), [ref.handle, ref.user])
        return bool(reply[0] == _OK)

    async def delete(
        self, ref: SessionRef, *, tombstone_ms: int = 0, reason: str = "", with_fields: bool = False
    ) -> tuple[Ended | None, int]:
        """Delete a session. Returns the deleted one (None if there was none), and how many replicas confirmed.

        `tombstone_ms`: leave a tombstone with the reason for so long, because the journal may not have the end yet.
        `with_fields`: return its fields too. No write comes between the reading and the deletion.
        """
        keys = [*self._key_names.of_session(ref), self._key_names.tombstone(ref)]
        args: list[Argument] = [self._clock.skew_ms, 0, ref.handle, ref.user, tombstone_ms or "", reason, int(with_fields)]
        reply, reached = await self._writes.run_without_deadline("finish", keys, args)
        if reply[0] != _OK:
            return None, reached
        return Ended(user_id_of(ref.user), ref.handle, int(reply[1]), int(reply[2]), as_mapping(reply[3])), reached

    async def delete_without_waiting(self, ref: SessionRef) -> None:
        """Delete a session without waiting for replicas."""
        keys = [*self._key_names.of_session(ref), self._key_names.tombstone(ref)]
        await self._client.run(SCRIPTS["finish"], keys, [self._clock.skew_ms, 0, ref.handle, ref.user, ""])

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

    async def tombstone(self, ref: SessionRef) -> str | None:
        """The reason in a session's tombstone; None if it has no tombstone."""
        found = await self.end_of(ref)
        return None if found is None else found[0]

    async def end_of(self, ref: SessionRef) -> tuple[str, str | None] | None:
        """The reason in a tombstone, and the new handle if the session was rotated. None if there is no tombstone."""
        key = self._key_names.tombstone(ref)
        said = await text_of(self._client, key)
        if said is None:
            return None
        reason, _, successor = said.partition(" ")
        return reason, successor or None

    async def entomb(self, ref: SessionRef, reason: str, successor: str | None, kept_ms: int) -> bool:
        """Write a tombstone, which all workers can read; False if there is one. The session itself stays."""
        keys = [self._key_names.tombstone(ref), self._key_names.session(ref)]
        said = reason if successor is None else f"{reason} {successor}"
        reply = await self._writes.run("entomb", keys, [said, kept_ms])
        return bool(reply[0] == _OK)

    async def exists(self, ref: SessionRef) -> bool:
        """Whether this user has the session. Its key alone does not tell, because many users share the tag in it."""
        fields = await self.load(ref)
        return fields is not None and fields.get(USER, b"") == ref.user.encode() and is_readable(fields)

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

    def check_data(self, fields: Mapping[str, Argument]) -> None:
        """Raises `SessionTooLarge`."""
        self._check_size(size_of(fields))

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise SessionTooLarge(
                f"the session's data would take {size} bytes, at most {self._max_bytes} are allowed (SESSION_MAX_BYTES); "
                "store large values elsewhere and keep their ids in the session"
            )

    def _has_expired(self, fields: Fields) -> bool:
        """Whether the session would have expired if Redis' clock were where a test has moved it (`stateroom.testing`)."""
        try:
            return expires_ms(fields) <= self._clock.now_ms()
        except (KeyError, ValueError):  # the reader logs that it is unreadable
            return False
