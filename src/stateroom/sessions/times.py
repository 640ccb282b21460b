"""What a stored session says of itself in numbers."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .cookie import Cookie
    from .store import Fields

_stated_always = itemgetter(b"c", b"r", b"i", b"d")


class Times(NamedTuple):
    """Milliseconds since the epoch, but for the idle lifetime and the user's generation."""

    generation: int
    created: int
    signed_in: int
    renewed: int
    idle: int
    deadline: int
    expires: int


def times_of(cookie: Cookie, fields: Fields) -> Times:
    """Of the session that a cookie opens. Raises `KeyError`, `ValueError` where it is not this user's, or cannot be read.

    The cookie remembers them with what they were read from, which is the same at most requests.
    """
    get = fields.get
    facts = *_stated_always(fields), get(b"u", b""), get(b"a", b"0"), get(b"g", b"0")
    if facts == cookie.facts and cookie.times is not None:
        return cookie.times
    created, renewed, idle, deadline, user, signed_in, generation = facts
    if user.decode() != cookie.user:
        raise ValueError("another user's session")
    last, lifetime, end = int(renewed), int(idle), int(deadline)
    times = Times(int(generation), int(created), int(signed_in), last, lifetime, end, min(end, last + lifetime))
    cookie.facts, cookie.times = facts, times
    return times
