"""Sessions in Redis: the one file that knows their shape there.

A session is a hash: `v` format version, `u` user, `c` created, `a` signed in, `r` renewed, `d` deadline, `i` idle
lifetime, `g` generation, `m`, `m1`, … notes of the sign-in (notes.py), `z` bytes of data, `p` pending (not to be
honoured before the journal was asked), `.KEY` a value of the application (JSON), `!KIND` a flash message. Times and
lifetimes are milliseconds. A missing session is an answer here, not an error; every fault of the system is
`StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from ..backend.budget import within_budget
from ..backend.client import Argument, RedisClient
from ..errors import SessionTooLarge, StoreUnavailable
from .clock import StoreClock
from .keys import TAG_COUNT, Address, Keys, UserId, user_id_of
from .writes import SCRIPTS, Durability, Writes

Fields: TypeAlias = Mapping[bytes, bytes]
T = TypeVar("T")

FORMAT_VERSION = 1
UNCLAIMED_MS = 10_000
"""How long the copy of a rotation lives that nobody came to claim."""

_LISTED_AT_MOST = 1000
_SWEPT_AT_ONCE = 25
_SWEEPS_OF_A_TAG = 20
_ASKED_AT_ONCE = 64
"""Commands that leave together for what nobody waits for: a check that comes then has only these before it."""
PENDING = b"p"
_ALL_GENERATIONS = 2**53
_OK, _TOO_LARGE, _CONFLICT, _EXISTS = 1, -2, -3, -4


@dataclass(frozen=True, slots=True)
class Created:
    created_at: int
    expires_at: int
    over_limit: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    renewed_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Saved:
    size: int
    renewed: Renewed | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that was there and is not any more. Times are milliseconds since the epoch."""

    user_id: UserId | None
    handle: str
    created_at: int
    ended_at: int

    @property
    def lifetime_seconds(self) -> float:
        return max(0, self.ended_at - self.created_at) / 1000


