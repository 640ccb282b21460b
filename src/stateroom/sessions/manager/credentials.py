"""Credentials of sessions: making them, opening them, and the keys of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import DatabaseUnavailable
from ..model.session import check_can_rotate, record_of
from ..sealing.access_tokens import looks_like_token
from ..sealing.token_keys import key_set
from .on_parts import OnParts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model.credential import Credential
    from ..model.session import Session
    from ..sealing.key_ring import Purpose
    from ..sealing.token_keys import TokenKey


class Credentials(OnParts):
    """Sealed values, for cookies and bearers, and access tokens."""

    def opens(self, value: str) -> bool:
        """Whether a bearer is one of ours. Its session may have ended."""
        try:
            return self._open(value, "bearer") is not None
        except DatabaseUnavailable:  # it looks like ours
            return True

    def recognises(self, value: str) -> bool:
        """Whether a value has the form of one of our credentials, for any purpose, also if it opens nothing any more.

        A proxy that asks us must not pass such a value on to the application behind it.
        """
        tokens = self._parts.access_tokens
        return self._parts.key_ring.recognises(value) or (tokens is not None and tokens.recognises(value))

    def seal(self, session: Session, purpose: Purpose = "cookie") -> str:
        """The value that opens a stored session, for a cookie or for a bearer. A cookie's value does not open as a bearer.

        Raises `DatabaseUnavailable` while the deployment id is unknown. Raises `ValueError` if nothing is stored, or if an
        access token opened the session: an access token is good for minutes only.
        """
        record = record_of(session)
        if not record.token:
            if record.is_stored:
                raise ValueError("an access token opened the session; only a session of a cookie or a sealed bearer can be sealed")
            raise ValueError("the session is not stored; write to it or sign in first")
        return self._parts.key_ring.seal(
            record.token,
            purpose,
            user_id=record.user_id,
            generation=record.generation,
            auth_time=record.auth_ms,
            deadline=record.deadline_ms,
            idle_ms=record.idle_ms,
            issued_at=record.confirmed_ms or self._parts.clock.now_ms(),
            is_persistent=record.is_persistent,
            epoch=record.epoch,
            created_ms=record.created_ms,
        )

    def derive_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for this purpose, derived from the first cookie key."""
        return self._parts.key_ring.derive_key(purpose)

    @property
    def has_access_tokens(self) -> bool:
        """Whether `JWT_KEYS` is set."""
        return self._parts.access_tokens is not None

    def mint_access_token(self, session: Session) -> tuple[str, int]:
        """An access token for a signed-in session, and how many seconds it is good.

        Raises `ValueError` without `JWT_KEYS`. Raises `NotByAccessToken` if an access token opened the session, because tokens
        that mint tokens would be good for as long as the session.
        """
        if self._parts.access_tokens is None:
            raise ValueError("access tokens are disabled; set JWT_KEYS to enable them")
        check_can_rotate(session)
        return self._parts.access_tokens.mint(record_of(session))

    def public_token_keys(self) -> dict[str, Any]:
        """The public keys of access tokens as a JSON Web Key Set (RFC 7517). Raises `ValueError` if tokens are off."""
        if self._parts.access_tokens is None:
            raise ValueError("access tokens are disabled; set JWT_KEYS to enable them")
        return key_set(self._parts.access_tokens.keys)

    def replace_token_keys(self, keys: Sequence[TokenKey]) -> None:
        """Use these keys of access tokens from now on: the first signs, all verify. Has no effect if tokens are off."""
        if self._parts.access_tokens is not None and keys:
            self._parts.access_tokens.replace(keys)

    def replace_keys(self, keys: Sequence[bytes]) -> None:
        """Use these cookie keys from now on: the first seals, all open. Values of other keys no longer open."""
        self._parts.key_ring.replace(keys)

    def _open(self, value: str, purpose: Purpose) -> Credential | None:
        tokens = self._parts.access_tokens
        if tokens is not None and purpose == "bearer" and looks_like_token(value):
            return tokens.open(value)
        return self._parts.key_ring.open(value, purpose)
