"""Every mail arrives, whatever the server, the worker or the database does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.accounts.mail.letter import Letter, WaitingMail
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail.pace import Pace
from stateroom.accounts.mail.sender import CUTS
from stateroom.drills.node import until

from ...logs import capture_events
from .mail_server import CUT, MailServer
from .room import Room, compose, counted

ADDRESS = "ada@example.com"


async def test_a_mail_is_sent_once_and_deleted(room: Room, server: MailServer) -> None:
    mail = await room.put(ADDRESS)
    async with room.sending() as metrics:
        await server.arrived(1)
        await room.emptied()

    assert server.ids == [f"<{mail}@rooms.example>"]
    assert server.recipients() == [ADDRESS]
    assert counted(metrics, "sent") == 1


async def test_a_woken_sender_sends_at_once(room: Room, server: MailServer) -> None:
    outbox = Outbox(room.database)
    post = room.post(outbox=outbox, pace=Pace(poll=3600))
    task = asyncio.create_task(post.sender.run())
    await asyncio.sleep(0)
    await room.put()
    outbox.wake()
    await server.arrived(1)
    task.cancel()


async def test_a_mail_of_a_transaction_that_is_undone_does_not_exist(room: Room) -> None:
    async def step(connection: AsyncConnection) -> None:
        await room.outbox.put(connection, "reset", address=ADDRESS)
        raise KeyError

    with pytest.raises(KeyError):
        await room.database.write(step)
    assert await room.waiting() == 0


async def test_mails_of_a_batch_go_over_one_connection(room: Room, server: MailServer) -> None:
    for number in range(5):
        await room.put(f"user{number}@example.com")
    async with room.sending():
        await server.arrived(5)

    assert server.connections == 1
    assert server.recipients() == [f"user{number}@example.com" for number in range(5)]


async def test_a_long_backlog_goes_out_in_batches_without_a_pause(room: Room, server: MailServer) -> None:
    for number in range(7):
        await room.put(f"user{number}@example.com")
    async with room.sending(pace=Pace(poll=3600, batch=3)):
        await server.arrived(7)
    assert server.connections == 3


async def test_two_senders_at_once_send_each_mail_once(room: Room, server: MailServer) -> None:
    ids = {await room.put(f"user{number}@example.com") for number in range(20)}
    async with room.sending(), room.sending(), room.sending():
        await server.arrived(20)
        await room.emptied()

    assert len(server.ids) == 20
    assert set(server.ids) == {f"<{each}@rooms.example>" for each in ids}


@pytest.mark.parametrize("phase", ["RCPT", "DATA", "DOT"])
async def test_a_mail_that_the_server_defers_is_tried_again_with_the_same_message_id(
    room: Room, server: MailServer, phase: str
) -> None:
    server.replies[phase].extend(["451 4.7.1 try again ada@example.com", "452 full"])
    mail = await room.put(ADDRESS)
    with capture_events() as events:
        async with room.sending() as metrics:
            await server.arrived(1)
            await room.emptied()

    assert server.ids == [f"<{mail}@rooms.example>"]
    assert counted(metrics, "deferred") == 2
    assert [(each["mail"], each["code"]) for each in events if each["event"] == "mail_deferred"] == [(mail, 451), (mail, 452)]


@pytest.mark.parametrize("phase", ["RCPT", "DATA", "DOT"])
async def test_a_mail_that_the_server_refuses_is_dropped_and_the_next_one_is_sent(
    room: Room, server: MailServer, phase: str
) -> None:
    server.replies[phase].append(f"550 5.1.1 <{ADDRESS}> does not exist")
    refused = await room.put(ADDRESS)
    await room.put("grace@example.com")
    with capture_events() as events:
        async with room.sending() as metrics:
            await server.arrived(1)
            await room.emptied()

    assert server.recipients() == ["grace@example.com"]
    assert (counted(metrics, "failed"), counted(metrics, "sent")) == (1, 1)
    told = [each for each in events if each["event"] == "mail_refused"]
    assert [(each["mail"], each["kind"], each["code"]) for each in told] == [(refused, "verify", 550)]


@pytest.mark.parametrize(
    ("phase", "reply"), [("RCPT", "552 full"), ("RCPT", "503 bad sequence"), ("DOT", "500 what?"), ("RCPT", "banana"), ("DOT", "?")]
)
async def test_a_reply_that_says_nothing_final_about_a_mail_loses_it_not(
    room: Room, server: MailServer, phase: str, reply: str
) -> None:
    server.replies[phase].append(reply)
    mail = await room.put()
    async with room.sending() as metrics:
        await server.arrived(1)
        await room.emptied()

    assert server.ids == [f"<{mail}@rooms.example>"]
    assert (counted(metrics, "deferred"), counted(metrics, "failed")) == (1, 0)
    if not reply[0].isdigit():
        assert server.connections == 2, "what the server says next belongs to no command"


@pytest.mark.parametrize("phase", ["DATA", "DOT"])
async def test_a_connection_cut_before_the_acceptance_loses_no_mail(room: Room, server: MailServer, phase: str) -> None:
    server.replies[phase].append(CUT)
    mail = await room.put()
    async with room.sending() as metrics:
        await server.arrived(1)
        await room.emptied()

    assert server.ids == [f"<{mail}@rooms.example>"]
    assert counted(metrics, "deferred") == 1
    assert server.connections == 2


async def test_a_connection_cut_after_the_acceptance_repeats_no_mail(room: Room, server: MailServer) -> None:
    server.is_cut_after_acceptance = True
    first, second = await room.put(), await room.put()
    async with room.sending():
        await server.arrived(2)
        await room.emptied()

    assert server.ids == [f"<{each}@rooms.example>" for each in (first, second)]


async def test_mails_wait_while_the_server_is_stopped(room: Room, server: MailServer, servers: Any) -> None:
    port = server.port
    servers.thread.run(server.stop())
    mail = await room.put()
    with capture_events() as events:
        async with room.sending() as metrics:

            async def was_tried_twice() -> bool:
                return counted(metrics, "deferred") >= 2

            await until(was_tried_twice, "two attempts")
            servers.thread.run(server.start(port))
            await server.arrived(1)
            await room.emptied()

    assert server.ids == [f"<{mail}@rooms.example>"]
    names = [each["event"] for each in events]
    assert names.count("mail_server_unavailable") == 1, "one line for one outage"
    assert names.count("mail_server_available") == 1


async def test_a_sender_address_that_the_server_refuses_keeps_the_mail_and_names_the_setting(
    room: Room, server: MailServer
) -> None:
    server.replies["MAIL"].extend(["550 5.7.1 not yours", "550 5.7.1 not yours"])
    await room.put()
    with capture_events() as events:
        async with room.sending() as metrics:
            await server.arrived(1)

    assert counted(metrics, "failed") == 0
    [fault] = [each for each in events if each["log_level"] == "error"]
    assert "MAIL_FROM" in fault["fix"]


async def test_a_sender_that_is_cancelled_while_it_sends_gives_the_mail_back(room: Room, server: MailServer) -> None:
    server.hold = threading.Event()
    mail = await room.put()
    async with room.sending():
        await server.is_holding()
    server.hold.set()
    async with room.sending():
        await room.emptied()

    assert set(server.ids) == {f"<{mail}@rooms.example>"}


async def test_a_sender_that_is_cancelled_after_the_acceptance_deletes_the_mail(room: Room, server: MailServer) -> None:
    class Slow(Outbox):
        reached = asyncio.Event()

        async def done(self, mail_id: str) -> None:
            if not self.reached.is_set():
                self.reached.set()
                await asyncio.Event().wait()
            await super().done(mail_id)

    outbox = Slow(room.database, room.pace)
    await room.put()
    async with room.sending(outbox=outbox):
        await outbox.reached.wait()
    assert len(server.ids) == 1
    assert await room.waiting() == 0


async def test_a_server_that_cuts_each_mail_is_left_alone_for_a_while(room: Room, server: MailServer) -> None:
    server.always["DOT"] = CUT
    for _ in range(10):
        await room.put()
    with capture_events() as events:
        async with room.sending(pace=Pace(poll=0.05)) as metrics:

            async def is_paused() -> bool:
                return any(each["event"] == "mail_server_unavailable" for each in events)

            await until(is_paused, "a pause")
            await asyncio.sleep(0.5)
            assert server.connections == CUTS
            assert counted(metrics, "deferred") == CUTS


async def test_a_claim_expires_and_another_worker_sends_the_mail(room: Room, server: MailServer) -> None:
    mail = await room.put()
    assert await Outbox(room.database, Pace(claim=0.3)).claim() is not None
    assert await room.outbox.claim() is None, "another worker has it"
    async with room.sending():
        await server.arrived(1)
    assert server.ids == [f"<{mail}@rooms.example>"]


async def test_a_mail_is_given_up_after_its_time_and_the_loss_is_counted(room: Room, server: MailServer) -> None:
    server.always["RCPT"] = "450 later"
    mail = await room.put(ADDRESS)
    with capture_events() as events:
        async with room.sending(pace=Pace(poll=0.05, first_delay=0.05, longest_delay=0.05, keep=0.2)) as metrics:
            await room.emptied()

    assert counted(metrics, "failed") == 1
    [lost] = [each for each in events if each["event"] == "mail_given_up"]
    assert (lost["mail"], lost["kind"], lost["log_level"]) == (mail, "verify", "error")


async def test_a_mail_without_a_letter_is_deleted_unsent(room: Room, server: MailServer) -> None:
    async def none_for_ada(connection: AsyncConnection, mail: WaitingMail) -> Letter | None:
        return None if mail.address == ADDRESS else await compose(connection, mail)

    await room.put(ADDRESS)
    await room.put("grace@example.com")
    async with room.sending(compose=none_for_ada):
        await server.arrived(1)
        await room.emptied()
    assert server.recipients() == ["grace@example.com"]


async def test_a_letter_that_cannot_be_made_holds_back_no_other_mail(room: Room, server: MailServer) -> None:
    failures = iter([True])

    async def fails_once(connection: AsyncConnection, mail: WaitingMail) -> Letter | None:
        if mail.address == ADDRESS and next(failures, False):
            raise KeyError("an error of ours")
        return await compose(connection, mail)

    await room.put(ADDRESS)
    await room.put("grace@example.com")
    async with room.sending(compose=fails_once) as metrics:
        await server.arrived(2)
        await room.emptied()
    assert metrics.registry.get_sample_value("stateroom_loop_errors_total", {"loop": "mail"}) == 1


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com>\r\nRCPT TO:<eve@example.com",
        "no address",
        "ädä@example.com",
        "",
        # Browsers and registrations accept these.
        "ada.@example.com",
        ".ada@example.com",
        "a..da@example.com",
        "=?utf-8?q?eve?=@example.com",
    ],
)
async def test_an_address_that_no_mail_can_go_to_is_dropped(room: Room, server: MailServer, address: str) -> None:
    await room.put(address)
    await room.put("grace@example.com")
    with capture_events() as events:
        async with room.sending() as metrics:
            await server.arrived(1)
            await room.emptied()
    assert server.recipients() == ["grace@example.com"]
    assert counted(metrics, "failed") == 1
    assert not metrics.registry.get_sample_value("stateroom_loop_errors_total", {"loop": "mail"}), "the sender did not pause"
    assert not address or address not in str(events)


async def test_no_log_line_has_an_address_or_a_link(room: Room, server: MailServer) -> None:
    server.replies["MAIL"].extend([f"451 {ADDRESS}", f"550 {ADDRESS}"])
    server.replies["RCPT"].extend([f"451 {ADDRESS}", f"550 {ADDRESS}"])
    server.replies["DOT"].extend([CUT, f"554 {ADDRESS}"])
    for _ in range(3):
        await room.put(ADDRESS)
    with capture_events() as events:
        async with room.sending():
            await room.emptied()
    assert len(events) > 5
    for each in events:
        assert "@" not in str(each)
        assert "SECRET" not in str(each)


async def test_the_figures_say_how_many_mails_wait_and_how_old_the_oldest_is(room: Room, server: MailServer) -> None:
    server.always["RCPT"] = "450 later"
    await room.put()
    await room.put()
    async with room.sending() as metrics:

        async def is_shown() -> bool:
            value = metrics.registry.get_sample_value
            return value("stateroom_mails_waiting") == 2 and (value("stateroom_mail_oldest_age_seconds") or 0) > 0.1

        await until(is_shown, "two mails wait")
        server.always.clear()

        async def is_none() -> bool:
            value = metrics.registry.get_sample_value
            return value("stateroom_mails_waiting") == 0 and value("stateroom_mail_oldest_age_seconds") == 0

        await until(is_none, "no mail waits")


def test_waits_grow_up_to_a_limit_and_vary() -> None:
    pace = Pace()
    assert 3.75 <= pace.delay(1) <= 5
    assert 7.5 <= pace.delay(2) <= 10
    assert 675 <= pace.delay(1000) <= 900
    assert len({pace.delay(3) for _ in range(10)}) > 1
