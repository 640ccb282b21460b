"""The keys of access tokens and assertions: Ed25519 pairs (RFC 8032). The private half signs here, the public half is published.

With the public half a service can verify tokens and cannot mint any. It is published as a JSON Web Key (RFC 8037, section 2).
The key's id is its thumbprint (RFC 7638), so that two hosts never give one id to two keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ...settings import decode_jwt_key
from .kept_key import kept_key

if TYPE_CHECKING:
    from ...settings import Settings


class TokenKey:
    """One pair. `id`: the thumbprint of the public half."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private
        self.public = private.public_key()
        self._x = _base64url(self.public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        members = {"crv": "Ed25519", "kty": "OKP", "x": self._x}  # these, in this order: RFC 8037, appendix A.3
        self.id = _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half as a JSON Web Key."""
        return {"kty": "OKP", "crv": "Ed25519", "x": self._x, "use": "sig", "alg": "EdDSA", "kid": self.id}


def load_token_keys(settings: Settings) -> tuple[TokenKey, ...]:
    """The keys of `JWT_KEYS`, or in embedded mode without it a key that is made once and kept under `STATE_DIR`.

    Empty if tokens are off. Raises `SettingsError`.
    """
    if settings.jwt_keys:
        return tuple(TokenKey(decode_jwt_key(each.get_secret_value())) for each in settings.jwt_keys)
    if settings.is_embedded:
        path = settings.state_dir / "jwt.key"
        return (TokenKey(kept_key(path, make=new_token_key, decode=decode_jwt_key, loss="access tokens end")),)
    return ()


def key_set(keys: Sequence[TokenKey]) -> dict[str, Any]:
    """The public halves as a JSON Web Key Set (RFC 7517, section 5)."""
    return {"keys": [key.jwk for key in keys]}


def new_token_key() -> str:
    """A new private key for `JWT_KEYS`: PKCS #8 (RFC 8410) in base64, which is a PEM file without its first and last line."""
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(made).decode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
