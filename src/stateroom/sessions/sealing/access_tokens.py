"""Access tokens: JSON Web Tokens (RFC 9068) of a session, for services that verify JSON Web Tokens.

A token is tied to its session: once the session has ended the token opens nothing, also if it ended while Redis was
unavailable. Other services verify a token with our public keys during its few minutes. There is one algorithm, EdDSA with
Ed25519 (RFC 8037). The first key signs, all keys verify. Times are of Redis' clock.

A token is read strictly: its header must have exactly our three members, and its claims must have our types. Any other token
is refused. The signature is checked before the claims are read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from ...errors import SettingsError
from ..model.credential import Credential
from ..model.identity import SessionRef, user_id_of

if TYPE_CHECKING:
    from ...settings import Settings
    from ..model.clock import Clock
    from ..model.deployment import Deployment
    from ..model.lifetimes import Lifetimes
    from ..model.record import SessionRecord
    from .token_keys import TokenKey

ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 (RFC 9068, section 2.1)
MAX_LENGTH = 2048
LEEWAY_SECONDS = 5
"""How far in the future a token may have been minted. Each worker measures Redis' time itself, so workers differ a little."""

_OPENED_AT_MOST = 10_000
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}", re.ASCII)
"""A signature of Ed25519 is 64 bytes."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other members are refused. `crit`, `jwk`, `jku` and `x5c` would make a reader trust the sender's own key."""

    alg: Literal["EdDSA"]
    typ: Literal["at+jwt"]
    kid: str


class _KeyName(msgspec.Struct, frozen=True):
    """The member of a header that names the signing key."""

    kid: str


class _Claims(msgspec.Struct, frozen=True):
    """The claims of our tokens. Later releases may add claims. Times are whole seconds since 1970."""

    iss: str
    aud: str
    sub: str
    sid: str
    iat: _Number
    nbf: _Number
    exp: _Number
    auth_time: _Number
    session: tuple[str, str, _Number, _Number, _Number, _Number, bool, _Number]
    dep: str = ""
    epoch: str = ""


class AccessTokens:
    """Mints and opens the tokens of one application. Raises `SettingsError` if PyJWT is not installed."""

    def __init__(
        self, keys: Sequence[TokenKey], settings: Settings, clock: Clock, deployment: Deployment, lifetimes: Lifetimes
    ) -> None:
        try:
            import jwt
        except ImportError:
            raise SettingsError("JWT_KEYS needs PyJWT: pip install 'stateroom[jwt]', or unset it") from None
        self._jwt = jwt
        self._clock = clock
        self._deployment = deployment
        self._lifetimes = lifetimes
        self._max_age_seconds = settings.jwt_max_age
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self.replace(keys)

    def replace(self, keys: Sequence[TokenKey]) -> None:
        """Use these keys from now on: the first signs, all verify. Tokens of other keys no longer open."""
        if not keys:
            raise ValueError("access tokens need at least one key")
        self.keys = tuple(keys)
        self._by_id = {key.id: key for key in keys}
        self._opened: OrderedDict[str, tuple[Credential, _Claims]] = OrderedDict()

    def mint(self, record: SessionRecord) -> tuple[str, int]:
        """A token for a signed-in session, and how many seconds it is good.

        Raises `DatabaseUnavailable` while the deployment's id is unknown.
        """
        now_ms = self._clock.now_ms()
        now = now_ms // 1000
        seconds = max(1, min(self._max_age_seconds, (record.expires_ms - now_ms) // 1000))
        claims = _Claims(
            iss=self._issuer,
            aud=self._audience,
            sub=str(record.user_id),
            sid=record.ref.handle,
            iat=now,
            nbf=now,
            exp=now + seconds,
            auth_time=min(record.auth_ms // 1000, now),  # Redis set it, and this host knows Redis' clock only roughly
            session=(
                *record.ref, record.generation, record.deadline_ms, record.idle_ms, record.renewed_ms, record.is_persistent,
                record.created_ms,
            ),
            dep=self._deployment_claim(),
            epoch=record.epoch,
        )  # fmt: skip
        key, content = self.keys[0], msgspec.to_builtins(claims)
        return self._jwt.encode(content, key.private, ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": key.id}), seconds

    def open(self, value: str) -> Credential | None:
        """The credential in the token; None if the token is not valid.

        Raises `DatabaseUnavailable` while the deployment's id is unknown, for a token that one of our keys has signed.
        """
        opened = self._opened.get(value)
        if opened is None:
            opened = self._read(value)
            if opened is None:
                return None
            self._opened[value] = opened
            if len(self._opened) > _OPENED_AT_MOST:
                self._opened.popitem(last=False)
        credential, claims = opened
        if claims.dep != self._deployment_claim() or not self._is_current(claims):
            return None
        return credential

    def recognises(self, value: str) -> bool:
        """Whether the token names one of our keys as its signing key. The token may be of any type, expired or forged.

        A key's id is the thumbprint of its public half (`TokenKey.id`), so no other issuer's token names it.
        """
        try:
            return msgspec.json.decode(_decoded(value.partition(".")[0]), type=_KeyName).kid in self._by_id
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False

    def _read(self, value: str) -> tuple[Credential, _Claims] | None:
        shape = _SHAPE.fullmatch(value) if len(value) <= MAX_LENGTH else None
        if shape is None:
            return None
        try:
            header = msgspec.json.decode(_decoded(shape[1]), type=_Header)
            key = self._by_id.get(header.kid)
            if key is None:
                return None
            content = self._jwt.PyJWS([ALGORITHM]).decode(value, key.public, algorithms=[ALGORITHM])
            claims = msgspec.json.decode(content, type=_Claims)
            user_id = user_id_of(claims.session[0])
        except (self._jwt.InvalidTokenError, msgspec.DecodeError, ValueError, TypeError, RecursionError):
            return None
        user, handle = claims.session[:2]
        if claims.sid != handle or claims.sub != str(user_id) or not user:
            return None
        return self._credential_of(claims), claims

    def _is_current(self, claims: _Claims) -> bool:
        now_ms = self._clock.now_ms()
        latest = now_ms // 1000 + LEEWAY_SECONDS
        return (
            claims.iss == self._issuer
            and claims.aud == self._audience
            and claims.auth_time <= claims.iat <= latest
            and claims.nbf <= latest
            and now_ms < claims.exp * 1000
            and 0 < claims.exp - claims.iat <= self._max_age_seconds
        )

    def _credential_of(self, claims: _Claims) -> Credential:
        user, handle, generation, deadline, idle_ms, renewed_ms, is_persistent, created_ms = claims.session
        idle_ms, deadline = self._lifetimes.bound(
            idle_ms=idle_ms, created_ms=created_ms, deadline=deadline, is_persistent=is_persistent
        )
        return Credential(
            b"", user_id_of(user), generation, claims.auth_time * 1000, deadline, idle_ms, claims.iat * 1000, is_persistent,
            SessionRef(user, handle), renewed_ms=renewed_ms, epoch=claims.epoch, created_ms=created_ms,
        )  # fmt: skip

    def _deployment_claim(self) -> str:
        """Binds a token to this deployment, also if another one has the keys. It is a digest, because claims are not secret."""
        deployment = self._deployment
        digest = hashlib.sha256(msgspec.msgpack.encode(("access token", deployment.known_id(), deployment.name))).digest()
        return base64.urlsafe_b64encode(digest[:15]).decode()


def looks_like_token(value: str) -> bool:
    """Whether a bearer can only be an access token: those have two dots, sealed values have none."""
    return value.count(".") == 2


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
