"""Senders of the tests: with a letter for each mail, and short waits."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.accounts.mail.letter import Compose, Kind, Letter, WaitingMail
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail.pace import Pace
from stateroom.accounts.mail.post import Post
from stateroom.database import Database
from stateroom.drills.node import until
from stateroom.errors import DatabaseUnavailable
from stateroom.settings import Settings
from stateroom.telemetry.loops import kept_running
from stateroom.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[3]
QUICK = Pace(poll=0.05, first_delay=0.05, longest_delay=0.1, longest_pause=0.1, figures=0.05)

VALUES = {
    "site": "rooms.example",
    "link": "https://rooms.example/confirm#token=SECRET-TOKEN",
    "login_link": "https://rooms.example/login",
    "forgot_link": "https://rooms.example/forgot",
    "hours": "1",
    "days": "7",
}


async def compose(connection: AsyncConnection, mail: WaitingMail) -> Letter | None:
    return Letter(mail.kind, mail.address, VALUES)


class Room:
    """One database with any number of senders, each with metrics of its own."""

    def __init__(
        self, database: Database, *, url: str, ca: Path | None = None, compose: Compose = compose, pace: Pace = QUICK
    ) -> None:
        self.database = database
        self.url = url
        self.pace = pace
        self.compose = compose
        self.settings = settings(url, ca)
        self.outbox = Outbox(database, pace)

    def post(self, *, outbox: Outbox | None = None, metrics: Metrics | None = None, **options: Any) -> Post:
        """A worker's sender, with an outbox of its own. `options`: `compose`, `pace`."""
        options = {"compose": self.compose, "pace": self.pace, **options}
        outbox = outbox or Outbox(self.database, options["pace"])
        post = Post(self.settings, self.database, outbox, metrics or Metrics(), **options)
        post.prepare()
        return post

    async def put(self, address: str = "ada@example.com", kind: Kind = "verify", **values: Any) -> str:
        """Write a mail, and return its id."""
        return await self.database.write(lambda connection: self.outbox.put(connection, kind, address=address, **values))

    @contextlib.asynccontextmanager
    async def sending(self, **options: Any) -> AsyncIterator[Metrics]:
        """A worker that sends. It gives the worker's metrics. `options`: as for `post`."""
        metrics = Metrics()
        async with kept_running(self.post(metrics=metrics, **options).sender.run, "mail", metrics):
            yield metrics

    async def waiting(self) -> int:
        return (await self.outbox.waiting()).count

    async def emptied(self) -> None:
        """Wait until no mail waits. The user database may be stopped meanwhile."""

        async def is_empty() -> bool:
            try:
                return await self.waiting() == 0
            except DatabaseUnavailable:
                return False

        await until(is_empty, "no mail waits")


def url_of(settings: Settings) -> str:
    """The `DATABASE_URL` of settings, also of the default."""
    url = settings.database_url
    return url.get_secret_value() if url is not None else f"sqlite:///{settings.state_dir}/stateroom.db"


@contextlib.asynccontextmanager
async def worker(*arguments: str) -> AsyncIterator[Process]:
    """A process of `worker.py`. It is killed at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.accounts.mail.worker", *arguments, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def settings(url: str | None, ca: Path | None) -> Settings:
    given: dict[str, Any] = {"mail_tls_ca": ca} if ca else {}
    return Settings(
        _env_file=None, mail_url=url, mail_from="Rooms <no-reply@rooms.example>", public_url="https://rooms.example", **given
    )


def counted(metrics: Metrics, result: str) -> float:
    """`stateroom_mails_total` of one worker."""
    return metrics.registry.get_sample_value("stateroom_mails_total", {"result": result}) or 0.0
