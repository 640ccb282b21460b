"""Which Sentinels the watcher believes, for how long, and how soon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from stateroom.backend.agreement import Agreed, Agreement
from stateroom.backend.dial import Dialer
from stateroom.backend.one_sentinel import Answer
from stateroom.backend.sentinel import Named, SentinelWatcher
from stateroom.errors import StoreUnavailable
from stateroom.intervals import ask_timeout
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Address
from stateroom.telemetry.metrics import Metrics

from ..patience import at_most
from .watching import READ_TIMEOUT_SECONDS, watching

OLD, NEW, OTHER = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379), Address("10.0.0.3", 6379)


class Talk:
    """A watcher of three Sentinels whose answers and time the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.switches: list[Address] = []
        addresses = [Address("sentinel", number) for number in (1, 2, 3)]
        self.agreement = Agreement(lease_seconds=LEASE_SECONDS)
        self.watcher = SentinelWatcher(
            addresses,
            "mymaster",
            Dialer(1, 1),
            Metrics(),
            lease_seconds=LEASE_SECONDS,
            on_switch=self.switches.append,
            on_update=lambda: None,
            agreement=self.agreement,
        )

    def say(self, *answers: tuple[Address, int] | None) -> None:
        """The answers of the Sentinels, in order: a primary and an epoch, or None."""
        for sentinel, answer in zip(self.watcher.sentinels, answers, strict=True):
            sentinel.answer = None if answer is None else Answer(*answer, asked_at=self.now)
            self.watcher._update()

    def go_on(self, seconds: float) -> None:
        self.now += seconds

    def is_believed(self) -> bool:
        return self.now < self.watcher.believed_until


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    with mock.patch("time.monotonic", side_effect=lambda: made.now):
        yield made


def agree(talk: Talk, *answers: tuple[Address, int] | None, seconds: float = LEASE_SECONDS + 0.1) -> None:
    """Let the Sentinels give these answers for so long."""
    talk.say(*answers)
    for _ in range(round(seconds / 0.1)):
        talk.go_on(0.1)
        talk.say(*answers)


def test_a_majority_is_believed_after_a_lease_and_for_a_lease(talk: Talk) -> None:
    talk.say((OLD, 1), (OLD, 1), None)
    assert talk.watcher.primary == OLD
    assert not talk.is_believed()
    agree(talk, (OLD, 1), (OLD, 1), None)
    assert talk.is_believed()
    talk.go_on(LEASE_SECONDS - 0.01)
    assert talk.is_believed()
    talk.go_on(0.02)
    assert not talk.is_believed()


def test_one_sentinel_is_enough_to_connect_and_not_to_believe(talk: Talk) -> None:
    agree(talk, (OLD, 1), None, None, seconds=5)
    assert talk.watcher.primary == OLD
    assert not talk.is_believed()


def test_a_gap_begins_a_new_lease(talk: Talk) -> None:
    agree(talk, (OLD, 1), (OLD, 1), (OLD, 1))
    talk.go_on(LEASE_SECONDS + 0.1)
    talk.say((OLD, 1), (OLD, 1), (OLD, 1))
    assert not talk.is_believed()
    agree(talk, (OLD, 1), (OLD, 1), (OLD, 1))
    assert talk.is_believed()


def test_a_promotion_is_followed_at_once_and_believed_when_most_have_learnt_it(talk: Talk) -> None:
    agree(talk, (OLD, 1), (OLD, 1), (OLD, 1))
    talk.say((NEW, 2), (OLD, 1), (OLD, 1))
    assert talk.switches == [NEW]
    assert not talk.is_believed()
    agree(talk, (NEW, 2), (OLD, 1), (OLD, 1), seconds=2)
    assert not talk.is_believed()
    agree(talk, (NEW, 2), (NEW, 2), (OLD, 1))
    assert talk.is_believed()
    assert talk.switches == [NEW]


def test_nobody_goes_back_to_a_lower_epoch(talk: Talk) -> None:
    agree(talk, (NEW, 2), (NEW, 2), (NEW, 2))
    agree(talk, (OLD, 1), (OLD, 1), None, seconds=3)
    assert talk.watcher.primary == NEW
    assert talk.switches == []
    assert not talk.is_believed()


def test_one_that_lies_about_the_address_is_outvoted(talk: Talk) -> None:
    agree(talk, (OTHER, 1), (OLD, 1), (OLD, 1))
    assert talk.watcher.primary == OLD
    assert talk.is_believed()


