"""Sessions of another session library become sessions here.

The token is derived from the old session's secret by a key that only this deployment has. So parallel requests, also on
several workers, make one session of it, and a request whose response was lost makes the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .model.client_notes import pack
from .model.credential import Credential
from .model.fields import CREATED, data_field, sign_in_fields
from .model.identity import SessionRef, UserId, handle_of, user_key
from .model.session import record_of
from .model.values import encode_value

if TYPE_CHECKING:
    from ..backend.client import Argument
    from .model.session import Session
    from .wiring import Parts


class Adopted(NamedTuple):
    """`ref`: the session that it became. `created_ms`: since when that is stored. `is_new`: this call has stored it."""

    ref: SessionRef
    created_ms: int
    is_new: bool


class Adoption:
    """Makes sessions of what another library stored."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def has_journal(self) -> bool:
        """Whether an end of the adopted session is known for good."""
        return self._parts.trust.has_journal

    async def adopt(
        self, session: Session, secret: str, user_id: UserId | None, data: Mapping[str, Any], client_notes: Mapping[str, str]
    ) -> Adopted | None:
        """Store the session under the token of its secret and make `session` it; None if it has ended here before.

        Raises `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        parts, record = self._parts, record_of(session)
        credential = self._credential(parts.key_ring.derive_tokens(secret)[0], user_id)
        fields: dict[str, Argument] = {data_field(key): encode_value(key, each) for key, each in data.items()}
        parts.store.check_data(fields)
        if user_id is not None:
            fields |= {**sign_in_fields(credential.carried, credential.auth_time), **pack(client_notes)}
        now = credential.issued_at
        outcome = await parts.restore.store_unless_ended(credential, created_ms=now, renewed_ms=now, fields=lambda: fields)
        if outcome.fields is None:
            record.has_gone(credential.ref, credential.carried, outcome.reason or "expired")
            return None
        parts.loader.fill(record, credential, outcome.fields)
        return Adopted(credential.ref, int(outcome.fields[CREATED]), outcome.is_new)

    async def withdraw(self, session: Session, adopted: Adopted) -> None:
        """Delete the session again. Another request adopted it before, and it has ended since. Raises `StoreUnavailable`."""
        await self._parts.store.delete_without_waiting(adopted.ref)
        record = record_of(session)
        record.forget()
        record.ended = "logout"

    async def follow(
        self, session: Session, secret: str, user_id: UserId | None, handle: str, client_notes: Mapping[str, str]
    ) -> None:
        """Load what the secret's session became, if it is the one with this handle."""
        for token in self._parts.key_ring.derive_tokens(secret):
            if handle_of(token) == handle:
                await self._parts.loader.load(record_of(session), self._credential(token, user_id), lambda: client_notes)
                return

    def _credential(self, token: bytes, user_id: UserId | None) -> Credential:
        """As if it had been sealed now. Nobody has just given a password.

        It is of the first generation and the first epoch: whatever has ended all of the user's sessions, or everybody's, has
        ended the old one too.
        """
        settings, now = self._parts.settings, self._parts.clock.now_ms()
        return Credential(
            token, user_id, generation=0, auth_time=0, deadline=now + settings.session_absolute_max_age * 1000,
            idle_ms=settings.session_max_age * 1000, issued_at=now, is_persistent=False,
            ref=SessionRef(user_key(user_id), handle_of(token)), renewed_ms=now, created_ms=now, epoch="",
        )  # fmt: skip
