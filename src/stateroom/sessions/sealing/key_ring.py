"""Sealing and opening session cookies and bearers: the key ring.

A value is base64url of: format version (1 byte), key id (4), nonce (12), AES-256-GCM of the contents. The version, the key
id, the purpose, the cookie's name, and the deployment's id and name are authenticated too. So a cookie cannot be used as a
bearer or a bearer as a cookie, and neither opens anything in another deployment that has the same keys. Keys are 32 random
bytes. The first key of the ring seals, and all keys open. With random 96-bit nonces a key is good for 2^32 seals (NIST SP
800-38D, section 8.3), which is 136 seals a second for a year.

Values of format 1, sealed by the release before, are not bound to a purpose or a deployment. They are opened as *legacy*
credentials (model/credential.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...settings import COOKIE_KEY_BYTES, Settings, decode_cookie_key
from ..model.credential import Credential
from ..model.identity import SessionRef, UserId, handle_of, user_key
from ..model.lifetimes import FUTURE_MS
from .kept_key import kept_key

if TYPE_CHECKING:
    from ..model.deployment import Deployment
    from ..model.lifetimes import Lifetimes

Purpose = Literal["cookie", "bearer"]
"""The use of a sealed value. It does not open for the other use."""

FORMAT_VERSION, FORMER_VERSION = 2, 1
TOKEN_BYTES = 32
MAX_VALUE_LENGTH = 2048
"""Longer values are ignored. Sealed values have about 250 characters, and browsers keep 4,096."""

_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEAD_BYTES = 1 + _KEY_ID_BYTES
_SHORTEST_BYTES = _HEAD_BYTES + _NONCE_BYTES + _TAG_BYTES
_START_LENGTH = 8
"""This many characters of base64 hold the version and the key id. A shorter value is not ours."""
_VERSIONS = {bytes([FORMAT_VERSION]), bytes([FORMER_VERSION])}
OPENED_AT_MOST = 20_000


def fresh_token() -> bytes:
    """A new session's token: 256 random bits."""
    return secrets.token_bytes(TOKEN_BYTES)


class _Contents(msgspec.Struct, array_like=True, frozen=True):
    """The sealed contents. Later releases add fields at the end; a missing field means "not done". Times are milliseconds."""

    token: bytes
    user_id: str | int | None
    generation: int
    auth_time: int
    deadline: int
    idle_ms: int
    issued_at: int
    is_persistent: bool
    epoch: str = ""
    created_ms: int = 0


