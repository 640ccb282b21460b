"""Mistakes that type checkers must find. If a line's comment is no longer needed, they report it.

This file is never run. Authors of applications make such mistakes.
"""

from __future__ import annotations

from aiohttp import web

import stateroom


async def nobody_is_signed_in(request: web.Request, found: int | None) -> None:
    await stateroom.sign_in(request, found)  # type: ignore[arg-type]  # a look-up that found nobody gives None


async def a_transport_that_is_none(request: web.Request) -> None:
    await stateroom.sign_in(request, 7, transport="header")  # type: ignore[arg-type]


def a_session_is_not_awaited(request: web.Request) -> stateroom.Session:
    return stateroom.sign_in(request, 7)  # type: ignore[return-value]


def a_message_of_no_kind(session: stateroom.Session) -> None:
    stateroom.flash(session, "danger", "Deleted.")  # type: ignore[arg-type]


def a_key_that_is_no_text(session: stateroom.Session) -> None:
    session[7] = "seven"  # type: ignore[index]


def who_it_is_cannot_be_set(session: stateroom.Session) -> None:
    session.user_id = 7  # type: ignore[misc]


def nobody_has_a_name(session: stateroom.Session) -> str:
    return session.id.upper()  # type: ignore[union-attr]  # nothing is stored yet


@stateroom.require_auth  # type: ignore[type-var]
def a_handler_that_is_not_async(request: web.Request) -> web.Response:
    return web.Response()


@stateroom.require_auth(300)  # type: ignore[call-overload, untyped-decorator]
async def a_time_without_its_name(request: web.Request) -> web.Response:
    return web.Response()


async def a_count_that_may_be_unknown(request: web.Request) -> int:
    return await stateroom.revoke_others(request) + 1  # type: ignore[operator]
