"""Takes over sessions of another session library.

The token is derived from the old session's secret with a key that only this deployment has. So parallel requests, also on
several workers, make the same session of it. If a response is lost, the next request makes the same session again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .model.client_notes import pack
from .model.credential import Credential
from .model.fields import CREATED, data_field, sign_in_fields
from .model.identity import SessionRef, UserId, handle_of, user_key
from .model.session import record_of

if TYPE_CHECKING:
    from ..backend.client import Argument
    from .model.session import Session
    from .wiring import Parts


class Adopted(NamedTuple):
    """`ref`: the new session. `created_ms`: when it was stored. `is_new`: this call has stored it."""

    ref: SessionRef
    created_ms: int
    is_new: bool


class Fitting(NamedTuple):
    """The data of another library's session that a session here can hold. `left_out`: other keys, and the reasons."""

    data: dict[str, bytes]
    left_out: dict[str, str]


class Adoption:
    """Makes sessions from the data that another library stored."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def has_journal(self) -> bool:
        """Whether there is a journal that keeps the ends of adopted sessions."""
        return self._parts.trust.has_journal

    def fit(self, data: Mapping[str, Any]) -> Fitting:
        """Encode data that `json.loads` has read. Python's JSON has more values than JSON: NaN, infinity, lone surrogates.

        If the rest takes more than `SESSION_MAX_BYTES`, the largest values are left out until the rest fits. Parallel requests
        get the same result.
        """
        fitting, left_out = {}, {}
        for key, value in data.items():
            encoded = _encoded(key, value)
            if encoded is None:
                left_out[key] = "JSON cannot say it"
            else:
                fitting[key] = encoded
        sizes = {key: len(data_field(key).encode()) + len(each) for key, each in fitting.items()}
        total = sum(sizes.values())
        by_size = sorted(sizes, key=lambda key: (sizes[key], key))
        while total > self._parts.settings.session_max_bytes:
            largest = by_size.pop()
            total -= sizes[largest]
            del fitting[largest]
            left_out[largest] = "the data is over SESSION_MAX_BYTES"
        return Fitting(fitting, left_out)

    async def adopt(
        self, session: Session, secret: str, user_id: UserId | None, data: Mapping[str, bytes], client_notes: Mapping[str, str]
    ) -> Adopted | None:
        """Store the session under the token of its secret, and load it into `session`. None if it has ended here before.

        `data`: as `fit` returns it. Raises `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        parts, record = self._parts, record_of(session)
        credential = self._credential(parts.key_ring.derive_tokens(secret)[0], user_id)
        fields: dict[str, Argument] = {data_field(key): each for key, each in data.items()}
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
        """Load the session that was made of the secret, if it has this handle."""
        for token in self._parts.key_ring.derive_tokens(secret):
            if handle_of(token) == handle:
                await self._parts.loader.load(record_of(session), self._credential(token, user_id), lambda: client_notes)
                return

    def _credential(self, token: bytes, user_id: UserId | None) -> Credential:
        """A credential as if it had been sealed now. Its time of sign-in is 0, because no password was given.

        It has the first generation and the first epoch. So an earlier end of all of the user's sessions, or of all users'
        sessions, ends it too.
        """
        settings, now = self._parts.settings, self._parts.clock.now_ms()
        return Credential(
            token, user_id, generation=0, auth_time=0, deadline=now + settings.session_absolute_max_age * 1000,
            idle_ms=settings.session_max_age * 1000, issued_at=now, is_persistent=False,
            ref=SessionRef(user_key(user_id), handle_of(token)), renewed_ms=now, created_ms=now, epoch="",
        )  # fmt: skip


def _encoded(key: str, value: Any) -> bytes | None:
    """JSON of a value; None if JSON would give a handler another value back."""
    try:
        key.encode()
        encoded = msgspec.json.encode(value)
        read = msgspec.json.decode(encoded)
        # A number that is too large for an int is read as a float, which may be equal.
        return encoded if read == value and msgspec.json.encode(read) == encoded else None
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
