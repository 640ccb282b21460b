"""A process that sends mails, on the event loop of the service. Arguments: `DATABASE_URL`, `MAIL_URL`, `MAIL_TLS_CA` or nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from stateroom.accounts.mail.pace import Pace
from stateroom.database import Database
from stateroom.serving.process import loop_factory
from stateroom.settings import Settings

from .room import Room


async def main(database_url: str, mail_url: str, ca: str = "") -> None:
    database = Database(Settings(_env_file=None, database_url=database_url))
    room = Room(database, url=mail_url, ca=Path(ca) if ca else None, pace=Pace(poll=0.05, claim=2))
    async with room.sending():
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(*sys.argv[1:]))
