"""Sessions and their manager: mypy and basedpyright check their types. This file is never run."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import datetime
from typing import Any, assert_type

import stateroom


async def a_session_is_a_mapping(session: stateroom.Session) -> None:
    mapping: MutableMapping[str, Any] = session
    mapping["cart"] = ["apple"]
    session["theme"] = "dark"
    del session["theme"]
    assert_type(session.get("cart"), Any | None)
    assert_type(list(session), list[str])
    assert_type(len(session), int)
    await session.change("visits", lambda count: (count or 0) + 1)
    await session.save()


def who_it_is(session: stateroom.Session) -> None:
    assert_type(session.id, str | None)
    assert_type(session.user_id, int | str | None)
    assert_type(session.metadata, dict[str, Any])
    assert_type(session.evicted, int)
    for flag in (session.is_signed_in, session.is_stored, session.is_writable, session.is_persistent, session.degraded):
        assert_type(flag, bool)
    assert_type(session.restored, bool)
    assert_type(session.ended, str | None)


def how_long_it_lives(session: stateroom.Session) -> None:
    assert_type(session.created_at, datetime | None)
    assert_type(session.auth_time, datetime | None)
    assert_type(session.last_access, datetime | None)
    assert_type(session.expires_at, datetime | None)
    assert_type(session.expires_in, int)


async def the_manager_makes_and_ends_sessions(manager: stateroom.SessionManager) -> None:
    session = await manager.create(7, data={"cart": []}, metadata={"device_type": "bot"}, remember=True)
    assert_type(session, stateroom.Session)
    assert_type(await manager.load(manager.seal(session)), stateroom.Session)
    await manager.save(session)
    await manager.rotate(session)
    await manager.end(session, "logout")


async def the_manager_tells_of_sessions(manager: stateroom.SessionManager) -> None:
    (info,) = await manager.list("ada")
    assert_type(info, stateroom.SessionInfo)
    for moment in (info.created_at, info.last_access, info.expires_at):
        assert_type(moment, datetime)
    for text in (info.id, info.ip_address, info.user_agent, info.device_type, info.location):
        assert_type(text, str)
    assert_type(await manager.exists("ada", info.id), bool)
    assert_type(await manager.revoke("ada", info.id, reason="revoked"), bool | None)
    assert_type(await manager.revoke_all("ada", keep=None), int | None)
    assert_type(await manager.count_active(), int)
    assert_type(await manager.generation("ada"), int)
