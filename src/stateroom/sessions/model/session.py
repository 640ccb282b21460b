"""`Session`: the session as handlers see it. It has the user, the times, and the data as a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import NotByAccessToken
from .client_notes import unpack

if TYPE_CHECKING:
    from .clock import Clock
    from .identity import UserId
    from .record import SessionRecord


class SessionWriter(Protocol):
    """The part that writes a session (`protocol/save.py`)."""

    clock: Clock

    async def change(self, record: SessionRecord, key: str, function: Callable[[Any], Any]) -> Any:
        """See `Session.change`."""

    async def save(self, record: SessionRecord, *, renew: bool = False) -> bool:
        """Write the changes; with `renew`, slide the idle lifetime if that is due. Returns whether the client needs a new value."""

    async def keep_alive(self, record: SessionRecord) -> bool:
        """See `Session.renew`."""

    async def take(self, record: SessionRecord, fields: list[str]) -> list[bytes | None]:
        """Read and delete fields of the stored hash in one step."""


class Session(MutableMapping[str, Any]):
    """One visitor's session: a mapping from str to JSON values, with the user and the times.

    An anonymous visitor's session is not stored until something is written to it. While Redis is unavailable a signed-in
    user is known from the cookie: `degraded` is true, and reading or writing data raises `StoreUnavailable`. The mapping is
    never empty because data could not be read.

    `session[key] = value` raises `TypeError` if the key is not a str or the value would be read back as another type. It
    raises `ValueError` for a lone surrogate (`values.py`).
    """

    __slots__ = ("_record", "_writer")

    def __init__(self, record: SessionRecord, writer: SessionWriter) -> None:
        self._record = record
        self._writer = writer

    def __getitem__(self, key: str) -> Any:
        return self._record[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._record[key] = value

    def __delitem__(self, key: str) -> None:
        del self._record[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __contains__(self, key: object) -> bool:
        return key in self._record

    def __len__(self) -> int:
        return len(self._record)

    def __bool__(self) -> bool:
        return True

    @property
    def user_id(self) -> UserId | None:
        """The session's user; None for an anonymous visitor.

        Raises `StoreUnavailable`, `DatabaseUnavailable` if that cannot be known.
        """
        record = self._record
        if record.fault is not None:
            raise record.fault
        return record.user_id

    @property
    def is_signed_in(self) -> bool:
        """Whether it belongs to a user. Raises `StoreUnavailable`, `DatabaseUnavailable` if that cannot be known."""
        return self._record.is_signed_in

    @property
    def id(self) -> str | None:
        """The public handle, to list and revoke the session. It cannot authenticate. None while nothing is stored.

        Raises `StoreUnavailable`, `DatabaseUnavailable` if it cannot be known.
        """
        record = self._record
        if record.fault is not None:
            raise record.fault
        return record.ref.handle or None

    @property
    def is_stored(self) -> bool:
        """False for a visitor for whom nothing has been stored yet."""
        return self._record.is_stored

    @property
    def is_persistent(self) -> bool:
        """Whether the user signed in with `remember`: the session outlives the browser."""
        return self._record.is_persistent

    @property
    def is_writable(self) -> bool:
        """False if Redis could not be asked: reading or writing data raises `StoreUnavailable`."""
        return self._record.data_fault is None

    @property
    def degraded(self) -> bool:
        """Whether the data cannot be known, because Redis could not be asked. The user may be known from the cookie."""
        return self._record.degraded

    @property
    def restored(self) -> bool:
        """Whether Redis had lost the session and its data, and this request stored it again."""
        return self._record.restored

    @property
    def evicted(self) -> int:
        """How many of the user's sessions this request's sign-in has ended, because of `SESSION_MAX_PER_USER`."""
        return self._record.evicted

    @property
    def ended(self) -> str | None:
        """Why the session of the request's cookie has ended, for example `logout` or `expired`; None if it has not."""
        return self._record.ended

    @property
    def created_at(self) -> datetime | None:
        """When it was first stored, UTC; None while nothing is stored."""
        return _moment(self._record.created_ms)

    @property
    def auth_time(self) -> datetime | None:
        """When the user last signed in or re-authenticated, UTC; None for an anonymous visitor."""
        return _moment(self._record.auth_ms)

    @property
    def last_access(self) -> datetime | None:
        """The last renewal, UTC: at most one in `SESSION_RENEW_INTERVAL`. None while nothing is stored."""
        return _moment(self._record.renewed_ms)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends if no more requests come, UTC; None while nothing is stored."""
        return _moment(self._record.expires_ms)

    @property
    def expires_in(self) -> int:
        """Whole seconds until `expires_at`; 0 while nothing is stored."""
        expires_ms = self._record.expires_ms
        return max(0, (expires_ms - self._writer.clock.now_ms()) // 1000) if expires_ms else 0

    @property
    def idle_seconds(self) -> int:
        """The idle lifetime, in whole seconds; 0 while nothing is stored."""
        return self._record.idle_ms // 1000

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes of the client at sign-in: `ip_address`, `user_agent`, `device_type`, `location`, each if it is known."""
        return unpack(self._record.fields)

    async def change(self, key: str, function: Callable[[Any], Any]) -> Any:
        """Set `key` to `function(current value)` at once and atomically, and return it. Without a value: `function(None)`.

        An unsaved change of this request counts as the current value. If another request was faster, `function` is called again,
        each time with a copy. If it returns None, the key is deleted.
        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        self._record.check_data()
        return await self._writer.change(self._record, key, function)

    async def save(self) -> None:
        """Write the changes now. Streams and WebSockets need this after their headers have left.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        self._record.check_data()
        await self._writer.save(self._record)

    async def renew(self) -> bool:
        """Count this moment as the user's activity: the idle lifetime begins again, at most once per `SESSION_RENEW_INTERVAL`.

        Each request is activity. Messages in a WebSocket or a stream are not, so the application calls this for them. Returns
        False while Redis is unavailable, and for a visitor without a stored session. Raises `SessionEnded`,
        `DatabaseUnavailable`.
        """
        return await self._writer.keep_alive(self._record)

    def discard_changes(self) -> None:
        """Forget the unsaved changes of this request, messages included."""
        self._record.discard_changes()

    def __repr__(self) -> str:
        record = self._record
        who = f"user {record.user_id!r}" if record.user_id is not None else "anonymous"
        return f"<Session {record.ref.handle or 'not stored'}, {who}>"


def record_of(session: Session) -> SessionRecord:
    """The library's record of a session. It is not for handlers, because it holds the token."""
    return session._record  # noqa: SLF001 (handlers must not see it, the library must)


def check_can_rotate(session: Session) -> None:
    """Raises `NotByAccessToken` if an access token opened the session, because no new value could reach the client."""
    record = record_of(session)
    if record.is_stored and not record.is_sealable:
        raise NotByAccessToken


async def take(session: Session, fields: list[str]) -> list[bytes | None]:
    """Read and delete fields of the stored hash in one step. Raises as `Session.save`."""
    record = record_of(session)
    record.check_data()
    return await session._writer.take(record, fields)  # noqa: SLF001


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
