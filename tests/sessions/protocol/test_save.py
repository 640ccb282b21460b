"""What a request writes is saved once, and nowhere if its session has ended: on a real server, with and without a journal."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

from stateroom import SessionEnded, SessionManager, SessionTooLarge, flash, take_flashes
from stateroom.errors import DatabaseUnavailable, HeadersSent, StoreUnavailable
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.wiring import Parts
from stateroom.setup import CLIENT


async def stored(manager: SessionManager, session: Session) -> dict[str, Any]:
    """What the next request reads."""
    return dict(await manager.load(manager.seal(session)))


async def lose(parts: Parts, session: Session) -> None:
    """As if the session had expired, or Redis had evicted it."""
    await parts.client.execute(parts.store.key(record_of(session).ref), "DEL", parts.store.key(record_of(session).ref))


async def count_sessions(parts: Parts) -> int:
    return len(await parts.client.execute("", "KEYS", f"{parts.settings.redis_key_prefix}:*:s:*"))


def increased(value: int | None) -> int:
    return (value or 0) + 1


@pytest.mark.parametrize("user", [None, 7])
async def test_change_sees_what_the_request_has_written(manager: SessionManager, user: int | None) -> None:
    session = await manager.create(user, data={"n": 1})
    session["n"] = 10
    assert await session.change("n", increased) == 11
    assert session["n"] == 11
    assert await stored(manager, session) == {"n": 11}


async def test_change_sees_what_the_request_has_mutated(manager: SessionManager) -> None:
    session = await manager.create(7, data={"cart": ["apple"]})
    session["cart"].append("pear")
    assert await session.change("cart", lambda cart: [*cart, "plum"]) == ["apple", "pear", "plum"]
    assert await stored(manager, session) == {"cart": ["apple", "pear", "plum"]}


async def test_change_sees_what_the_request_has_deleted(manager: SessionManager) -> None:
    session = await manager.create(7, data={"n": 5})
    del session["n"]
    assert await session.change("n", increased) == 1
    assert await stored(manager, session) == {"n": 1}


async def test_change_on_a_visitor_of_whom_nothing_is_stored(manager: SessionManager) -> None:
    session = manager.anonymous()
    session["n"] = 10
    assert await session.change("n", increased) == 11
    assert await stored(manager, session) == {"n": 11}


async def test_change_with_nothing_of_its_own_goes_by_what_is_stored(manager: SessionManager) -> None:
    session = await manager.create(7, data={"n": 1})
    other = await manager.load(manager.seal(session))
    await session.change("n", increased)
    assert await other.change("n", increased) == 3


async def test_what_the_request_wrote_is_the_base_also_if_another_request_was_faster(manager: SessionManager) -> None:
    session = await manager.create(7, data={"n": 1})
    other = await manager.load(manager.seal(session))
    await other.change("n", lambda _: 500)
    session["n"] = 10
    assert await session.change("n", increased) == 11
    assert await stored(manager, session) == {"n": 11}


async def test_a_function_that_mutates_its_argument_is_called_again_with_the_value_as_it_was(manager: SessionManager) -> None:
    session = await manager.create(7, data={"cart": ["apple"]})
    other = await manager.load(manager.seal(session))
    await other.change("cart", lambda _: ["other"])
    session["cart"].append("pear")

    def add(cart: list[str]) -> list[str]:
        cart.append("plum")
        return cart

    assert await session.change("cart", add) == ["apple", "pear", "plum"]


@pytest.mark.parametrize("key", [1, None, b"n"])
@pytest.mark.parametrize("user", [None, 7])
async def test_change_takes_a_str_as_key(manager: SessionManager, key: Any, user: int | None) -> None:
    for session in (manager.anonymous(), await manager.create(user, data={"n": 1})):
        with pytest.raises(TypeError, match="a session key is a str"):
            await session.change(key, increased)


async def test_a_change_that_fails_leaves_the_key_as_it_was(manager: SessionManager) -> None:
    for session in (manager.anonymous(), await manager.create(7, data={"other": 1})):
        session["n"] = 1
        with pytest.raises(SessionTooLarge):
            await session.change("n", lambda _: "x" * 50_000)
        assert session["n"] == 1
        with pytest.raises(TypeError, match="tuple"):
            await session.change("n", lambda _: (1, 2))
        assert await session.change("n", increased) == 2


async def test_what_is_written_while_a_change_waits_for_redis_is_not_lost(manager: SessionManager) -> None:
    session = await manager.create(7, data={"n": 1, "cart": []})
    changing = asyncio.create_task(session.change("n", increased))
    await asyncio.sleep(0)
    session["n"] = 100
    session["cart"].append("apple")
    assert await changing == 2
    assert (session["n"], session["cart"]) == (100, ["apple"])
    await session.save()
    assert await stored(manager, session) == {"n": 100, "cart": ["apple"]}


async def test_what_is_written_while_a_save_waits_for_redis_is_not_lost(manager: SessionManager) -> None:
    session = await manager.create(7, data={"a": 1})
    session["a"] = 2
    flash(session, "info", "first")
    saving = asyncio.create_task(session.save())
    await asyncio.sleep(0)
    session["a"], session["b"] = 3, 1
    flash(session, "info", "second")
    await saving
    assert (session["a"], session["b"]) == (3, 1)
    await session.save()
    assert await stored(manager, session) == {"a": 3, "b": 1}
    assert await take_flashes(await manager.load(manager.seal(session))) == {"flash_info": "first\nsecond"}


async def test_parallel_saves_store_a_message_once(manager: SessionManager) -> None:
    session = await manager.create(7)
    flash(session, "info", "once")
    await asyncio.gather(*(session.save() for _ in range(5)))
    assert await take_flashes(await manager.load(manager.seal(session))) == {"flash_info": "once"}


async def test_messages_that_are_taken_while_they_are_saved_are_handed_out_once(manager: SessionManager) -> None:
    session = await manager.create(7)
    flash(session, "info", "once")
    _, taken = await asyncio.gather(session.save(), take_flashes(session))
    assert taken == {"flash_info": "once"}
    await session.save()
    assert await take_flashes(await manager.load(manager.seal(session))) == {}


async def test_messages_of_the_request_are_still_there_if_redis_fails_when_they_are_taken(
    app: web.Application, manager: SessionManager
) -> None:
    session = await manager.create(7)
    flash(session, "info", "kept")
    with mock.patch.object(app[CLIENT], "run", side_effect=StoreUnavailable("away, for a test")), pytest.raises(StoreUnavailable):
        await take_flashes(session)
    assert await take_flashes(session) == {"flash_info": "kept"}


async def test_parallel_first_writes_of_a_visitor_store_one_session(manager: SessionManager, parts: Parts) -> None:
    session = manager.anonymous()

    async def write(number: int) -> None:
        session[f"k{number}"] = number
        await (session.save() if number % 2 else session.change("n", increased))

    await asyncio.gather(*(write(number) for number in range(6)))
    assert await count_sessions(parts) == 1
    assert await stored(manager, session) == {"n": 3, **{f"k{number}": number for number in range(6)}}


async def test_after_the_headers_a_visitors_first_save_is_refused_and_its_changes_stay(
    manager: SessionManager, parts: Parts
) -> None:
    session = manager.anonymous()
    record_of(session).headers_sent = True
    await session.save()  # there is nothing to write
    session["a"] = 1
    with pytest.raises(HeadersSent):
        await session.save()
    with pytest.raises(HeadersSent):
        await session.change("n", increased)
    assert dict(session) == {"a": 1}
    assert await count_sessions(parts) == 0
    record_of(session).headers_sent = False
    await session.save()
    assert await stored(manager, session) == {"a": 1}


async def test_where_a_visitors_session_can_be_kept_nowhere_it_is_not_stored(manager: SessionManager, parts: Parts) -> None:
    session = manager.anonymous()
    record_of(session).keeps_nothing = True
    session["a"] = 1
    flash(session, "info", "here")
    assert await manager.save(session) is False
    assert await session.change("n", increased) == 1
    assert await session.change("n", increased) == 2
    assert dict(session) == {"a": 1, "n": 2}
    assert await count_sessions(parts) == 0


async def brought(manager: SessionManager, session: Session, user: int | None) -> Session:
    """A request's session, which came with the value from before a sign-in."""
    before = await manager.load(manager.seal(session))
    await manager.sign_in(session, user, metadata={})
    return before


