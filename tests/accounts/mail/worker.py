"""A process that sends mails, for tests that kill it. Arguments: `DATABASE_URL`, `MAIL_URL`."""

from __future__ import annotations

import asyncio
import sys

from stateroom.accounts.mail.pace import Pace
from stateroom.database import Database
from stateroom.settings import Settings

from .room import Room


async def main(database_url: str, mail_url: str) -> None:
    database = Database(Settings(_env_file=None, database_url=database_url))
    room = Room(database, url=mail_url, pace=Pace(poll=0.05, claim=2))
    async with room.sending():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
