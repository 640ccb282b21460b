"""Settings that are secret keys. No error contains a key."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from .lists import split_list

COOKIE_KEY_BYTES = 32
_PKCS8_BYTES = 48
"""An Ed25519 private key as RFC 8410 encodes it."""


def decode_cookie_key(text: str) -> bytes:
    """A cookie key as `stateroom keys` prints it: 32 bytes, base64url. Raises `ValueError`."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != COOKIE_KEY_BYTES:
        raise ValueError("is not 32 bytes in base64url (43 characters); make a key with `stateroom keys`")
    return key


def decode_jwt_key(text: str) -> Ed25519PrivateKey:
    """A private key as `stateroom keys --jwt` prints it: PKCS #8 in base64. Raises `ValueError`.

    No other form is accepted. Any 32 bytes could serve as a private key. But 32 bytes may be the shared secret of an earlier
    release. Services that verify tokens know that secret, and could still make tokens with it.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        key = load_der_private_key(raw, password=None) if len(raw) == _PKCS8_BYTES else None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(  # noqa: TRY004 (pydantic expects ValueError for an invalid value)
            "is not an Ed25519 private key (shared secrets are not accepted); make a key with `stateroom keys --jwt`"
        )
    return key


def _keys(value: object, decode: Callable[[str], object], command: str) -> object:
    """The keys of a value. Raises `ValueError`, which names an invalid key by its number."""
    parts = split_list(value)
    if parts == () and value:
        raise ValueError(f"contains no key; make one with `{command}`, or unset it")
    if isinstance(parts, (tuple, list)):
        for number, part in enumerate(parts, 1):
            which = f"key {number} of {len(parts)}" if len(parts) > 1 else "the key"
            text = part.get_secret_value() if isinstance(part, SecretStr) else part
            if isinstance(text, str) and len(text.split()) > 1:
                raise ValueError(f"{which} contains a space; put a comma or a line break between two keys")
            try:
                decode(text)
            except ValueError as error:
                raise ValueError(f"{which} {error}") from None
    return parts


def _cookie_keys(value: object) -> object:
    return _keys(value, decode_cookie_key, "stateroom keys")


def _jwt_keys(value: object) -> object:
    return _keys(value, decode_jwt_key, "stateroom keys --jwt")


CookieKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_cookie_keys)]
JwtKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_jwt_keys)]
