"""Fills a server with signed-in sessions, with the store's own script and many calls per round trip."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from stateroom import SessionManager, Settings
from stateroom.backend.clients import make_client
from stateroom.request.client_info import device_type
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.model.client_notes import pack
from stateroom.sessions.model.identity import SessionRef, handle_of, user_key
from stateroom.sessions.model.session import record_of
from stateroom.sessions.store.key_names import KeyNames
from stateroom.sessions.store.scripts import SCRIPTS
from stateroom.sessions.wiring import wire
from stateroom.telemetry.metrics import Metrics

IDLE_SECONDS, LIFETIME_SECONDS = 3600, 43200
FIRST_USER = 1_000_000
AT_ONCE = 500
SAMPLES = 200
NEVER_LATE = 2**53
"""The scripts' argument for the time after which they do nothing."""

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_IPHONE = "like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_IN_AN_APP = (
    "[FBAN/FBIOS;FBAV/478.0.0.36.108;FBBV/634871250;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;FBSV/17.6.1;FBSS/3;FBID/phone;"
    "FBLC/de_DE;FBOP/5;FBRV/637215482]"
)
AGENTS = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/139.0.0.0 Safari/537.36",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/139.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 13; SM-A546B) {_WEBKIT} SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 {_IPHONE} Version/17.5 Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 {_IPHONE} Version/18.5 Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 {_IPHONE} CriOS/137.0.7151.107 Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 {_IPHONE} Mobile/21G93 {_IN_AN_APP}",
    "okhttp/4.11.0",
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """One signed-in user, and the token that opens the session."""

    user_id: int
    token: bytes
    notes: dict[str, str]

    @property
    def at(self) -> SessionRef:
        return SessionRef(user_key(self.user_id), handle_of(self.token))


DEPLOYMENT_ID = "bench"
"""Of a server that no service has used yet."""
Write = Callable[["redis.client.Pipeline", Visitor], None]


def visitors(count: int) -> Iterator[Visitor]:
    """The visitors. They are the same in each run, except for their tokens."""
    chance = random.Random(7)
    for number in range(count):
        agent = chance.choice(AGENTS)
        address = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
        notes = {"ip_address": address, "user_agent": agent, "device_type": device_type(agent)}
        yield Visitor(FIRST_USER + number, secrets.token_bytes(32), notes)


def fill(server: redis.Redis, count: int, write: Write) -> list[Visitor]:
    """Write `count` sessions. Returns a sample of the visitors."""
    everybody = visitors(count)
    sample: list[Visitor] = []
    while some := list(itertools.islice(everybody, AT_ONCE)):
        with server.pipeline(transaction=False) as pipeline:
            for visitor in some:
                write(pipeline, visitor)
            pipeline.execute()
        sample.append(some[len(sample) % len(some)])
    return sample[:: max(1, len(sample) // SAMPLES)]


def stateroom_sessions(server: redis.Redis, prefix: str = "session") -> Write:
    """A function that writes a session as `SessionStore.create` does."""
    keys, script = KeyNames(prefix), SCRIPTS["create"]
    server.set(keys.fleet(""), DEPLOYMENT_ID, nx=True)
    server.script_load(script.source)

    def write(pipeline: redis.client.Pipeline, visitor: Visitor) -> None:
        at = visitor.at
        arguments: list[str | bytes | int] = [
            0, NEVER_LATE, at.handle, at.user, IDLE_SECONDS * 1000, LIFETIME_SECONDS * 1000, 0, "", "g", 0,
        ]  # fmt: skip
        for field in pack(visitor.notes).items():
            arguments += field
        pipeline.evalsha(script.sha1, 3, *keys.of_session(at), *arguments)

    return write


async def check_form(server: redis.Redis, settings: Settings, sample: list[Visitor]) -> None:
    """Assert that the sessions have the fields and indexes that the manager stores."""
    client = make_client(settings, metrics=Metrics())
    await client.start()
    parts = wire(settings, Metrics(), client, NoJournal())
    await parts.membership.ask_redis()
    manager = SessionManager(parts)
    keys = KeyNames(settings.redis_key_prefix)
    for visitor in sample[:20]:
        session = await manager.create(visitor.user_id, metadata=visitor.notes)
        forms = [_form(server, keys, ref) for ref in (visitor.at, record_of(session).ref)]
        assert forms[0] == forms[1], forms
        await manager.end(session)
    await client.aclose()


def _form(server: redis.Redis, keys: KeyNames, at: SessionRef) -> dict[str, object]:
    session, expiries, sessions = keys.of_session(at)
    fields: dict[bytes, bytes] = server.hgetall(session)  # type: ignore[assignment]
    times = {name: len(fields.pop(name)) for name in (b"c", b"a", b"r", b"d")}
    return {
        "fields": fields,
        "times": times,
        "encoding": server.object("encoding", session),
        "expires": server.pttl(session) > 0,
        "in user index": server.zscore(sessions, at.handle) is not None,
        "in expiry index": sum(at.handle.encode() in member for member in server.zrange(expiries, 0, -1)),
    }
