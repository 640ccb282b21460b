"""Access tokens: JSON Web Tokens (RFC 9068) that stand for a session, for services that verify JSON Web Tokens.

A token is tied to its session: once the session has ended the token opens nothing, also if it ended while Redis was
unavailable. Other services can verify a token by themselves during its few minutes. Here it opens the session as the
sealed cookie does. There is one algorithm, HS256. The first key signs, all keys verify. Times are of Redis' clock.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import SettingsError
from ..model.credential import Credential
from ..model.identity import SessionRef, user_id_of

if TYPE_CHECKING:
    from ...settings import Settings
    from ..model.clock import Clock
    from ..model.record import SessionRecord

ALGORITHM = "HS256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 (RFC 9068, section 2.1)
MAX_LENGTH = 2048

_OPENED_AT_MOST = 10_000
_REQUIRED = ["iss", "aud", "sub", "sid", "iat", "nbf", "exp", "session"]


class AccessTokens:
    """Mints and opens the tokens of one application. Raises `SettingsError` if PyJWT is not installed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        try:
            import jwt
        except ImportError:
            raise SettingsError("JWT_KEYS needs PyJWT: pip install 'stateroom[jwt]', or unset it") from None
        self._jwt = jwt
        self._clock = clock
        self._keys = {_key_id(key): key for key in (each.get_secret_value().encode() for each in settings.jwt_keys)}
        self._max_age_ms = settings.jwt_max_age * 1000
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self._opened: OrderedDict[str, tuple[Credential, int, int]] = OrderedDict()

    def take_keys(self, settings: Settings) -> None:
        """Use the keys of these settings from now on. Tokens of other keys open nothing any more."""
        self._keys = {_key_id(key): key for key in (each.get_secret_value().encode() for each in settings.jwt_keys)}
        self._opened.clear()

    def mint(self, record: SessionRecord) -> tuple[str, int]:
        """A token for a signed-in session, and how many seconds it is good."""
        now = self._clock.now_ms()
        seconds = max(1, (min(now + self._max_age_ms, record.expires_ms) - now) // 1000)
        kept = (*record.ref, record.generation, record.deadline_ms, record.idle_ms, record.renewed_ms, record.is_persistent)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(record.user_id),
            "sid": record.ref.handle,
            "iat": now // 1000,
            "nbf": now // 1000,
            "exp": now // 1000 + seconds,
            "auth_time": record.auth_ms // 1000,
            "session": msgspec.to_builtins(kept),
        }
        key_id, key = next(iter(self._keys.items()))
        return self._jwt.encode(claims, key, ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": key_id}), seconds

    def open(self, value: str) -> Credential | None:
        """What the token says of its session; None if it is not valid. Never raises."""
        if len(value) > MAX_LENGTH:
            return None
        opened = self._opened.get(value)
        if opened is None:
            opened = self._read(value)
            if opened is None:
                return None
            self._opened[value] = opened
            if len(self._opened) > _OPENED_AT_MOST:
                self._opened.popitem(last=False)
        credential, not_before, expires = opened
        return credential if not_before <= self._clock.now_ms() < expires else None

    def _read(self, value: str) -> tuple[Credential, int, int] | None:
        jwt = self._jwt
        try:
            header = jwt.get_unverified_header(value)
            key = self._keys.get(header.get("kid", ""))
            if key is None or header.get("typ") != TOKEN_TYPE:
                return None
            claims = jwt.decode(
                value, key, algorithms=[ALGORITHM], issuer=self._issuer, audience=self._audience,
                # Redis' clock decides, and not this host's.
                options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )  # fmt: skip
            return _credential_of(claims), int(claims["nbf"]) * 1000, int(claims["exp"]) * 1000
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, TypeError):
            return None


def looks_like_token(value: str) -> bool:
    """Whether a bearer can only be an access token: those have two dots, sealed values have none."""
    return value.count(".") == 2


_Kept = tuple[str, str, int, int, int, int, bool]


def _credential_of(claims: dict[str, Any]) -> Credential:
    user, handle, generation, deadline, idle_ms, renewed_ms, is_persistent = msgspec.convert(claims["session"], _Kept)
    issued_at = int(claims["iat"]) * 1000
    return Credential(
        b"", user_id_of(user), generation, int(claims["auth_time"]) * 1000, deadline, idle_ms, issued_at, is_persistent,
        SessionRef(user, handle), renewed_ms=renewed_ms,
    )  # fmt: skip


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]
