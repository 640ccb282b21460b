"""Assertions: what an application behind a proxy can verify of its user (`Remote-Assertion`).

An assertion is a JSON Web Token of one session for one application, good for a minute. An application verifies it with our public
keys, so that nothing between us and the application can forge the user. It is no credential: it opens nothing here, because its
`typ` is its own and no reader of ours takes that type. Times are of Redis' clock, as in access tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..sessions.model.clock import Clock
    from ..sessions.model.session import Session
    from ..sessions.sealing.token_keys import TokenKey
    from ..settings import Settings
    from .access import Person

ASSERTION_TYPE = "stateroom-assertion+jwt"
LIFETIME_SECONDS = 60
"""How long an application may accept an assertion, and so how long a stolen one can be replayed there."""
REUSED_SECONDS = 20
"""An assertion is sent again for this time, because to sign one costs more than the rest of a check."""
_KEPT_AT_MOST = 10_000
_ALGORITHM = "EdDSA"


class _Minted(NamedTuple):
    """The last assertion of a session for an application. `at`: when it was signed, by Redis' clock, in seconds."""

    key: TokenKey
    person: Person
    name: str
    at: int
    value: str


class Assertions:
    """Mints the assertions of one application.

    `keys`: returns the keys of `JWT_KEYS` at this moment; the first signs. Empty if there are none.
    """

    def __init__(self, settings: Settings, clock: Clock, keys: Callable[[], Sequence[TokenKey]]) -> None:
        self._clock = clock
        self._keys = keys
        self._issuer, self._foreign_audience = settings.jwt_issuer, settings.jwt_audience
        self._deployment = settings.deployment
        # By the session's handle and the audience; the oldest first. len(_minted) <= _KEPT_AT_MOST.
        self._minted: OrderedDict[tuple[str, str], _Minted] = OrderedDict()

    def mint(self, session: Session, audience: str, person: Person, *, name: str = "") -> str:
        """The assertion for the application `audience` that this person, with this display name, has this session.

        It is good for 40 to 60 seconds. Empty without `JWT_KEYS`, and for an audience that access tokens have (`JWT_AUDIENCE`).
        Raises `ValueError` if the session is not the person's, and `StoreUnavailable` or `DatabaseUnavailable` if its user
        cannot be known.
        """
        handle = session.id
        if session.user_id != person.user_id or handle is None:
            raise ValueError("the session belongs to somebody else")
        keys = self._keys()
        if not keys or not audience or audience == self._foreign_audience:
            return ""
        now = self._clock.now_ms() // 1000
        found = self._minted.get((handle, audience))
        if (
            found is not None
            and found.at <= now < found.at + REUSED_SECONDS  # later than now: Redis' clock was set back
            and (found.key is keys[0] and found.person == person and found.name == name)
        ):
            return found.value
        value = self._sign(keys[0], handle, audience, person, name=name, now=now)
        self._minted[handle, audience] = _Minted(keys[0], person, name, now, value)
        self._minted.move_to_end((handle, audience))
        if len(self._minted) > _KEPT_AT_MOST:
            self._minted.popitem(last=False)
        return value

    def _sign(self, key: TokenKey, handle: str, audience: str, person: Person, *, name: str, now: int) -> str:
        import jwt

        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": audience,
            "sub": str(person.user_id),
            "groups": sorted(person.groups),
            "sid": handle,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
        }
        known = {"email": person.email, "name": name, "dep": self._deployment}
        claims |= {claim: value for claim, value in known.items() if value}
        return jwt.encode(claims, key.private, _ALGORITHM, headers={"typ": ASSERTION_TYPE, "kid": key.id})


def check_audience(settings: Settings, is_audience: Callable[[str], bool]) -> None:
    """Raises `SettingsError` if assertions could have the audience of access tokens.

    A service that verifies access tokens and does not look at `typ` would take such an assertion for one. `is_audience`: whether
    the access rules can make this text the audience of an application, as its origin or as the name of a rule.
    """
    if (settings.jwt_keys or settings.is_embedded) and is_audience(settings.jwt_audience):
        raise SettingsError(
            f"JWT_AUDIENCE: {settings.jwt_audience} is also the audience of an application behind forward auth (Remote-Assertion); "
            "give access tokens another audience, or the access rule another name"
        )


ASSERTIONS = web.AppKey("stateroom_assertions", Assertions)
