"""The numbers of a stored session."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from ...logs import get_logger
from .fields import CREATED, DEADLINE, EPOCH, GENERATION, IDLE, RENEWED, SIGNED_IN, USER, Fields

if TYPE_CHECKING:
    from .lifetimes import Lifetimes

log = get_logger(__name__)

LATEST_MS = 253_402_300_799_999
"""The last moment of the year 9999: `datetime` has no later one. `store/lua/shared.lua` knows it too."""

_always_there = itemgetter(CREATED, RENEWED, IDLE, DEADLINE)

Facts = tuple[bytes, ...]
"""The fields that the numbers are read from, as Redis has them."""


class Timestamps(NamedTuple):
    """Milliseconds since 1970, except the idle lifetime (milliseconds), the user's generation (a count) and the epoch.

    `is_bounded`: the settings allow less now than they did when it was stored, so Redis keeps it for longer.
    """

    generation: int
    created: int
    signed_in: int
    renewed: int
    idle: int
    deadline: int
    expires: int
    epoch: str
    is_bounded: bool


def facts_of(fields: Fields) -> Facts:
    """Raises `KeyError` if these are not a session's fields. Usually they are equal to those of the last request."""
    get = fields.get
    return *_always_there(fields), get(USER, b""), get(SIGNED_IN, b"0"), get(GENERATION, b"0"), get(EPOCH, b"")


def read_facts(facts: Facts, user: str, lifetimes: Lifetimes, *, is_persistent: bool) -> Timestamps:
    """The numbers, bounded by the lifetimes. Raises `ValueError` if the session belongs to another user key, or cannot be read."""
    created, renewed, idle, deadline, owner, signed_in, generation, epoch = facts
    if owner.decode() != user:
        raise ValueError("another user's session")
    made, last, stored = _number(created), _number(renewed), (_number(idle), _number(deadline))
    bounded = lifetimes.bound(idle_ms=stored[0], created_ms=made, deadline=stored[1], is_persistent=is_persistent)
    lifetime, end = bounded
    expires = expiry(last, idle=lifetime, deadline=end)
    return Timestamps(
        _number(generation), made, _number(signed_in), last, lifetime, end, expires, epoch.decode(), is_bounded=bounded != stored
    )


def expires_ms(fields: Fields) -> int:
    """When the session expires without a renewal. Raises `KeyError`, `ValueError` if the fields cannot be read."""
    return expiry(_number(fields[RENEWED]), idle=_number(fields[IDLE]), deadline=_number(fields[DEADLINE]))


def is_readable(fields: Fields, handle: str = "") -> bool:
    """Whether these are a session's fields. If not, and a handle is given, this is logged: the session counts as missing."""
    try:
        for number in facts_of(fields)[:4]:
            _number(number)
        _number(fields.get(SIGNED_IN, b"0"))
        _number(fields.get(GENERATION, b"0"))
    except (KeyError, ValueError):
        if handle:
            log.warning("session_unreadable", session=handle)
        return False
    return True


def expiry(renewed: int, *, idle: int, deadline: int) -> int:
    """When a session expires that was renewed at this time: the idle lifetime later, and never after its deadline."""
    return min(renewed + idle, deadline)


def _number(text: bytes) -> int:
    """Raises `ValueError` for anything but a number from 0 to `LATEST_MS`."""
    if not text.isdigit():
        raise ValueError("not a number")
    number = int(text)
    if number > LATEST_MS:
        raise ValueError("later than any time")
    return number