@pytest.mark.parametrize("user", [None, 7])
async def test_a_value_from_before_a_sign_in_makes_no_new_session_by_writing(
    manager: SessionManager, parts: Parts, user: int | None
) -> None:
    session = await manager.create(user, data={"cart": 1})
    value = manager.seal(session)
    loaded_before = await brought(manager, session, 7)
    loaded_after = await manager.load(value)
    for late in (loaded_before, loaded_after):
        late["late"] = True
        for step in (late.save, lambda late=late: late.change("n", increased)):
            with pytest.raises(SessionEnded, match="rotated"):
                await step()
    assert await count_sessions(parts) == 1


async def test_messages_are_not_taken_from_a_session_that_ended_meanwhile(manager: SessionManager) -> None:
    late = await brought(manager, await manager.create(data={"cart": 1}), 7)
    with pytest.raises(SessionEnded, match="rotated"):
        await take_flashes(late)


@pytest.mark.parametrize("step", ["save", "change", "take"])
async def test_a_visitors_session_that_is_merely_gone_makes_way_for_a_new_one_with_what_is_known(
    manager: SessionManager, parts: Parts, step: str
) -> None:
    session = await manager.create(data={"cart": ["apple"], "n": 1})
    before = session.id
    await lose(parts, session)
    flash(session, "info", "own")
    if step == "save":
        session["n"] = 2
        assert await manager.save(session)
    elif step == "change":
        assert await session.change("n", increased) == 2
    else:
        assert await take_flashes(session) == {"flash_info": "own"}
        session["n"] = 2
        assert await manager.save(session)
    assert session.id != before
    assert await stored(manager, session) == {"cart": ["apple"], "n": 2}
    assert await count_sessions(parts) == 1


