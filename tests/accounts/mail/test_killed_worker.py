"""Workers that are killed while they send, and a user database that stops and comes back."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.database import Database
from stateroom.drills.node import until
from stateroom.drills.postgres import Postgres
from stateroom.errors import DatabaseUnavailable
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from .mail_server import MailServer
from .room import Room, url_of, worker


async def noticed(metrics: Metrics) -> None:
    """Wait until a sender has noticed that the user database is stopped."""

    async def is_noticed() -> bool:
        return math.isnan(metrics.registry.get_sample_value("stateroom_mails_waiting") or 0)

    await until(is_noticed, "the sender notices")


@pytest.mark.parametrize("phase", ["MAIL", "DOT"])
async def test_a_killed_worker_loses_no_mail(room: Room, server: MailServer, database_settings: Settings, phase: str) -> None:
    server.hold, server.hold_at = threading.Event(), phase
    first, second = await room.put(), await room.put("grace@example.com")
    async with worker(url_of(database_settings), room.url):
        await server.is_holding()
        assert await room.waiting() == 2
    server.hold.set()
    async with room.sending():
        await room.emptied()

    assert set(server.ids) == {f"<{first}@rooms.example>", f"<{second}@rooms.example>"}
    if phase == "MAIL":  # the worker had sent nothing
        assert len(server.ids) == 2


@pytest.fixture
async def stoppable(own_postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(_env_file=None, database_url=own_postgres.make_database(), state_dir=tmp_path))
    await database.upgrade()
    yield database
    await database.aclose()


async def test_mails_go_out_after_the_user_database_was_stopped(
    stoppable: Database, own_postgres: Postgres, server: MailServer
) -> None:
    room = Room(stoppable, url=f"smtp://127.0.0.1:{server.port}")
    async with room.sending() as metrics:
        await room.put()
        await room.emptied()
        own_postgres.stop()
        with pytest.raises(DatabaseUnavailable):
            await room.waiting()
        await noticed(metrics)
        own_postgres.start()
        await room.emptied()
        await room.put("grace@example.com")
        await server.arrived(2)
        await room.emptied()

    assert server.recipients() == ["ada@example.com", "grace@example.com"]
    assert metrics.registry.get_sample_value("stateroom_loop_errors_total", {"loop": "mail"}) == 0


async def test_a_mail_that_was_delivered_while_the_database_was_stopped_is_deleted_later_and_not_repeated(
    stoppable: Database, own_postgres: Postgres, server: MailServer
) -> None:
    server.hold = threading.Event()
    room = Room(stoppable, url=f"smtp://127.0.0.1:{server.port}")
    await room.put()
    async with room.sending() as metrics:
        await server.is_holding()
        own_postgres.stop()
        server.hold.set()
        await server.arrived(1)
        await noticed(metrics)
        own_postgres.start()
        await room.emptied()
    assert len(server.mails) == 1
