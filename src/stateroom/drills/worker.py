"""The service as a drill runs it: `python -m stateroom.drills.worker`.

It is `stateroom serve` with routes that write session data, and with options that only a drill needs. `--without` disables
a protection, to prove that the judge notices. `--source` sets the address that the process connects from; relays tell the
sides of a partition apart by it. `--database-switch` names a file: while it exists, the database is unavailable.
`--second-look` shortens a wait of a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import SESSIONS, get_session
from ..app import make_app
from ..backend.agreement import Agreement
from ..backend.sentinel import SentinelWatcher
from ..database import Database
from ..errors import DatabaseUnavailable, SettingsError, StoreUnavailable
from ..insides.of_redis import connect_from
from ..serving.process import run
from ..sessions.protocol import unknown_users
from ..sessions.protocol.load import Loader
from ..sessions.protocol.replay import Replay
from ..sessions.protocol.restore import Restore
from ..sessions.protocol.trust import Trust
from ..sessions.store.one_session import OneSession
from ..settings import Settings
from .standstill import Standstills

routes = web.RouteTableDef()


@routes.put("/drill/data/{key}")
async def put(request: web.Request) -> web.Response:
    value = await request.json()
    get_session(request)[request.match_info["key"]] = value
    return web.json_response({"value": value})


@routes.post("/drill/count/{key}")
async def count(request: web.Request) -> web.Response:
    value = await get_session(request).change(request.match_info["key"], lambda value: (value or 0) + 1)
    return web.json_response({"value": value})


@routes.get("/drill/data")
async def data(request: web.Request) -> web.Response:
    session = get_session(request)
    return web.json_response({"data": dict(session), "restored": session.restored, "degraded": session.degraded})


@routes.get("/drill/state")
async def state(request: web.Request) -> web.Response:
    return web.Response(text=request.app[SESSIONS].store_state())


STANDSTILLS = web.AppKey("drill_standstills", Standstills)


@routes.get("/drill/standstill")
async def standstill(request: web.Request) -> web.Response:
    standstills = request.app[STANDSTILLS]
    longest = standstills.longest
    standstills.spans.clear()
    return web.Response(text=str(longest))


@routes.get("/drill/blocked")
async def blocked(request: web.Request) -> web.Response:
    standstills = request.app[STANDSTILLS]
    longest, standstills.longest_blocked = standstills.longest_blocked, 0.0
    return web.Response(text=str(longest))


async def _watch_the_loop(app: web.Application) -> AsyncIterator[None]:
    async with app[STANDSTILLS].watching():
        yield


async def _never_ended(*_: Any, **__: Any) -> None:
    return None


def _without_trust() -> None:
    """Trust every session in Redis and every credential, without the journal."""
    Trust.vouches = lambda *_: True  # type: ignore[method-assign]
    Trust.why_ended = _never_ended  # type: ignore[method-assign]
    Trust.why_ended_by_journal = _never_ended  # type: ignore[method-assign]


def _without_replay() -> None:
    """Do not delete sessions from Redis that the journal has ended."""
    Replay._replay = _never_ended  # type: ignore[method-assign]  # noqa: SLF001


def _without_restore() -> None:
    """Treat a session that Redis does not have as expired."""

    async def missing(self: Loader, record: Any, credential: Any, *_: Any) -> None:
        self._ended(record, credential, "expired")

    Loader._load_missing = missing  # type: ignore[method-assign, assignment]  # noqa: SLF001


def _without_second_look() -> None:
    """Store a session again without asking the journal a second time."""
    Restore._second_look = _never_ended  # type: ignore[method-assign]  # noqa: SLF001


def _without_unsettled() -> None:
    """Do not read sessions from Redis while it is unsettled."""
    plain = Loader.load

    async def load(self: Loader, record: Any, credential: Any, client_notes: Any, **named: Any) -> None:
        if self._trust.state(self._client, self._store) == "unsettled":
            fault = StoreUnavailable("the store is in doubt")
            await self._load_without_store(record, credential, self._sightings.of(credential), fault)
        else:
            await plain(self, record, credential, client_notes, **named)

    Loader.load = load  # type: ignore[method-assign]


async def _nobody(*_: object, **__: object) -> set[str]:
    return set()


def _without_unknown_users() -> None:
    """Do not check whether the user database has the users of sessions."""
    unknown_users.UnknownUsers.turn = _never_ended  # type: ignore[method-assign]
    unknown_users.UnknownUsers.check = _nobody  # type: ignore[method-assign]


def _without_rebuilt() -> None:
    """Do not follow Sentinels to a lower config epoch, however long they agree on it."""
    SentinelWatcher._look_for_rebuilt = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001


def _without_accept() -> None:
    """Trust the primary that most Sentinels name, although the deployment has not agreed on it."""
    Agreement.allows = lambda *_, **__: True  # type: ignore[method-assign]


def _slow_restore(seconds: float) -> None:
    """Wait between a restore's first question to the journal and its write, so that a sign-out can come between them."""
    at_once = OneSession.restore

    async def later(self: OneSession, *args: Any, **named: Any) -> bool | None:
        await asyncio.sleep(seconds)
        return await at_once(self, *args, **named)

    OneSession.restore = later  # type: ignore[method-assign]


