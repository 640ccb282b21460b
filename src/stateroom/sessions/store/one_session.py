"""One session in Redis, by its reference. The fields of its hash are described in `model/fields.py`.

A missing session is a normal result and not an error. Every fault of the system is a `StoreUnavailable`.
Times and lifetimes are milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from ...backend.budget import within_budget
from ...backend.client import Argument, RedisClient, as_mapping
from ...backend.own_keys import text_of, unless_of_another_type
from ...errors import SessionTooLarge, StoreUnavailable
from ..model.fields import USER, Delta, Fields
from ..model.identity import SessionRef, user_id_of
from ..model.messages import FLASH_MAX_BYTES, FLASH_MAX_LINES
from ..model.timestamps import expires_ms, is_readable
from .key_names import KeyNames
from .redis_clock import RedisClock
from .results import Conflict, Created, Ended, Renewed, Saved
from .room import fitted, size_of
from .scripts import SCRIPTS, Durability, Writes

UNCLAIMED_MS = 10_000
"""How long a rotation's copy lives if it is not claimed."""

_OK, _TOO_LARGE, _CONFLICT, _EXISTS = 1, -2, -3, -4


class OneSession:
    """Loads, saves, renews, rotates and deletes a session. `timeout`: how many seconds a caller waits.

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
