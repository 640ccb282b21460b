"""Sealing and opening session cookies and bearers: the key ring.

A value is base64url of: format version (1 byte), key id (4), nonce (12), AES-256-GCM of the contents. The cookie's
name, the version and the key id are authenticated too, so a value opens only under its own name. Keys are 32 random
bytes. The first key of the ring seals, all of them open. With random 96-bit nonces a key is good for 2^32 seals
(NIST SP 800-38D, section 8.3): a busy fleet rotates it once a year.
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
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...errors import SettingsError
from ...private import open_private, own_folder
from ...settings import COOKIE_KEY_BYTES, Settings, decode_cookie_key
from ..model.credential import Credential
from ..model.identity import SessionRef, UserId, handle_of, user_key

FORMAT_VERSION = 1
TOKEN_BYTES = 32
MAX_VALUE_LENGTH = 2048
"""Longer values are ignored. Ours have about 200 characters, and browsers keep 4,096."""

_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = 1 + _KEY_ID_BYTES
OPENED_AT_MOST = 20_000


def fresh_token() -> bytes:
    """A new session's token: 256 random bits."""
    return secrets.token_bytes(TOKEN_BYTES)


class KeyRing:
    """Seals and opens values of one cookie name. It remembers a bounded number of opened values."""

    def __init__(self, keys: Sequence[bytes], name: str) -> None:
        self._name = name.encode()
        self.replace(keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on. Values sealed by a key that is not among them no longer open."""
        if not keys:
            raise ValueError("a key ring needs at least one key")
        ring = {hashlib.sha256(key).digest()[:_KEY_ID_BYTES]: AESGCM(key) for key in keys}
        self._ring = ring
        self._deriving = [HKDF(SHA256(), TOKEN_BYTES, salt=None, info=b"stateroom tokens").derive(key) for key in keys]
        self._sealing_id = next(iter(ring))
        self._opened: OrderedDict[str, Credential] = OrderedDict()

    def derive_tokens(self, secret: str) -> list[bytes]:
        """Tokens that everybody who has these keys derives from the secret: one for each key, the sealing key's first."""
        return [hmac.digest(key, secret.encode(), "sha256") for key in self._deriving]

    def seal(
        self,
        token: bytes,
        *,
        user_id: UserId | None,
        generation: int,
        auth_time: int,
        deadline: int,
        idle_ms: int,
        issued_at: int,
        is_persistent: bool,
    ) -> str:
        """The value that opens this session. Times are milliseconds since the epoch. Raises `ValueError` for an empty token."""
        if not token:
            raise ValueError("no session has an empty token")
        contents = msgspec.msgpack.encode((token, user_id, generation, auth_time, deadline, idle_ms, issued_at, is_persistent))
        head = bytes([FORMAT_VERSION]) + self._sealing_id
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ring[self._sealing_id].encrypt(nonce, contents, head + self._name)
        return base64.urlsafe_b64encode(head + nonce + sealed).rstrip(b"=").decode()

    def open(self, value: str) -> Credential | None:
        """What `value` says, or None if it was not sealed by this ring under this name. Never raises."""
        credential = self._opened.get(value)
        if credential is not None:
            self._opened.move_to_end(value)
            return credential
        if len(value) > MAX_VALUE_LENGTH:
            return None
        credential = self._unseal(value)
        if credential is not None:
            self._opened[value] = credential
            if len(self._opened) > OPENED_AT_MOST:
                self._opened.popitem(last=False)
        return credential

    def _unseal(self, value: str) -> Credential | None:
        try:
            raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) <= _HEAD_BYTES + _NONCE_BYTES or raw[0] != FORMAT_VERSION:
            return None
        head, nonce, sealed = raw[:_HEAD_BYTES], raw[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES], raw[_HEAD_BYTES + _NONCE_BYTES :]
        cipher = self._ring.get(head[1:])
        if cipher is None:
            return None
        try:
            contents = msgspec.msgpack.decode(cipher.decrypt(nonce, sealed, head + self._name), type=_Contents)
        except (InvalidTag, msgspec.DecodeError, ValueError):
            return None
        token, user_id, generation, auth_time, deadline, idle_ms, issued_at, is_persistent = contents
        if not token:
            return None
        ref = SessionRef(user_key(user_id), handle_of(token))
        return Credential(
            token, user_id, generation, auth_time, deadline, idle_ms, issued_at, is_persistent, ref, renewed_ms=issued_at
        )


_Contents = tuple[bytes, str | int | None, int, int, int, int, int, bool]


def load_keys(settings: Settings) -> tuple[bytes, ...]:
    """The ring's keys: `COOKIE_KEYS`, or in embedded mode without it a key that is made once and kept under `STATE_DIR`."""
    if settings.cookie_keys:
        return settings.key_ring
    return (_kept_key(settings.state_dir / "cookie.key"),)


def new_key() -> str:
    """A fresh key for `COOKIE_KEYS`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(COOKIE_KEY_BYTES)).rstrip(b"=").decode()


def _kept_key(path: Path) -> bytes:
    try:
        own_folder(path.parent)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with open_private(draft, "w") as file:
            file.write(new_key() + "\n")
        try:
            os.link(draft, path)  # the first to link wins, whole
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return decode_cookie_key(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SettingsError(f"STATE_DIR: {path} cannot be kept: {error.strerror}; name a folder that can be written") from None
    except ValueError as error:
        raise SettingsError(f"STATE_DIR: {path}: {error}, or remove the file (everyone is signed out)") from None