async def test_a_visitors_session_that_was_gone_before_the_request_makes_way_too(manager: SessionManager, parts: Parts) -> None:
    session = await manager.create(data={"cart": 1})
    await lose(parts, session)
    late = await manager.load(manager.seal(session))
    late["new"] = 1
    await late.save()
    assert await stored(manager, late) == {"new": 1}


async def test_with_the_journal_away_an_old_value_makes_no_new_session(manager: SessionManager, parts: Parts) -> None:
    session = await manager.create(data={"cart": 1})
    await lose(parts, session)
    late = await manager.load(manager.seal(session))
    late["new"] = 1
    with (
        mock.patch.object(parts.lookup, "ask", side_effect=DatabaseUnavailable("away, for a test")),
        pytest.raises(DatabaseUnavailable),
    ):
        await late.save()
    assert await count_sessions(parts) == 0
    assert dict(late) == {"new": 1}


async def test_a_users_session_that_has_ended_makes_no_new_one(manager: SessionManager, parts: Parts) -> None:
    session = await manager.create(7, data={"n": 1})
    value = manager.seal(session)
    late = await manager.load(value)
    await manager.end(session)
    late["n"] = 2
    with pytest.raises(SessionEnded, match="logout"):
        await late.save()
    after = await manager.load(value)
    after["n"] = 2
    with pytest.raises(SessionEnded, match="logout"):
        await after.save()
    assert await count_sessions(parts) == 0


@pytest.mark.parametrize("step", ["sign_in", "rotate", "revoke_all"])
async def test_what_is_saved_while_the_session_gets_a_new_id_is_in_the_new_one(
    manager: SessionManager, parts: Parts, step: str
) -> None:
    session = await manager.create(7, data={"cart": []})
    session["cart"].append("apple")

    async def get_new_id() -> None:
        if step == "sign_in":
            await manager.sign_in(session, 7, metadata={})
        elif step == "rotate":
            await manager.rotate(session)
        else:
            await manager.revoke_all(7, keep=session)

    await asyncio.gather(session.save(), session.change("n", increased), get_new_id(), session.change("n", increased))
    await session.save()
    assert await stored(manager, session) == {"cart": ["apple"], "n": 2}
    assert await count_sessions(parts) == 1


@pytest.mark.parametrize("handle", ["\ud800", "a\0b", "", "A" * 22])
async def test_what_is_no_handle_is_no_session(manager: SessionManager, parts: Parts, handle: str) -> None:
    session = await manager.create(7)
    assert await manager.exists(7, handle) is False
    assert await manager.revoke(7, handle) is False
    assert await manager.exists(7, record_of(session).ref.handle)
    assert await manager.revoke(7, record_of(session).ref.handle)
    assert await count_sessions(parts) == 0


@pytest.mark.parametrize("handle", ["\ud800", "a\0b", ""])
async def test_a_list_that_goes_on_after_what_is_no_handle_is_a_list(manager: SessionManager, handle: str) -> None:
    session = await manager.create(7)
    before = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    assert [each.id for each in await manager.list(7, before=(handle, before))] == [record_of(session).ref.handle]
