"""The application under test: one handler, which does what the test tells it, step by step.

The test decides when each step happens. So requests of one browser interleave in an order that the test knows.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

import stateroom
from stateroom.errors import Conflict, SessionEnded
from stateroom.settings import Settings


@dataclass(frozen=True)
class Step:
    """What the handler does next. `ENDS` names the steps that end it."""

    name: str
    key: str = ""
    value: Any = None


ENDS = ("return", "redirect", "raise", "refuse")


@dataclass(frozen=True)
class Outcome:
    """What a step returned or raised. `error`: the name of the exception's class. `reason`: of a `SessionEnded`.

    `user`, `handle`: whose session the handler sees then, and which. `view`: its data, told only after an error.
    """

    value: Any = None
    error: str = ""
    reason: str = ""
    user: Any = None
    handle: str = ""
    view: dict[str, Any] = field(default_factory=dict)


class Channel:
    """Between the test and one request's handler. The last outcome is None: the handler has ended."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Step] = asyncio.Queue()
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()


CHANNELS: web.AppKey[dict[int, Channel]] = web.AppKey("channels")


class Bug(Exception):
    """A handler's own fault."""


def make_app(settings: Settings) -> web.Application:
    app = web.Application()
    stateroom.setup(app, settings)
    app[CHANNELS] = {}
    app.router.add_post("/play/{number}", play)
    return app


async def play(request: web.Request) -> web.StreamResponse:
    channel = request.app[CHANNELS].pop(int(request.match_info["number"]))
    try:
        return await _played(request, channel)
    finally:
        channel.outcomes.put_nowait(None)


async def _played(request: web.Request, channel: Channel) -> web.StreamResponse:
    session = stateroom.get_session(request)
    response: web.StreamResponse = web.Response(text="done")
    await channel.outcomes.put(_outcome(session, value=session.ended))
    while True:
        step = await channel.steps.get()
        match step.name:
            case "return":
                return response
            case "redirect":
                raise web.HTTPFound("/elsewhere")
            case "raise":
                raise Bug
            case "refuse":
                raise Conflict("the handler refuses")
            case "prepare":
                response = web.StreamResponse()
                await response.prepare(request)  # an error is the handler's end
                await response.write(b"begun")
                await channel.outcomes.put(_outcome(session))
            case _:
                await channel.outcomes.put(await _done(request, session, step))


async def _done(request: web.Request, session: stateroom.Session, step: Step) -> Outcome:
    try:
        value = await _STEPS[step.name](request, session, step)
    except Exception as error:
        reason = error.reason if isinstance(error, SessionEnded) else ""
        return _outcome(session, error=type(error).__name__, reason=reason, view=copy.deepcopy(dict(session)))
    return _outcome(session, value=value)


def _outcome(session: stateroom.Session, **members: Any) -> Outcome:
    return Outcome(user=session.user_id, handle=session.id or "", **members)


async def _look(request: web.Request, session: stateroom.Session, step: Step) -> Any:
    return copy.deepcopy(dict(session))


async def _write(request: web.Request, session: stateroom.Session, step: Step) -> None:
    session[step.key] = copy.deepcopy(step.value)


async def _mutate(request: web.Request, session: stateroom.Session, step: Step) -> None:
    value = session.get(step.key)
    if isinstance(value, list):
        value.append(step.value)


async def _delete(request: web.Request, session: stateroom.Session, step: Step) -> None:
    session.pop(step.key, None)


def appended(value: Any, item: Any) -> list[Any]:
    """What `change` makes of a value: a list with the item at its end."""
    if value is None:
        return [item]
    return [*value, item] if isinstance(value, list) else [value, item]


async def _change(request: web.Request, session: stateroom.Session, step: Step) -> Any:
    return copy.deepcopy(await session.change(step.key, lambda value: appended(value, step.value)))


async def _unset(request: web.Request, session: stateroom.Session, step: Step) -> Any:
    return await session.change(step.key, lambda value: None)


async def _save(request: web.Request, session: stateroom.Session, step: Step) -> None:
    await session.save()


async def _flash(request: web.Request, session: stateroom.Session, step: Step) -> None:
    stateroom.flash(session, "info", step.value)


async def _take(request: web.Request, session: stateroom.Session, step: Step) -> list[str]:
    return (await stateroom.take_flashes(session)).get("flash_info", "").split()


async def _sign_in(request: web.Request, session: stateroom.Session, step: Step) -> None:
    await stateroom.sign_in(request, step.value)


async def _sign_out(request: web.Request, session: stateroom.Session, step: Step) -> None:
    await stateroom.sign_out(request)


async def _reauthenticate(request: web.Request, session: stateroom.Session, step: Step) -> None:
    await stateroom.reauthenticate(request)


async def _revoke_others(request: web.Request, session: stateroom.Session, step: Step) -> None:
    await stateroom.revoke_others(request)


_STEPS: dict[str, Callable[[web.Request, stateroom.Session, Step], Awaitable[Any]]] = {
    "look": _look, "write": _write, "mutate": _mutate, "delete": _delete, "change": _change, "unset": _unset, "save": _save,
    "flash": _flash, "take": _take, "sign_in": _sign_in, "sign_out": _sign_out, "reauthenticate": _reauthenticate,
    "revoke_others": _revoke_others,
}  # fmt: skip
