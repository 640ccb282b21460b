"""The store against a plain model: any steps in any order, time moved, must agree."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import fakeredis
import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from stateroom.backend.plain import PlainClient
from stateroom.errors import SessionTooLarge
from stateroom.sessions.model.fields import Delta
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.messages import FLASH_MAX_LINES
from stateroom.sessions.store.key_names import KeyNames
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.store.results import Conflict
from stateroom.sessions.store.session_store import SessionStore

MAX_BYTES = 60
IDLE_CHOICES = [1_000, 60_000]
LIFETIME = 150_000
USERS = ["i1", "s1", ""]


@dataclass
class Model:
    """What a session should be."""

    idle: int
    created: int
    renewed: int
    deadline: int
    data: dict[str, bytes] = field(default_factory=dict)
    flashes: list[str] = field(default_factory=list)

    @property
    def expires(self) -> int:
        return min(self.renewed + self.idle, self.deadline)

    def size(self) -> int:
        flashes = "\n".join(self.flashes)
        return sum(len(key) + 1 + len(value) for key, value in self.data.items()) + (len("!info" + flashes) if flashes else 0)


EPOCH = 1_700_000_000


class StandingClock(RedisClock):
    """Real time stands still: at an end of life a millisecond would decide."""

    def now_ms(self) -> int:
        return EPOCH * 1000 + self.skew_ms


class StoreMachine(RuleBasedStateMachine):
    """Time stands still but for `move`: for Redis' TIME too, which the scripts ask."""

    addresses = Bundle("addresses")

    @initialize()
    def begin(self) -> None:
        self.pinned = mock.patch("time.time", return_value=float(EPOCH))
        self.pinned.start()
        self.loop = asyncio.new_event_loop()
        self.clock = StandingClock()
        self.alive: dict[SessionRef, Model] = {}
        self.expired: set[str] = set()
        self.handles = (f"handle{number:04}" for number in itertools.count())
        server = fakeredis.FakeServer()
        self.redis = fakeredis.FakeAsyncRedis(server=server)
        self.store = SessionStore(PlainClient(self.redis), KeyNames("t"), self.clock, max_bytes=MAX_BYTES, timeout=5)

    def teardown(self) -> None:
        self.pinned.stop()
        self.loop.run_until_complete(self.redis.aclose())
        self.loop.close()

    def new_handle(self) -> str:
        return next(self.handles)

    def do(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def tick(self) -> None:
        """Let what is due expire in the model."""
        now = self.clock.now_ms()
        for at, model in list(self.alive.items()):
            if model.expires <= now:
                del self.alive[at]
                self.expired.add(at.handle)

    @rule(target=addresses, user=st.sampled_from(USERS), idle=st.sampled_from(IDLE_CHOICES), value=st.sampled_from([b"1", b"22"]))
    def create(self, user: str, idle: int, value: bytes) -> SessionRef:
        at = SessionRef(user, self.new_handle())
        created = self.do(self.store.create(at, idle_ms=idle, lifetime_ms=LIFETIME, max_per_user=0, fields={".a": value, "g": 0}))
        self.alive[at] = Model(idle, created.created_at, created.created_at, created.created_at + LIFETIME, {"a": value})
        assert created.expires_at == self.alive[at].expires
        return at

    @rule(target=addresses, user=st.sampled_from(["i1", "s1"]))
    def create_within_limit(self, user: str) -> Any:
        at = SessionRef(user, self.new_handle())
        self.tick()
        mine = [each for each in self.alive if each.user == user]
        created = self.do(self.store.create(at, idle_ms=60_000, lifetime_ms=LIFETIME, max_per_user=2, fields={"g": 0}))
        self.alive[at] = Model(60_000, created.created_at, created.created_at, created.created_at + LIFETIME)
        assert len(created.over_limit) == max(0, len(mine) + 1 - 2)
        for handle in created.over_limit:
            evicted = SessionRef(user, handle)
            assert evicted in self.alive
            assert self.do(self.store.delete(evicted))[0] is not None
            del self.alive[evicted]
        return at

    @rule(at=addresses)
    def load(self, at: SessionRef) -> None:
        self.tick()
        fields = self.do(self.store.load(at))
        model = self.alive.get(at)
        if model is None:
            assert fields is None
        else:
            assert fields is not None
            assert {name[1:].decode(): value for name, value in fields.items() if name[:1] == b"."} == model.data
            assert int(fields[b"z"]) == model.size()
            assert int(fields[b"r"]) == model.renewed

    @rule(at=addresses, key=st.sampled_from("abc"), value=st.sampled_from([None, b"1", b"22", b"x" * 50]), renew=st.booleans())
    def save(self, at: SessionRef, key: str, value: bytes | None, *, renew: bool) -> None:
        self.tick()
        delta = Delta(deleted=[f".{key}"]) if value is None else Delta(values={f".{key}": value})
        model = self.alive.get(at)
        after = dict(model.data) if model else {}
        after.pop(key, None)
        if value is not None:
            after[key] = value
        try:
            saved = self.do(self.store.save(at, delta, renew=renew))
        except SessionTooLarge:
            assert model is not None
            grown = Model(0, 0, 0, 0, after, model.flashes).size()
            assert grown > MAX_BYTES
            assert grown > model.size()
            return
        assert (saved is None) == (model is None)
        if model is not None and saved is not None:
            model.data = after
            assert saved.size == model.size()
            assert saved.size <= MAX_BYTES
            if saved.renewed is not None:
                model.renewed = saved.renewed.renewed_at
                assert saved.renewed.expires_at == model.expires

    @rule(at=addresses, seen=st.sampled_from([None, b"1", b"22"]), value=st.sampled_from([None, b"1", b"22"]))
    def change(self, at: SessionRef, seen: bytes | None, value: bytes | None) -> None:
        self.tick()
        model = self.alive.get(at)
        try:
            outcome = self.do(self.store.change(at, ".a", seen, value))
        except SessionTooLarge:
            assert model is not None
            assert model.data.get("a") == seen
            return
        if model is None:
            assert outcome is None
        elif model.data.get("a") != seen:
            assert outcome == Conflict(model.data.get("a"))
        else:
            model.data.pop("a", None)
            if value is not None:
                model.data["a"] = value
            assert outcome == model.size()

    @rule(at=addresses, text=st.sampled_from(["x", "yy"]))
    def add_flash(self, at: SessionRef, text: str) -> None:
        self.tick()
        model = self.alive.get(at)
        saved = self.do(self.store.save(at, Delta(appended={"!info": text}), renew=False))
        assert (saved is None) == (model is None)
        if model is not None:
            model.flashes = [*model.flashes, text][-FLASH_MAX_LINES:]
            while model.size() > MAX_BYTES:  # messages give way to data
                model.flashes.pop(0)

    @rule(at=addresses)
    def take_flashes(self, at: SessionRef) -> None:
        self.tick()
        taken = self.do(self.store.take(at, ["!info"]))
        model = self.alive.get(at)
        if model is None:
            assert taken is None
        else:
            assert taken == ["\n".join(model.flashes).encode() if model.flashes else None]
            model.flashes = []

    @rule(at=addresses, interval=st.sampled_from([0, 10_000]))
    def renew(self, at: SessionRef, interval: int) -> None:
        self.tick()
        renewed = self.do(self.store.renew(at, interval_ms=interval))
        model = self.alive.get(at)
        assert (renewed is None) == (model is None)
        if model is not None:
            model.renewed = renewed.renewed_at
            assert renewed.expires_at == model.expires

    @rule(target=addresses, at=addresses, claims=st.booleans())
    def rotate(self, at: SessionRef, *, claims: bool) -> Any:
        if not at.user:
            return multiple()
        self.tick()
        new = SessionRef(at.user, self.new_handle())
        prepared = self.do(self.store.prepare_rotation(at, new, generation=1, signs_in=True))
        model = self.alive.get(at)
        assert (prepared is None) == (model is None)
        if model is None:
            assert self.do(self.store.load(new)) is None
            return new
        if not claims:
            return multiple()
        renewed = self.do(self.store.claim_rotation(at, new))
        model.renewed = renewed.renewed_at
        self.alive[new] = self.alive.pop(at)
        assert renewed.expires_at == model.expires
        return new

    @rule(at=consumes(addresses))
    def end(self, at: SessionRef) -> None:
        self.tick()
        ended, _ = self.do(self.store.delete(at))
        model = self.alive.pop(at, None)
        if model is not None:
            assert ended.created_at == model.created
        self.expired.discard(at.handle)

    @rule(milliseconds=st.sampled_from([500, 5_000, 59_000, 100_000]))
    def move(self, milliseconds: int) -> None:
        self.clock.skew_ms += milliseconds
        self.tick()

    @rule()
    def sweep(self) -> None:
        self.tick()
        kept = {key.decode() for key in self.do(self.redis.keys("*:x"))}
        used = [tag for tag, key in enumerate(self.store._key_names.expiries) if key in kept]
        swept = {end.handle for tag in used for end in self.do(self.store.sweep(tag))}
        assert swept == self.expired
        self.expired.clear()

    @invariant()
    def lists_are_of_the_living(self) -> None:
        if not hasattr(self, "store"):
            return
        self.tick()
        for user in ("i1", "s1"):
            assert {handle for handle, _ in self.do(self.store.of_user(user))} == {
                at.handle for at in self.alive if at.user == user
            }
        now = self.clock.now_ms()
        counted = sum(
            self.do(self.redis.zcount(key, f"({now}", "+inf"))
            for key in (self.store._key_names.expiries[tag] for tag in self._tags_in_use())
        )
        assert counted == len(self.alive)

    def _tags_in_use(self) -> set[int]:
        stems = {key: number for number, key in enumerate(self.store._key_names.expiries)}
        return {stems[self.store._key_names.of_session(at)[1]] for at in self.alive}


TestStoreAgreesWithTheModel = StoreMachine.TestCase
TestStoreAgreesWithTheModel.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