def _leave_what_is_found() -> None:
    """Do not delete ended sessions that a request finds in Redis. The judge must find them, not remove them."""

    async def leave(*_: object) -> None:
        return

    Loader._clear_away = leave  # type: ignore[assignment,method-assign]  # noqa: SLF001


PROTECTIONS: dict[str, Callable[[], None]] = {
    "trust": _without_trust,
    "replay": _without_replay,
    "restore": _without_restore,
    "second-look": _without_second_look,
    "unsettled": _without_unsettled,
    "unknown-users": _without_unknown_users,
    "rebuilt": _without_rebuilt,
    "accept": _without_accept,
}


def _second_look_after(seconds: float) -> None:
    """Wait this long between the two looks that find a user missing."""
    unknown_users.SECOND_LOOK_SECONDS = seconds


def _switch_database(switch: Path) -> None:
    """Make the database unavailable while this file exists. An SQLite file has no server that could be stopped."""
    plain = Database.connect

    @contextlib.asynccontextmanager
    async def connect(self: Database) -> AsyncIterator[AsyncConnection]:
        if await asyncio.to_thread(switch.exists):
            raise DatabaseUnavailable("the drill has made the database unavailable")
        async with plain(self) as connection:
            yield connection

    Database.connect = connect  # type: ignore[method-assign]


def _make(settings: Settings) -> web.Application:
    app = make_app(settings)
    app.add_routes(routes)
    app[STANDSTILLS] = Standstills()
    app.cleanup_ctx.append(_watch_the_loop)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stateroom.drills.worker", description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=PROTECTIONS)
    parser.add_argument("--source", help="the address that connections to Redis and Sentinels come from")
    parser.add_argument("--slow-restore", type=float, help="seconds between a restore's first question and its write")
    parser.add_argument("--database-switch", type=Path, help="while this file exists, the database is unavailable")
    parser.add_argument("--second-look", type=float, help="seconds between the two looks that find a user missing")
    options = parser.parse_args()
    if options.second_look is not None:
        _second_look_after(options.second_look)
    if options.database_switch is not None:
        _switch_database(options.database_switch)
    if options.slow_restore is not None:
        _slow_restore(options.slow_restore)
    for name in options.without:
        PROTECTIONS[name]()
    if options.without:
        _leave_what_is_found()
    if options.source is not None:
        connect_from(options.source)
    try:
        run(Settings.load(), _make)
    except SettingsError as error:
        sys.exit(f"stateroom: {error}")


if __name__ == "__main__":
    main()
