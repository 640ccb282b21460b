"""Settings that are secret keys. No error repeats a key."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from .lists import split_list

COOKIE_KEY_BYTES = 32
JWT_KEY_MIN_BYTES = 32


def decode_cookie_key(text: str) -> bytes:
    """A cookie key as `stateroom keys` prints it: 32 bytes, base64url. Raises `ValueError`."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != COOKIE_KEY_BYTES:
        raise ValueError("a key is not 32 bytes of base64url; make one with `stateroom keys`")
    return key


def _keys(value: object) -> object:
    parts = split_list(value)
    if parts == () and value:
        raise ValueError("has no key between its commas; make one with `stateroom keys`, or unset it")
    return parts


def _cookie_keys(value: object) -> object:
    parts = _keys(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            decode_cookie_key(part.get_secret_value() if isinstance(part, SecretStr) else part)
    return parts


def _jwt_keys(value: object) -> object:
    parts = _keys(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            text = part.get_secret_value() if isinstance(part, SecretStr) else part
            if len(text.encode()) < JWT_KEY_MIN_BYTES:
                raise ValueError("a key is shorter than 32 bytes; make one with `stateroom keys`")
    return parts


CookieKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_cookie_keys)]
JwtKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_jwt_keys)]