async def sentinel_server(named: Callable[[], Address], *, hangs: bool = False) -> asyncio.Server:
    """A minimal Sentinel: HELLO, SUBSCRIBE and the two questions."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readline():
                command = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(length + 2))[:-2].decode().upper())
                if hangs:
                    continue
                host, port = named().host, str(named().port)
                if command[0] == "HELLO":
                    writer.write(b"%1\r\n+server\r\n+sentinel\r\n")
                elif command[0] == "SUBSCRIBE":
                    writer.write(b">3\r\n+subscribe\r\n+x\r\n:1\r\n")
                elif command[1] == "GET-MASTER-ADDR-BY-NAME":
                    writer.write(f"*2\r\n+{host}\r\n+{port}\r\n".encode())
                elif command[1] == "MASTER":
                    writer.write(f"%3\r\n+config-epoch\r\n+1\r\n+ip\r\n+{host}\r\n+port\r\n+{port}\r\n".encode())
                else:
                    writer.write(b"+OK\r\n")

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def address_of(server: asyncio.Server) -> Address:
    return Address("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_where_most_agree_nobody_waits_for_one_that_hangs() -> None:
    good = [await sentinel_server(lambda: OLD) for _ in range(2)]
    hung = await sentinel_server(lambda: OLD, hangs=True)
    async with watching(*map(address_of, [hung, *good])) as watcher:
        while watcher.primary is None:
            await asyncio.sleep(0)
        with at_most(ask_timeout(LEASE_SECONDS, READ_TIMEOUT_SECONDS)):
            assert await watcher.locate() == OLD
    for server in (*good, hung):
        server.close()


async def test_errors_name_each_sentinels_own_cause() -> None:
    hung = await sentinel_server(lambda: OLD, hangs=True)
    dead = await sentinel_server(lambda: OLD)
    nobody = address_of(dead)
    dead.close()
    await dead.wait_closed()
    async with watching(address_of(hung), nobody) as watcher:
        with pytest.raises(RedisConnectionError) as error:
            await watcher.locate()
    one, two = str(error.value).split("; ")
    assert f"{address_of(hung)}: " in one
    assert f"{nobody}: " in two
    assert "Error 111" in two
    assert one.split(": ", 2)[-1] != two.split(": ", 2)[-1]
    hung.close()


async def test_while_no_sentinel_answers_the_last_primary_known_is_tried() -> None:
    server = await sentinel_server(lambda: OLD)
    async with watching(address_of(server)) as watcher:
        assert await watcher.locate() == OLD
        server.close()
        watcher.sentinels[0]._multiplexer.drop(StoreUnavailable("gone"))
        assert await watcher.locate() == OLD


def accepted(talk: Talk) -> None:
    """The workers had agreed on epoch 2 of OLD. Then an administrator accepted Sentinels that begin at 0 again."""
    talk.agreement.has_database = True
    talk.agreement.read(Agreed(0, 2, str(OLD)), talk.now)
    talk.agreement.read(Agreed(1, 0, str(OLD)), talk.now)


def test_a_sentinel_that_was_not_rebuilt_does_not_lead_back_to_what_was_overruled(talk: Talk) -> None:
    accepted(talk)
    agree(talk, (OLD, 0), (OLD, 0), (OLD, 2))
    assert talk.agreement.wanted is None
    agree(talk, (OLD, 2), (OLD, 2), (OLD, 2))
    assert talk.agreement.wanted is None


def test_rebuilt_sentinels_may_reach_the_number_that_was_overruled(talk: Talk) -> None:
    accepted(talk)
    agree(talk, (OLD, 0), (OLD, 0), (OLD, 0))
    agree(talk, (NEW, 1), (NEW, 1), (NEW, 1))
    assert talk.agreement.wanted == Agreed(1, 1, str(NEW))
    agree(talk, (OLD, 2), (OLD, 2), (OLD, 2))
    assert talk.agreement.wanted == Agreed(1, 2, str(OLD))


async def test_closing_ends_an_examination_that_swallows_the_cancellation() -> None:
    """redis-py may swallow a cancellation that comes while it connects. Shutdown must not wait for ever then."""
    begun = asyncio.Event()

    async def examine(_primary: Address) -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise RedisConnectionError("no connection")

    watcher = SentinelWatcher(
        [],
        "mymaster",
        Dialer(1, 1),
        Metrics(),
        lease_seconds=LEASE_SECONDS,
        on_switch=lambda _primary: None,
        on_update=lambda: None,
        examine=examine,
    )
    watcher.rebuilt = Named(0, NEW)
    watcher._is_examination_due.set()
    await watcher.start()
    await begun.wait()
    closing = asyncio.create_task(watcher.aclose())
    await asyncio.wait({closing}, timeout=10)
    has_ended = closing.done()
    while not closing.done():
        closing.cancel()
        await asyncio.wait({closing}, timeout=1)
    assert has_ended