class KeyRing:
    """Seals and opens the values of one deployment, whose cookie has this name. It remembers a bounded number of them.

    `lifetimes`: the longest lifetimes of a credential; longer sealed ones are cut. `seals_former`: seal format 1, while hosts
    of the release before must open it (`COOKIE_FORMAT`).
    """

    def __init__(
        self, keys: Sequence[bytes], name: str, deployment: Deployment, lifetimes: Lifetimes, *, seals_former: bool = False
    ) -> None:
        self._name = name.encode()
        self._deployment = deployment
        self._lifetimes = lifetimes
        self.seals_former = seals_former
        self._bound_to: tuple[str | None, dict[Purpose, bytes]] = None, {}
        self.replace(keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on. Values sealed by a key that is not among them no longer open."""
        if not keys:
            raise ValueError("a key ring needs at least one key")
        ring = {hashlib.sha256(key).digest()[:_KEY_ID_BYTES]: AESGCM(key) for key in keys}
        self._ring = ring
        self._first_key = keys[0]
        self._deriving = [HKDF(SHA256(), TOKEN_BYTES, salt=None, info=b"stateroom tokens").derive(key) for key in keys]
        self._sealing_id = next(iter(ring))
        self._opened: dict[Purpose, OrderedDict[str, Credential]] = {"cookie": OrderedDict(), "bearer": OrderedDict()}

    def derive_tokens(self, secret: str) -> list[bytes]:
        """Tokens derived from the secret, one for each key, the sealing key's first. With the same keys they are the same."""
        return [hmac.digest(key, secret.encode(), "sha256") for key in self._deriving]

    def derive_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose, derived from the first key, about which it tells nothing."""
        return HKDF(SHA256(), TOKEN_BYTES, salt=None, info=f"stateroom {purpose}".encode()).derive(self._first_key)

    def seal(
        self,
        token: bytes,
        purpose: Purpose = "cookie",
        *,
        user_id: UserId | None,
        generation: int,
        auth_time: int,
        deadline: int,
        idle_ms: int,
        issued_at: int,
        is_persistent: bool,
        epoch: str = "",
        created_ms: int = 0,
    ) -> str:
        """The value that opens this session. Times are milliseconds since 1970.

        Raises `ValueError` for an empty token, and `DatabaseUnavailable` while the deployment's id is unknown.
        """
        if not token:
            raise ValueError("no session has an empty token")
        contents = (token, user_id, generation, auth_time, deadline, idle_ms, issued_at, is_persistent)
        if self.seals_former:
            head, bound, packed = bytes([FORMER_VERSION]) + self._sealing_id, self._name, msgspec.msgpack.encode(contents)
        else:
            head, bound = bytes([FORMAT_VERSION]) + self._sealing_id, self._bound(purpose)
            packed = msgspec.msgpack.encode(_Contents(*contents, epoch, created_ms))
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ring[self._sealing_id].encrypt(nonce, packed, head + bound)
        return base64.urlsafe_b64encode(head + nonce + sealed).rstrip(b"=").decode()

    def open(self, value: str, purpose: Purpose = "cookie") -> Credential | None:
        """The credential in `value`. None if this ring did not seal it for this purpose, or its user id is invalid.

        Raises `DatabaseUnavailable` for a value that looks like ours while the deployment's id is unknown.
        """
        opened = self._opened[purpose]
        credential = opened.get(value)
        if credential is not None:
            opened.move_to_end(value)
            return credential
        if len(value) > MAX_VALUE_LENGTH:
            return None
        try:
            credential = self._unseal(value, purpose)
        except ValueError:  # of a user id that earlier releases took
            return None
        if credential is not None:
            opened[value] = credential
            if len(opened) > OPENED_AT_MOST:
                opened.popitem(last=False)
        return credential

    def recognises(self, value: str) -> bool:
        """Whether it begins like a value that one of these keys sealed, for any purpose, name and deployment. It need not open."""
        try:
            head = base64.b64decode(value[:_START_LENGTH], altchars=b"-_", validate=True)[:_HEAD_BYTES]
        except (binascii.Error, ValueError):
            return False
        return head[:1] in _VERSIONS and head[1:] in self._ring

    def _unseal(self, value: str, purpose: Purpose) -> Credential | None:
        try:
            raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) < _SHORTEST_BYTES or raw[0] not in {FORMAT_VERSION, FORMER_VERSION}:
            return None
        head, nonce, sealed = raw[:_HEAD_BYTES], raw[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES], raw[_HEAD_BYTES + _NONCE_BYTES :]
        cipher = self._ring.get(head[1:])
        if cipher is None:
            return None
        is_legacy = raw[0] == FORMER_VERSION
        self._deployment.known_id()  # also for a legacy value: without it, it could not be sealed anew
        bound = self._name if is_legacy else self._bound(purpose)
        try:
            contents = msgspec.msgpack.decode(cipher.decrypt(nonce, sealed, head + bound), type=_Contents)
        except (InvalidTag, msgspec.DecodeError, ValueError):
            return None
        return self._credential(contents, is_legacy=is_legacy) if contents.token else None

    def _credential(self, said: _Contents, *, is_legacy: bool) -> Credential:
        """The credential, within the lifetimes. Everybody with a leaked key can seal any times.

        So a time later than the value's own time is cut, and a value from the future restores nothing and is not trusted
        alone (`Trust.is_good_alone`). Format 1 has no time of creation; the time of the sign-in counts instead.
        """
        latest = said.issued_at + FUTURE_MS
        created_ms, auth_time = min(said.created_ms, latest), min(said.auth_time, latest)
        idle_ms, deadline = self._lifetimes.bound(
            idle_ms=said.idle_ms,
            created_ms=created_ms or auth_time or said.issued_at,
            deadline=said.deadline,
            is_persistent=said.is_persistent,
        )
        return Credential(
            said.token, said.user_id, said.generation, auth_time, deadline, idle_ms, said.issued_at, said.is_persistent,
            SessionRef(user_key(said.user_id), handle_of(said.token)), renewed_ms=said.issued_at, epoch=said.epoch,
            created_ms=created_ms, is_legacy=is_legacy,
        )  # fmt: skip

    def _bound(self, purpose: Purpose) -> bytes:
        """The associated data of a value. Each part has its length before it, so that two different lists never look alike."""
        known_for, bound = self._bound_to
        if known_for is None:
            deployment = self._deployment
            known_id = deployment.known_id()
            names: dict[Purpose, bytes] = {"cookie": self._name, "bearer": b""}
            bound = {each: msgspec.msgpack.encode((each, name, known_id, deployment.name)) for each, name in names.items()}
            self._bound_to = known_id, bound
        return bound[purpose]


def load_keys(settings: Settings) -> tuple[bytes, ...]:
    """The ring's keys: `COOKIE_KEYS`, or in embedded mode without it a key that is made once and kept under `STATE_DIR`."""
    if settings.cookie_keys:
        return settings.key_ring
    path = settings.state_dir / "cookie.key"
    return (kept_key(path, make=new_key, decode=decode_cookie_key, loss="everyone is signed out"),)


def new_key() -> str:
    """A fresh key for `COOKIE_KEYS`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(COOKIE_KEY_BYTES)).rstrip(b"=").decode()
