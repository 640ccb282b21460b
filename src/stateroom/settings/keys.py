"""Settings that are secret keys. No error repeats a key."""

from __future__ import annotations

import base64
import binascii
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
        raise ValueError("a key is not 32 bytes of base64url; make one with `stateroom keys`")
    return key


def decode_jwt_key(text: str) -> Ed25519PrivateKey:
    """A private key as `stateroom keys --jwt` prints it: PKCS #8 in base64. Raises `ValueError`.

    Nothing else is taken. 32 random bytes would also do as such a key, but those may be the secret of an earlier release,
    which the services have that verify tokens: they could go on minting.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        key = load_der_private_key(raw, password=None) if len(raw) == _PKCS8_BYTES else None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(  # noqa: TRY004 (pydantic takes it for a wrong value)
            "a key is no Ed25519 private key, and shared secrets are no longer taken; make one with `stateroom keys --jwt`"
        )
    return key


def _keys(value: object, command: str = "stateroom keys") -> object:
    parts = split_list(value)
    if parts == () and value:
        raise ValueError(f"has no key between its commas; make one with `{command}`, or unset it")
    return parts


def _cookie_keys(value: object) -> object:
    parts = _keys(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            decode_cookie_key(part.get_secret_value() if isinstance(part, SecretStr) else part)
    return parts


def _jwt_keys(value: object) -> object:
    parts = _keys(value, "stateroom keys --jwt")
    if isinstance(parts, (tuple, list)):
        for part in parts:
            decode_jwt_key(part.get_secret_value() if isinstance(part, SecretStr) else part)
    return parts


CookieKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_cookie_keys)]
JwtKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_jwt_keys)]
