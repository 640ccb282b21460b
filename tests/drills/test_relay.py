"""The relay holds the data that a partition would hold, and passes it on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from stateroom.drills.ports import LOOPBACK, free_port
from stateroom.drills.relay import CHUNK_BYTES, Relay
from stateroom.settings import Address

HERE, THERE = "127.0.0.1", "127.0.4.1"


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Address]:
    """A server that echoes everything."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, LOOPBACK, 0)
    yield Address(LOOPBACK, server.sockets[0].getsockname()[1])
    server.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay in front of a server that echoes everything."""
    async with echoing() as target, Relay(Address(LOOPBACK, free_port()), target) as made:
        yield made


async def connect(relay: Relay, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(relay.at.host, relay.at.port, local_addr=(source, 0))


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends, in any way."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def said_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bool:
    writer.write(text)
    try:
        async with asyncio.timeout(0.2):
            return await reader.readexactly(len(text)) == text
    except TimeoutError:
        return False


async def test_a_cut_concerns_one_side_and_what_it_held_arrives_after_it(relay: Relay) -> None:
    here, there = await connect(relay, HERE), await connect(relay, THERE)
    assert await said_back(*here, b"one")
    assert await said_back(*there, b"one")
    relay.cut([THERE])
    assert await said_back(*here, b"two")
    assert not await said_back(*there, b"two")
    late = await connect(relay, THERE)  # The relay accepts the connection, as if a SYN were under way. No answer comes.
    assert not await said_back(*late, b"late")
    relay.heal()
    assert await there[0].readexactly(3) == b"two"
    assert await late[0].readexactly(4) == b"late"
    for _, writer in (here, there, late):
        writer.close()


async def test_what_is_lost_never_arrives_and_both_ends_hear_of_it(relay: Relay) -> None:
    here, there = await connect(relay, HERE), await connect(relay, THERE)
    assert await said_back(*there, b"one")
    relay.cut([THERE])
    assert not await said_back(*there, b"two")
    late = await connect(relay, THERE)
    relay.lose()
    assert await is_over(there[0])
    assert await is_over(late[0])
    again = await connect(relay, THERE)
    assert await said_back(*again, b"three")
    assert await said_back(*here, b"one")
    for _, writer in (here, there, late, again):
        writer.close()


async def test_large_answers_pass_whole(relay: Relay) -> None:
    reader, writer = await connect(relay, HERE)
    text = bytes(range(256)) * 40_000
    writer.write(text)
    assert await reader.readexactly(len(text)) == text
    writer.close()


async def test_the_end_of_one_side_is_the_end_of_the_other(relay: Relay) -> None:
    reader, writer = await connect(relay, HERE)
    assert await said_back(reader, writer, b"x")
    writer.write_eof()
    assert await is_over(reader)


async def test_where_nobody_listens_callers_are_turned_away() -> None:
    async with Relay(Address(LOOPBACK, free_port()), Address(LOOPBACK, free_port())) as relay:
        reader, _ = await connect(relay, HERE)
        assert await is_over(reader)


async def test_a_long_link_delays_each_message_and_keeps_order_and_bandwidth() -> None:
    round_trip = 0.2
    async with echoing() as target, Relay(Address(LOOPBACK, free_port()), target, round_trip=round_trip) as relay:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await connect(relay, HERE)
        writer.write(b"0")
        assert await reader.readexactly(1) == b"0"
        assert loop.time() - began >= 2 * round_trip, "one round trip to connect, and one for the reply"
        began = loop.time()
        text = b"".join(b"%8d" % number for number in range(500_000))
        writer.write(text)
        assert await reader.readexactly(len(text)) == text
        took = loop.time() - began
        assert round_trip <= took < len(text) / CHUNK_BYTES * round_trip / 2, "chunks are under way at the same time"
        writer.close()
