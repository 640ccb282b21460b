"""What others write to a session while a sign-in replaces it is in the new one: on a real server, with and without a journal."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from stateroom import SessionManager, flash, take_flashes
from stateroom.errors import StoreUnavailable
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.protocol.sign_ins import SignIns
from stateroom.sessions.wiring import Parts

from ...logs import capture_events


@contextlib.contextmanager
def before_the_old_one_ends(step: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """Take this step after the session was copied, and before the old one is deleted."""
    replace = SignIns._replace

    async def late(self: SignIns, *args: Any, **named: Any) -> Any:
        await step()
        return await replace(self, *args, **named)

    with mock.patch.object(SignIns, "_replace", late):
        yield


async def stored(manager: SessionManager, session: Session) -> dict[str, Any]:
    return dict(await manager.load(manager.seal(session)))


async def messages(manager: SessionManager, session: Session) -> dict[str, str]:
    return await take_flashes(await manager.load(manager.seal(session)))


@pytest.mark.parametrize("before", [None, 7])
async def test_values_that_were_set_changed_and_deleted_meanwhile_are_so_in_the_new_session(
    manager: SessionManager, before: int | None
) -> None:
    session = await manager.create(before, data={"kept": 0, "set": 1, "changed": 1, "deleted": 1, "read": [1]})
    parallel = await manager.load(manager.seal(session))
    read = session["read"]
    assert session["set"] == 1

    async def write() -> None:
        parallel["set"], parallel["new"] = 2, ["x"]
        del parallel["deleted"]
        await parallel.save()
        await parallel.change("changed", lambda value: value + 1)

    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    expected = {"kept": 0, "set": 2, "changed": 2, "new": ["x"], "read": [1]}
    assert await stored(manager, session) == expected
    assert dict(session) == expected, "this request sees them too"
    read.append(2)
    await session.save()
    assert await stored(manager, session) == expected | {"read": [1, 2]}, "a list that it has read is still the session's"


async def test_what_the_request_has_changed_itself_goes_over_what_others_wrote(manager: SessionManager) -> None:
    session = await manager.create(data={"set": 1, "deleted": 1, "list": [1]})
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        parallel.update({"set": "theirs", "deleted": "theirs", "list": ["theirs"], "other": "theirs"})
        await parallel.save()

    session["set"] = "own"
    session["list"].append("own")
    del session["deleted"]
    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    expected = {"set": "own", "list": [1, "own"], "other": "theirs"}
    assert (dict(session), await stored(manager, session)) == (expected, expected)


async def test_what_the_request_changes_while_it_signs_in_goes_over_it_too(manager: SessionManager) -> None:
    session = await manager.create(data={"n": 1})
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        parallel["n"] = "theirs"
        await parallel.save()
        session["n"] = "own"

    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    await session.save()
    assert (dict(session), await stored(manager, session)) == ({"n": "own"}, {"n": "own"})


async def test_a_message_that_was_left_meanwhile_is_there_with_the_requests_own(manager: SessionManager) -> None:
    session = await manager.create()
    flash(session, "info", "old")
    flash(session, "success", "old")
    await session.save()
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        flash(parallel, "info", "theirs")
        flash(parallel, "error", "theirs")
        await parallel.save()

    flash(session, "info", "own")
    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    assert await messages(manager, session) == {
        "flash_info": "old\ntheirs\nown",
        "flash_success": "old",
        "flash_error": "theirs",
    }


async def test_a_message_that_was_taken_meanwhile_is_not_shown_again(manager: SessionManager) -> None:
    session = await manager.create(data={"n": 1})
    flash(session, "info", "old")
    flash(session, "error", "old")
    await session.save()
    parallel = await manager.load(manager.seal(session))
    taken: list[dict[str, str]] = []

    async def take() -> None:
        taken.append(await take_flashes(parallel))

    flash(session, "info", "own")
    with before_the_old_one_ends(take):
        await manager.sign_in(session, 7, metadata={})
    assert taken == [{"flash_info": "old", "flash_error": "old"}]
    assert await take_flashes(session) == {"flash_info": "own"}
    assert await stored(manager, session) == {"n": 1}


async def test_a_visitors_rotation_takes_them_along(manager: SessionManager) -> None:
    session = await manager.create(data={"n": 1})
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        await parallel.change("n", lambda n: n + 1)

    with before_the_old_one_ends(write):
        await manager.rotate(session)
    assert await stored(manager, session) == {"n": 2}


async def test_nothing_that_another_user_writes_meanwhile_is_taken_along(manager: SessionManager) -> None:
    session = await manager.create(8, data={"n": 1})
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        parallel["theirs"] = 1
        flash(parallel, "info", "theirs")
        await parallel.save()

    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    assert await stored(manager, session) == {}
    assert await messages(manager, session) == {}


@pytest.mark.parametrize("fault", ["store", "size"])
async def test_a_sign_in_whose_late_writes_cannot_be_stored_is_good_and_says_what_is_lost(
    manager: SessionManager, parts: Parts, fault: str
) -> None:
    most = parts.settings.session_max_bytes
    session = await manager.create(data={"n": 1})
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        parallel["theirs"] = "x" * (most * 2 // 3)
        await parallel.save()

    session["own"] = "x" * (most * 2 // 3 if fault == "size" else 1)
    with contextlib.ExitStack() as stack:
        events = stack.enter_context(capture_events())
        stack.enter_context(before_the_old_one_ends(write))
        if fault == "store":
            save = parts.store.save

            async def away(ref: Any, *args: Any, **named: Any) -> Any:
                if ref.user:
                    raise StoreUnavailable("away, for a test")
                return await save(ref, *args, **named)

            stack.enter_context(mock.patch.object(parts.store, "save", away))
        await manager.sign_in(session, 7, metadata={})
    [lost] = [each for each in events if each["event"] == "session_data_lost"]
    assert (lost["session"], lost["fields"]) == (record_of(session).ref.handle, [".theirs"])
    assert session.user_id == 7
    assert set(await stored(manager, session)) == set(session) == {"n", "own"}


async def test_messages_give_way_if_the_late_writes_need_their_room(manager: SessionManager, parts: Parts) -> None:
    most = parts.settings.session_max_bytes
    session = await manager.create()
    parallel = await manager.load(manager.seal(session))

    async def write() -> None:
        parallel["theirs"] = "x" * (most - 100)
        await parallel.save()

    for _ in range(3):
        flash(session, "info", "x" * 60)
    with before_the_old_one_ends(write):
        await manager.sign_in(session, 7, metadata={})
    assert set(await stored(manager, session)) == {"theirs"}
    assert await messages(manager, session) == {"flash_info": "x" * 60}


async def test_without_late_writes_a_sign_in_writes_nothing_more(manager: SessionManager, parts: Parts) -> None:
    session = await manager.create(data={"n": 1})
    session["own"] = 1
    flash(session, "info", "own")
    with mock.patch.object(parts.store, "save", side_effect=AssertionError("nothing is to be written")):
        await manager.sign_in(session, 7, metadata={})
    assert await stored(manager, session) == {"n": 1, "own": 1}
