"""The table of mails: who gets a mail, what belongs to a user."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from stateroom.accounts.mail.outbox import Outbox, mails
from stateroom.accounts.mail.pace import Pace
from stateroom.drills.node import until

from .mail_server import MailServer
from .room import Room


async def test_of_workers_that_claim_at_once_each_mail_has_one(room: Room) -> None:
    ids = {await room.put() for _ in range(3)}
    claims = await asyncio.gather(*(Outbox(room.database).claim() for _ in range(6)))
    assert sorted(each.id for each in claims if each is not None) == sorted(ids)


async def test_a_worker_keeps_its_claim_until_another_has_the_mail(room: Room) -> None:
    mail = await room.put()
    first, second = Outbox(room.database, Pace(claim=0.05)), Outbox(room.database)
    assert await first.claim() is not None
    assert await room.database.write(lambda connection: first.keep_claim(connection, mail))
    await asyncio.sleep(0.1)
    again = await second.claim()
    assert again is not None
    assert again.attempts == 1
    assert not await room.database.write(lambda connection: first.keep_claim(connection, mail))
    assert await first.defer(mail, 0)
    assert await room.outbox.claim() is None, "it is still the second one's"


async def test_details_and_the_id_are_those_that_were_given(room: Room) -> None:
    await room.put("Ada@Example.com", "change", user_id=2**53 - 1, details={"former": "a@example.com", "n": 1}, mail_id="a" * 32)
    mail = await room.outbox.claim()
    assert mail is not None
    assert (mail.id, mail.kind, mail.user_id, mail.address) == ("a" * 32, "change", 2**53 - 1, "Ada@Example.com")
    assert (mail.details, mail.attempts) == ({"former": "a@example.com", "n": 1}, 0)


async def test_the_mails_of_a_user_are_found_and_deleted_by_the_id_and_by_the_address(room: Room) -> None:
    own = [await room.put(user_id=2**40), await room.put("ADA@example.com", "reset")]
    other = await room.put("grace@example.com", user_id=2**41)
    assert [mail.id for mail in await room.outbox.of_user(2**40)] == own[:1]
    assert sorted(mail.id for mail in await room.outbox.of_user(2**40, address="ada@example.com")) == sorted(own)
    await room.database.write(lambda connection: room.outbox.delete_of_user(connection, 2**40, address="ada@example.com"))
    assert await room.waiting() == 1
    assert [mail.id for mail in await room.outbox.of_user(2**41)] == [other]


async def test_a_mail_of_a_newer_release_waits_for_a_worker_that_knows_its_kind(room: Room, server: MailServer) -> None:
    unknown: Any = "new_device"
    later = await room.put("grace@example.com", unknown)
    await room.put()
    async with room.sending():
        await server.arrived(1)

        async def is_deleted() -> bool:
            return await room.waiting() == 1

        await until(is_deleted, "the sent mail is deleted")
    assert server.recipients() == ["ada@example.com"]
    assert await room.outbox.claim() is None
    assert await room.database.read(lambda connection: connection.scalar(select(mails.c.attempts).where(mails.c.id == later))) == 0


async def test_a_mail_in_the_transaction_of_a_host_that_died_holds_back_no_other_mail(room: Room, server: MailServer) -> None:
    if room.database.is_sqlite:
        pytest.skip("in SQLite a process that ends leaves no lock")
    locked = await room.put("grace@example.com")
    await room.put()
    async with room.database.begin() as connection:
        await connection.execute(update(mails).where(mails.c.id == locked).values(attempts=1))
        async with room.sending():
            await server.arrived(1)
    assert server.recipients()[0] == "ada@example.com"
