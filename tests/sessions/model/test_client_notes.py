"""What is noted of a sign-in: read as it was written, compact in Redis, and never a reason for a 500."""

from __future__ import annotations

import base64
import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom import SessionManager
from stateroom.backend.clients import make_client
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.model.client_notes import PIECE_BYTES, pack, unpack
from stateroom.sessions.model.session import record_of
from stateroom.sessions.wiring import wire
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ...conftest import require_tool
from ...servers import Servers

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
NOTES = {"ip_address": "203.0.113.45", "user_agent": CHROME, "device_type": "desktop", "location": "Utrecht, Netherlands"}


def stored(notes: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): piece for name, piece in pack(notes).items()}


@given(st.dictionaries(st.sampled_from(["ip_address", "user_agent", "device_type", "other"]), st.text(max_size=256)))
def test_notes_are_read_as_they_were_written_in_pieces_that_keep_the_hash_compact(notes: dict[str, str]) -> None:
    fields = stored(notes)
    assert unpack(fields) == notes
    assert all(len(piece) <= PIECE_BYTES for piece in fields.values())


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_what_cannot_be_read_is_no_notes(first: bytes, second: bytes) -> None:
    for mark in (b"", b"\x01"):
        assert isinstance(unpack({b"m": mark + first, b"m1": second}), dict)


def test_notes_that_were_cut_short_are_no_notes() -> None:
    fields = stored({"user_agent": secrets.token_hex(128)})
    del fields[max(fields)]
    assert unpack(fields) == {}


def test_notes_are_read_from_the_bytes_that_are_in_stores_today() -> None:
    """The list of words is part of the form: with another one, this would not be read."""
    packed = base64.b64decode("AcNIL8agJpKhsZ6JKd3cbGxBkptRUkxoSVFqckaJjgKwbZiRWpSTmJdSrFQLAA==")
    assert unpack({b"m": packed}) == NOTES


def test_a_common_browser_takes_one_short_field() -> None:
    fields = stored(NOTES)
    assert list(fields) == [b"m"]
    assert len(fields[b"m"]) < 64 < len(CHROME)


async def manager_on(settings: Settings) -> SessionManager:
    client = make_client(settings, metrics=Metrics())
    await client.start()
    parts = wire(settings, Metrics(), client, NoJournal())
    await parts.membership.ask_redis()
    return SessionManager(parts)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_signed_in_session_is_one_block_in_redis(servers: Servers, kind: str) -> None:
    if kind == "redis":
        require_tool("redis-server")
    manager = await manager_on(servers.settings(kind, redis_key_prefix=f"test-{secrets.token_hex(4)}"))
    session = await manager.create(7, metadata={**NOTES, "user_agent": secrets.token_hex(128)}, data={"cart": [1, 2, 3]})
    key = manager._parts.store.key(record_of(session).ref)
    assert await manager._parts.client.execute(key, "OBJECT", "ENCODING", key) == b"listpack"
    await manager._parts.client.aclose()


async def test_notes_of_an_earlier_release_are_read_beside_those_of_this_one(servers: Servers) -> None:
    manager = await manager_on(servers.settings("valkey", redis_key_prefix=f"test-{secrets.token_hex(4)}"))
    earlier, later = [await manager.create(7, metadata=NOTES) for _ in range(2)]
    key = manager._parts.store.key(record_of(earlier).ref)
    await manager._parts.client.execute(key, "HSET", key, "m", msgspec.json.encode(NOTES))
    listed = {each.id: each for each in await manager.list(7)}
    assert listed[record_of(earlier).ref.handle].user_agent == listed[record_of(later).ref.handle].user_agent == CHROME
    loaded = await manager.load(manager.seal(earlier))
    assert loaded.metadata == NOTES
    assert (await manager.load(manager.seal(later))).metadata == NOTES
    await manager._parts.client.aclose()
