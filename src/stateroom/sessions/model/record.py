"""The library's knowledge of a session. Handlers see it as a `Session`."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from .data import NOBODY, SessionData
from .deployment import Current
from .messages import Messages

if TYPE_CHECKING:
    from ...errors import Unavailable
    from .credential import Credential
    from .fields import Fields
    from .identity import SessionRef, UserId
    from .sighting import Sighting
    from .timestamps import Timestamps


class SessionRecord(SessionData):
    """One session in one request, or in one piece of code without a request. It begins as an anonymous visitor's.

    `token`: None while nothing is stored; empty if an access token opened the session, which holds no token.
    `ref`: `NOBODY` while nothing is stored, and while nothing can be known (then `unknown_ref` says which session it is).
    `fault`: if nothing of the session can be known, every use of it raises this.
    `degraded`: the store is unavailable. The user may be known; the data is unknown, and `data_fault` is set.
    `sighting`: when this worker last saw the session in Redis; None if it was not loaded for a credential.
    `restored`: Redis had lost the session until this request. `ended`: why the session of the request's value has ended.
    `gone`: the session of the request's value, if the store does not have it any more; `gone_carried`: its generation and epoch.
    `ended` is the reason, if it is known. For a visitor's session it is unknown: it expired, or a sign-in has replaced it.
    `is_refused`: a write was refused because that session has ended. Later writes are refused while the client has the value.
    `headers_sent`: the headers have left, so no new value can reach the client.
    `keeps_nothing`: the client has a bearer and cannot keep a visitor's session.
    `evicted`: how many of the user's sessions this request's sign-in has ended (`SESSION_MAX_PER_USER`).
    `must_reseal`: the release before sealed the request's value. The response brings a value of this release.
    `known_ms`: when it was loaded from the store; 0 if it was not. `sealed_ms`: when the request's value was sealed, likewise.
    `confirmed_ms`: for a session of the credential alone, when the store last had it; 0 if this request has asked the store.
    All times are milliseconds since the epoch, by Redis' clock; 0 while nothing is stored. `idle_ms` is a duration.
    While the session is stored: `created_ms <= renewed_ms < expires_ms <= deadline_ms`.
    """

    # An anonymous visitor's session. Class attributes: making one costs next to nothing.
    token: bytes | None = None
    user_id: UserId | None = None
    generation: int = 0
    epoch: str = ""
    is_persistent: bool = False
    degraded: bool = False
    restored: bool = False
    evicted: int = 0
    ended: str | None = None
    fault: Unavailable | None = None
    unknown_ref: SessionRef | None = None
    gone: SessionRef | None = None
    gone_carried: Current = Current(0, "")
    is_refused: bool = False
    headers_sent: bool = False
    keeps_nothing: bool = False
    sighting: Sighting | None = None
    must_reseal: bool = False
    known_ms: int = 0
    sealed_ms: int = 0
    confirmed_ms: int = 0
    created_ms: int = 0
    auth_ms: int = 0
    renewed_ms: int = 0
    deadline_ms: int = 0
    expires_ms: int = 0
    idle_ms: int = 0

    def forget(self) -> None:
        """Become an anonymous visitor's empty session. `headers_sent` and `keeps_nothing` stay."""
        headers_sent, keeps_nothing = self.headers_sent, self.keeps_nothing
        self.__dict__.clear()
        self.headers_sent, self.keeps_nothing = headers_sent, keeps_nothing

    def snapshot(self) -> dict[str, Any]:
        """The present state, for `restore`."""
        return {name: copy(value) if isinstance(value, dict | set | Messages) else value for name, value in self.__dict__.items()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot, because a step that had begun to change the record has failed."""
        self.__dict__.clear()
        self.__dict__.update(snapshot)

    def fill(self, credential: Credential, fields: Fields, timestamps: Timestamps, sighting: Sighting) -> None:
        """Take over a stored session."""
        self.sighting = sighting
        self.fields, self._split = fields, None
        self.token, self.user_id, self.is_persistent = credential.token, credential.user_id, credential.is_persistent
        self.ref, self.sealed_ms = credential.ref, credential.issued_at
        (
            self.generation, self.created_ms, self.auth_ms, self.renewed_ms,
            self.idle_ms, self.deadline_ms, self.expires_ms, self.epoch, _,
        ) = timestamps  # fmt: skip
        if credential.is_legacy:
            self.must_reseal = True

    def fill_from_credential(
        self, credential: Credential, *, created_ms: int, renewed_ms: int, expires_ms: int, confirmed_ms: int
    ) -> None:
        """Take over user and times from the credential alone. The data is unknown."""
        self.token, self.ref, self.user_id = credential.token, credential.ref, credential.user_id
        self.is_persistent, self.generation, self.epoch = credential.is_persistent, credential.generation, credential.epoch
        self.auth_ms, self.deadline_ms, self.idle_ms = credential.auth_time, credential.deadline, credential.idle_ms
        self.created_ms, self.renewed_ms, self.expires_ms = created_ms, renewed_ms, expires_ms
        self.confirmed_ms = confirmed_ms

    def fail(self, fault: Unavailable, ref: SessionRef | None = None) -> None:
        """Nothing of the session can be known: every use of it raises `fault`. `ref`: which session it is."""
        self.fault = self.data_fault = fault
        self.unknown_ref = ref
        self.degraded = True

    def degrade(self, fault: Unavailable) -> None:
        """The store is unavailable: the user stays known, and the data can be neither read nor written."""
        self.discard_changes()
        self.data_fault = fault
        self.degraded = True

    def recover(self) -> None:
        """The store has it."""
        self.fault = self.data_fault = self.unknown_ref = None
        self.degraded = False

    def set_renewed(self, renewed_ms: int, expires_ms: int) -> None:
        """The store has slid its idle lifetime."""
        # The store uses the lifetimes of the sign-in. The present settings may allow less.
        self.renewed_ms, self.expires_ms = renewed_ms, min(expires_ms, renewed_ms + self.idle_ms, self.deadline_ms)
        if self.sighting is not None:
            self.sighting.renewed_ms = renewed_ms

    def set_stored(
        self, ref: SessionRef, token: bytes, *, created_ms: int, expires_ms: int, idle_ms: int, lifetime_ms: int
    ) -> None:
        """It is in the store now, under this token."""
        self.token, self.ref = token, ref
        self.created_ms = self.renewed_ms = created_ms
        self.auth_ms = created_ms if ref.user else 0
        self.deadline_ms, self.idle_ms, self.expires_ms = created_ms + lifetime_ms, idle_ms, expires_ms
        self.sighting, self.confirmed_ms = None, 0

    def set_rotated(self, ref: SessionRef, token: bytes, *, generation: int, auth_ms: int) -> None:
        """It has a new id."""
        self.ref, self.token, self.generation, self.auth_ms = ref, token, generation, auth_ms
        self.sighting, self.confirmed_ms = None, 0

    @property
    def is_stored(self) -> bool:
        """Whether there is a session: in the store, or in its credential while the store is unavailable."""
        return self.token is not None

    @property
    def is_sealable(self) -> bool:
        """False while nothing is stored, and if an access token opened the session, because that does not hold the token."""
        return bool(self.token)

    @property
    def is_signed_in(self) -> bool:
        """Raises `StoreUnavailable`, `DatabaseUnavailable` if that cannot be known."""
        if self.fault is not None:
            raise self.fault
        return self.user_id is not None

    @property
    def carried(self) -> Current:
        """Its generation and epoch. If the user's generation or the deployment's epoch changes, the session has ended."""
        return Current(self.generation, self.epoch)

    def has_gone(self, ref: SessionRef, carried: Current, reason: str | None) -> None:
        """The store does not have the session of the request's value: the record is an anonymous visitor's."""
        self.gone, self.gone_carried, self.ended = ref, carried, reason

    def end(self, reason: str) -> None:
        """The session is over: the record is an anonymous visitor's.

        Otherwise the response could give the client its old value once more, perhaps over a new one.
        """
        ref, carried = self.ref, self.carried
        self.forget()
        self.has_gone(ref, carried, reason)

    @property
    def rotated_ref(self) -> SessionRef | None:
        """The session of the request's value, if it has ended because it got a new id. A sign-out ends the new one."""
        return self.gone if self.ended == "rotated" else None

    @property
    def ending_ref(self) -> SessionRef | None:
        """The session that a sign-out ends, also if nothing but its credential is known."""
        return self.ref if self.token is not None else self.unknown_ref

    def has_news(self, renewed_before: int) -> bool:
        """Whether something must be written: a change, or a renewal if the last one was before this time."""
        if self.is_touched:
            return True
        return self.token is not None and self.renewed_ms < renewed_before


__all__ = ["NOBODY", "SessionRecord"]