@dataclass(slots=True)
class Delta:
    """What a request changed: fields by their names in the hash."""

    values: dict[str, bytes] = field(default_factory=dict)
    appended: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.values or self.appended or self.deleted)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The field has another value now; None where it is gone."""

    current: bytes | None


class SessionStore:
    """Load, save, renew, rotate, end, list, count, sweep. `timeout` is how many seconds a caller waits."""

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        clock: StoreClock,
        *,
        max_bytes: int,
        timeout: float,
        durability: Durability | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._max_bytes = max_bytes
        self._writes = Writes(client, clock, timeout=timeout, durability=durability)

    @property
    def is_refusing(self) -> bool:
        """The server answered the last write with a refusal (NOREPLICAS, READONLY, MISCONF, OOM)."""
        return self._writes.is_refusing

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def key(self, at: Address) -> str:
        return self._keys.session(at.user, at.handle)

    def user_key(self, user: str) -> str:
        return self._keys.user(user)

    def ask(self, key: str) -> Awaitable[Fields]:
        """All fields of a session, as Redis has them: the one command of a load, without a coroutine around it."""
        return self._client.execute(key, "HGETALL", key)

    def is_there(self, fields: Fields) -> bool:
        """Whether what `ask` said is a session: no fields are none."""
        return bool(fields) and not (self._clock.skew_ms and self._has_expired(fields))

    async def load(self, at: Address) -> Fields | None:
        """All fields, or None where there is no such session."""
        fields = await within_budget(self.ask(self.key(at)))
        return fields if self.is_there(fields) else None

    async def create(
        self, at: Address, *, idle_ms: int, lifetime_ms: int, max_per_user: int, fields: Mapping[str, Argument]
    ) -> Created:
        """Store a new session. Raises `SessionTooLarge`."""
        self.check_data(fields)
        args: list[Argument] = [at.handle, at.user, idle_ms, lifetime_ms, max_per_user]
        for name, value in fields.items():
            args += (name, value)
        reply = await self._writes.run_durably("create", self._keys.of_session(at.user, at.handle), args)
        if reply[0] == _EXISTS:
            raise StoreUnavailable("a session with this id is stored already", kind="refused")
        return Created(int(reply[1]), int(reply[2]), tuple(each.decode() for each in reply[3]))

    async def save(self, at: Address, delta: Delta, *, renew: bool) -> Saved | None:
        """Write what changed; None where the session is gone. Raises `SessionTooLarge`, the session untouched."""
        args: list[Argument] = [at.handle, at.user, self._max_bytes, int(renew)]
        args += (len(delta.values), len(delta.appended), len(delta.deleted))
        for name, raw in delta.values.items():
            args += (name, raw)
        for name, text in delta.appended.items():
            args += (name, text)
        args += delta.deleted
        reply = await self._writes.run("save", self._keys.of_session(at.user, at.handle), args)
        if reply[0] == _TOO_LARGE:
            self._check_size(int(reply[1]))
        if reply[0] != _OK:
            return None
        return Saved(int(reply[1]), Renewed(int(reply[2]), int(reply[3])) if renew else None)

    async def renew(self, at: Address, *, interval_ms: int) -> Renewed | None:
        """Slide the idle lifetime, unless done less than `interval_ms` ago; None where the session is gone."""
        reply = await self._writes.run("renew", self._keys.of_session(at.user, at.handle), [at.handle, at.user, interval_ms])
        return Renewed(int(reply[1]), int(reply[2])) if reply[0] == _OK else None

    async def change(self, at: Address, name: str, seen: bytes | None, value: bytes | None) -> Conflict | int | None:
        """Set a field that still has the value `seen`: the size then, a `Conflict`, or None where the session is gone."""
        reply = await self._writes.run(
            "change", [self._keys.session(at.user, at.handle)], [self._max_bytes, name, seen or b"", value or b""]
        )
        if reply[0] == _CONFLICT:
            return Conflict(reply[1] or None)
        if reply[0] == _TOO_LARGE:
            self._check_size(int(reply[1]))
        return int(reply[1]) if reply[0] == _OK else None

    async def take(self, at: Address, names: Sequence[str]) -> list[bytes | None] | None:
        """Read and delete fields in one step; None where the session is gone."""
        reply = await self._writes.run("take", [self._keys.session(at.user, at.handle)], list(names))
        return list(reply[1:]) if reply[0] == _OK else None

    async def prepare_rotation(self, old: Address, new: Address, *, generation: int, signs_in: bool) -> int | None:
        """Copy a session under a new handle, unclaimed: the time of sign-in it has, or None where the old is gone."""
        keys = [self._keys.session(old.user, old.handle), self._keys.session(new.user, new.handle)]
        reply = await self._writes.run("prepare", keys, [UNCLAIMED_MS, generation, int(signs_in)])
        return int(reply[2]) if reply[0] == _OK else None

    async def claim_rotation(self, old: Address, new: Address) -> Renewed | None:
        """Make the copy the session and delete the old one; None where the copy is gone."""
        session, expiries, sessions = self._keys.of_session(new.user, new.handle)
        keys = [session, self._keys.session(old.user, old.handle), expiries, sessions]
        reply = await self._writes.run_durably("claim", keys, [new.handle, old.handle, new.user])
        return Renewed(int(reply[1]), int(reply[2])) if reply[0] == _OK else None

    async def restore(
        self, at: Address, *, created: int, renewed: int, deadline: int, idle_ms: int, fields: Mapping[str, Argument]
    ) -> bool | None:
        """Store a lost session again, pending; False where it is there already, None where its time is over or it was ended."""
        args: list[Argument] = [at.handle, at.user, created, renewed, deadline, idle_ms]
        for name, value in fields.items():
            args += (name, value)
        keys = [*self._keys.of_session(at.user, at.handle), self._keys.ended(at.user, at.handle)]
        reply = await self._writes.run("restore", keys, args)
        return {_OK: True, _EXISTS: False}.get(reply[0])

    async def confirm(self, at: Address) -> bool:
        """A pending session is pending no more; False where it is gone."""
        reply = await self._writes.run_durably("confirm", self._keys.of_session(at.user, at.handle), [at.handle, at.user])
        return bool(reply[0] == _OK)

    async def end(self, at: Address, *, mark_ms: int = 0, reason: str = "") -> tuple[Ended | None, int]:
        """Delete a session: what it was, None where there was none; and how many replicas know.

        `mark_ms`: for so long nobody restores it, though the journal does not have its end; a mark says the reason.
        """
        keys = [*self._keys.of_session(at.user, at.handle), self._keys.ended(at.user, at.handle)]
        args: list[Argument] = [self._clock.skew_ms, 0, at.handle, at.user, mark_ms or "", reason]
        reply, reached = await self._writes.run_whenever("finish", keys, args)
        if reply[0] != _OK:
            return None, reached
        return Ended(user_id_of(at.user), at.handle, int(reply[1]), int(reply[2])), reached

    async def end_at_once(self, at: Address) -> None:
        """Delete a session; no replica is waited for."""
        keys = [*self._keys.of_session(at.user, at.handle), self._keys.ended(at.user, at.handle)]
        await self._client.run(SCRIPTS["finish"], keys, [self._clock.skew_ms, 0, at.handle, at.user, ""])

    async def end_older(self, user: str, generation: int | None, *, spare: str = "") -> list[Ended]:
        """Delete the user's sessions of a lower generation (None: of any), but for the one with the handle `spare`."""
        index, expiries = self._keys.user(user), f"{self._keys.stem(user, '')}:x"
        least = _ALL_GENERATIONS if generation is None else generation
        reply, _ = await self._writes.run_whenever("end_older", [index, expiries], [self._clock.skew_ms, 0, user, least, spare])
        now = int(reply[-1])
        near = self._client.standing(index).near
        if near is not None:  # the script has found their keys itself
            near.drop(self._keys.session(user, handle.decode()) for handle in reply[:-1:2])
        return [
            Ended(user_id_of(user), handle.decode(), int(created), now)
            for handle, created in zip(reply[:-1:2], reply[1::2], strict=True)
        ]

    async def marked_end(self, at: Address) -> str | None:
        """Why a session was ended whose end the journal may not have yet; None where no mark says so."""
        key = self._keys.ended(at.user, at.handle)
        reason = await self._client.execute(key, "GET", key)
        return None if reason is None else reason.decode()

    async def exists(self, at: Address) -> bool:
        """Whether this user has it: keys tell users apart by their tags only, of which there are not many."""
        fields = await self.load(at)
        return fields is not None and fields.get(b"u", b"") == at.user.encode()

    async def handles(self, user: str) -> list[str]:
        """A user's sessions, oldest first, as the index has them: some may have expired a moment ago."""
        key = self._keys.user(user)
        found = await within_budget(self._client.execute(key, "ZRANGE", key, 0, _LISTED_AT_MOST - 1))
        return [each.decode() for each in found]

    async def of_user(self, user: str) -> list[tuple[str, Fields]]:
        """A user's live sessions, oldest first: handle and fields."""
        handles = await self.handles(user)
        loaded = await asyncio.gather(*(self.load(Address(user, handle)) for handle in handles))
        return [(handle, fields) for handle, fields in zip(handles, loaded, strict=True) if fields is not None]

    async def count_active(self) -> int:
        """Live sessions of the whole fleet. Costs one short command a tag, whatever the number of sessions."""
        least, counted = f"({self._clock.now_ms()}", 0
        for begin in range(0, TAG_COUNT, _ASKED_AT_ONCE):
            keys = self._keys.expiries[begin : begin + _ASKED_AT_ONCE]
            counted += sum(await asyncio.gather(*(self._client.execute(key, "ZCOUNT", key, least, "+inf") for key in keys)))
        return counted

    async def note_active(self, count: int, *, kept_ms: int) -> None:
        """Leave the count for the fleet's other workers."""
        key = self._keys.active
        await self._writes.noted(self._client.execute(key, "SET", key, count, "PX", kept_ms))

    async def noted_active(self) -> int | None:
        """What `note_active` left; None where nobody has counted lately."""
        key = self._keys.active
        noted = await self._client.execute(key, "GET", key)
        return None if noted is None else int(noted)

    async def sweep(self, tag: int) -> list[Ended]:
        """Clear expired sessions of one tag (0 to 1,023) out of the indexes; each is reported once across the fleet.

        In short steps, so that nobody waits long behind one; after a flood of them some are left for the next time.
        """
        key = self._keys.expiries[tag % TAG_COUNT]
        ended: list[Ended] = []
        for _ in range(_SWEEPS_OF_A_TAG):
            due: list[Any] = await self._client.run(SCRIPTS["sweep"], [key], [self._clock.skew_ms, 0, _SWEPT_AT_ONCE])
            for member, score in zip(due[::2], due[1::2], strict=True):
                handle, created, user = member.decode().split(":", 2)
                ended.append(Ended(user_id_of(user), handle, int(created), int(float(score))))
            if len(due) < 2 * _SWEPT_AT_ONCE:
                break
        return ended

    async def claim_sweep(self, worker: str, *, hold_ms: int) -> bool:
        """Whether this worker sweeps now: one in the fleet does, until it has been silent for `hold_ms`."""
        key = self._keys.sweeper
        if await self._writes.noted(self._client.execute(key, "SET", key, worker, "NX", "PX", hold_ms)):
            return True
        if await self._client.execute(key, "GET", key) != worker.encode():
            return False
        await self._client.execute(key, "PEXPIRE", key, hold_ms)
        return True

    def check_data(self, fields: Mapping[str, Argument]) -> None:
        """Raises `SessionTooLarge`."""
        data = {name: value for name, value in fields.items() if name[0] in ".!" and isinstance(value, bytes | str)}
        self._check_size(sum(len(name.encode()) + len(value) for name, value in data.items()))

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise SessionTooLarge(
                f"the session's data would take {size} bytes, at most {self._max_bytes} are allowed (SESSION_MAX_BYTES); "
                "keep large things elsewhere and their ids here"
            )

    def _has_expired(self, fields: Fields) -> bool:
        """For moved clocks in tests, which Redis' own expiry knows nothing of."""
        end = min(int(fields[b"r"]) + int(fields[b"i"]), int(fields[b"d"]))
        return end <= self._clock.now_ms()
