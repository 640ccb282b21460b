"""What stories of the promise are told with: each ends well with a protection, and in a broken promise without it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from stateroom.errors import StateroomError
from stateroom.sessions.model.session import Session

from .world import SENTINELS, Worker, World


class Broken(Exception):
    """A promise was."""


def check(is_kept: bool) -> None:
    if not is_kept:
        raise Broken


def no_options() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Story:
    """`without`: switches the protection off. `options`: of the world, see `world.Options`."""

    tell: Callable[[World], None]
    without: Callable[[], AbstractContextManager[Any]]
    options: Callable[[], dict[str, Any]] = no_options


def ends_well(story: Story) -> None:
    with contextlib.closing(World(**story.options())) as world:
        story.tell(world)


def is_broken_without(story: Story) -> None:
    with story.without(), contextlib.closing(World(**story.options())) as world, pytest.raises(Broken):
        story.tell(world)


def sign_in(world: World, worker: int = 0, user: str = "ada") -> tuple[str, Session]:
    manager = world.workers[worker].manager
    session = world.do(manager.create(user))
    return manager.seal(session), session


def sign_out(world: World, worker: int, cookie: str) -> None:
    async def act() -> None:
        session = await world.workers[worker].load(cookie)
        assert session.is_signed_in
        await world.workers[worker].manager.end(session)

    world.do(act())


def end_one(world: World, user: str = "bob") -> None:
    """Somebody signs in and out: there is one more row in the journal, and every tail has read it."""
    sign_out(world, 0, sign_in(world, user=user)[0])
    world.advance(0.5)


def is_signed_in(world: World, worker: int, cookie: str) -> bool:
    return world.do(world.workers[worker].load(cookie)).is_signed_in


def is_trusted(world: World, worker: int, value: str, purpose: Any = "cookie") -> bool:
    """Whether somebody is signed in by it. False also where the answer is 503."""
    session = world.do(world.workers[worker].manager.load(value, purpose=purpose))
    try:
        return session.is_signed_in
    except StateroomError:
        return False


def just_read(world: World, worker: Worker) -> None:
    """Let time pass until this worker has just read the journal: what comes next it learns a while later."""
    before = worker.parts.tail.read_at
    while worker.parts.tail.read_at == before:
        world.advance(0.004)


def all_have_just_read(world: World) -> None:
    """As `just_read`. The workers read at the same times, as they were started together."""
    before = [worker.parts.tail.read_at for worker in world.workers]
    while any(worker.parts.tail.read_at == at for worker, at in zip(world.workers, before, strict=True)):
        world.advance(0.004)


def cut_off_from_the_store(world: World, worker: int) -> None:
    world.workers[worker].client.cut = {node.address for node in world.nodes}


def lose_sessions(world: World) -> None:
    """Redis is flushed, and every worker has seen to it that it is settled again."""
    world.do(world.primary.flush())
    world.advance(2.5)


def learn(world: World) -> None:
    for number in range(SENTINELS):
        world.sentinel_learns(number)


async def nothing(*_: Any, **__: Any) -> None:
    return None


def nothing_now(*_: Any, **__: Any) -> None:
    return None
