"""Stories of a rotation that something else comes between, for fakes and for real databases."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from stateroom.errors import DatabaseUnavailable, SessionEnded
from stateroom.sessions.model.session import Session

from .fleet import AnyFleet, Worker, is_trusted

KINDS = [("rotate", "rotate"), ("rotate", "revoke"), ("revoke", "rotate"), ("revoke", "revoke")]
"""Of two rotations the first and the second: by itself, or with the end of the user's other sessions."""


async def logout_at(
    fleet: AnyFleet, monkeypatch: pytest.MonkeyPatch, step: str, *, is_before: bool, has_journal: bool = True
) -> None:
    """By another worker, before or after each step. After the last there is a successor, which ends too.

    `has_journal`: whether that worker reaches the journal. Otherwise its sign-out may be refused, and counts once acknowledged.
    """
    worker, other = await fleet.join(), await fleet.join()
    session, old_value = await worker.sign_in()
    parallel = await other.manager.load(old_value)
    target: Any = worker.ends if step == "commit_rotation" else worker.store
    real = getattr(target, step)

    acknowledged = []

    async def end() -> None:
        if not has_journal:
            other.line.is_cut = True
        with contextlib.suppress(DatabaseUnavailable):
            await other.manager.end(parallel)
            acknowledged.append(parallel)

    async def with_logout(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            await end()
        result = await real(*args, **kwargs)
        if not is_before:
            await end()
        return result

    monkeypatch.setattr(target, step, with_logout)
    values = [old_value]
    with contextlib.suppress(SessionEnded):
        await worker.manager.rotate(session, signs_in=True)
        values.append(worker.manager.seal(session))
    monkeypatch.undo()
    if not has_journal:
        other.line.is_cut = False
        await other.tail.catch_up()
        await other.ends.flush()
    assert acknowledged or not has_journal
    for each in (worker, other):
        await each.settle()
        for value in values:
            assert not is_trusted(await each.manager.load(value)) or not acknowledged
    assert await worker.copies() == [] or not acknowledged


async def another_at(
    fleet: AnyFleet, monkeypatch: pytest.MonkeyPatch, step: str, kinds: tuple[str, str], *, is_before: bool
) -> None:
    """A form that was sent twice makes one session of one; a logout with the id from before ends it.

    A rotation may also end the user's other sessions: what another rotation makes of this one is none of those.
    """
    worker, other = await fleet.join(), await fleet.join()
    session, old_value = await worker.sign_in()
    parallel = await other.manager.load(old_value)
    target: Any = worker.ends if step == "commit_rotation" else worker.store
    real = getattr(target, step)
    rotated = []

    async def rotate(by: Worker, session: Session, kind: str) -> None:
        with contextlib.suppress(SessionEnded):
            if kind == "rotate":
                await by.manager.rotate(session, signs_in=True)
            else:
                await by.manager.revoke_all("ada", keep=session)
            rotated.append((session.degraded, by.manager.seal(session)))

    async def with_another(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            await rotate(other, parallel, kinds[1])
        result = await real(*args, **kwargs)
        if not is_before:
            await rotate(other, parallel, kinds[1])
        return result

    monkeypatch.setattr(target, step, with_another)
    await rotate(worker, session, kinds[0])
    monkeypatch.undo()
    await worker.settle()  # whatever the journal says has come to the store by then
    assert [degraded for degraded, _ in rotated] == [False]
    assert is_trusted(await worker.manager.load(rotated[0][1]))
    await other.manager.end(await other.manager.load(rotated[0][1]))
    assert await worker.copies() == []
