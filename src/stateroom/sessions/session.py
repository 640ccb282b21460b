"""Session: what a handler sees: whose it is, until when, what is known of it; and, as a mapping, what it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .data import SessionData
from .keys import Address
from .notes import unpack
from .times import times_of

if TYPE_CHECKING:
    from ..errors import Unavailable
    from .cookie import Cookie
    from .keys import UserId
    from .manager import SessionManager
    from .store import Fields


class Session(SessionData):
    """One visitor's session in one request.

    An anonymous visitor's costs nothing until something is written to it. While the store is away a signed-in user is
    known from the cookie (`degraded`); reading or writing data raises `StoreUnavailable` then: never an empty value
    that isn't true. `restored`: Redis had lost the session, and what it held, until this request. `displaced`: how many
    of the user's sessions this request's sign-in has ended, by `SESSION_MAX_PER_USER`. `known_ms`: when it was loaded, by
    Redis' clock (milliseconds since the epoch); 0 where it was not. `confirmed_ms`: where the cookie alone tells of it,
    when it was known to be good last; 0 where this request knows.
    """

    # What an anonymous visitor's session is, until something else is set: making one costs next to nothing.
    token: bytes | None = None
    user: str = ""
    _user_id: UserId | None = None
    generation: int = 0
    is_persistent: bool = False
    degraded: bool = False
    restored: bool = False
    displaced: int = 0
    ended: str | None = None
    _fault: Unavailable | None = None
    _cookie: Cookie | None = None
    known_ms: int = 0
    confirmed_ms: int = 0
    _created_ms: int = 0
    _auth_ms: int = 0
    _renewed_ms: int = 0
    _deadline_ms: int = 0
    _expires_ms: int = 0
    _idle_ms: int = 0

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def forget(self) -> None:
        """Become an anonymous visitor's session that holds nothing."""
        manager = self._manager
        self.__dict__.clear()
        self.__init__(manager)  # type: ignore[misc]

    # What the manager fills in

    def fill(self, cookie: Cookie, fields: Fields) -> None:
        """Take over a stored session. Raises `KeyError`, `ValueError` where these are not the fields of this user's."""
        times = times_of(cookie, fields)
        self._cookie = cookie
        self._fields, self._split = fields, None
        self.token, self._user_id, self.is_persistent = cookie.token, cookie.user_id, cookie.is_persistent
        self.user, self.handle = cookie.address
        (
            self.generation, self._created_ms, self._auth_ms, self._renewed_ms,
            self._idle_ms, self._deadline_ms, self._expires_ms,
        ) = times  # fmt: skip

    def fill_from_cookie(self, cookie: Cookie, *, created_ms: int) -> None:
        """Who it is, as the cookie alone knows it. What it holds is unknown."""
        self.token, self.handle, self.user, self._user_id = cookie.token, cookie.handle, cookie.user, cookie.user_id
        self.is_persistent, self.generation = cookie.is_persistent, cookie.generation
        self._created_ms, self._renewed_ms, self._auth_ms = created_ms, cookie.renewed_ms, cookie.auth_time
        self._deadline_ms, self._idle_ms = cookie.deadline, cookie.idle_ms
        self.confirmed_ms = cookie.confirmed_ms
        self._expires_ms = min(self._renewed_ms + self._idle_ms, self._deadline_ms)

    def fail(self, fault: Unavailable, cookie: Cookie | None = None) -> None:
        """Nothing of the cookie's session can be known: whatever is asked of it raises."""
        self._fault = self._data_fault = fault
        self._cookie = cookie
        self.degraded = True

    def degrade(self, fault: Unavailable) -> None:
        """The store is away: who it is stands, its data can be neither read nor written."""
        self.discard_changes()
        self._data_fault = fault
        self.degraded = True

    def recover(self) -> None:
        """The store has it."""
        self._fault = self._data_fault = None
        self.degraded = False

    def set_renewed(self, renewed_at: int, expires_at: int) -> None:
        self._renewed_ms, self._expires_ms = renewed_at, expires_at
        if self._cookie is not None:
            self._cookie.renewed_ms = renewed_at

    def set_stored(self, at: Address, token: bytes, *, created_at: int, expires_at: int, idle_ms: int, lifetime_ms: int) -> None:
        """It is in the store now, under this token."""
        self.token, self.handle, self.user = token, at.handle, at.user
        self._created_ms = self._renewed_ms = created_at
        self._auth_ms = created_at if at.user else 0
        self._deadline_ms, self._idle_ms, self._expires_ms = created_at + lifetime_ms, idle_ms, expires_at
        self._cookie, self.confirmed_ms = None, 0

    def set_rotated(self, handle: str, token: bytes, *, generation: int, auth_time: int) -> None:
        self.handle, self.token, self.generation, self._auth_ms = handle, token, generation, auth_time
        self._cookie, self.confirmed_ms = None, 0

    @property
    def address(self) -> Address:
        return Address(self.user, self.handle)

    @property
    def ending_address(self) -> Address | None:
        """What a sign-out ends: the session, also one of which nothing but its cookie is known."""
        if self.token is not None:
            return self.address
        return self._cookie.address if self._fault is not None and self._cookie is not None else None

    @property
    def renewed_ms(self) -> int:
        return self._renewed_ms

    @property
    def deadline_ms(self) -> int:
        return self._deadline_ms

    @property
    def idle_ms(self) -> int:
        return self._idle_ms

    @property
    def auth_ms(self) -> int:
        return self._auth_ms

    def has_news(self, renewed_before: int) -> bool:
        """Whether anything waits to be written: a change, or a renewal where the last one was before this time."""
        if self.is_touched:
            return True
        return self.token is not None and self._renewed_ms < renewed_before

    # What a handler may ask

    @property
    def id(self) -> str | None:
        """The public handle: it lists and revokes, it never authenticates. None while nothing is stored."""
        if self._fault is not None:
            raise self._fault
        return self.handle or None

    @property
    def is_stored(self) -> bool:
        return self.token is not None

    @property
    def is_sealable(self) -> bool:
        """False while nothing is stored; and where an access token opened it, which does not hold the session's own token."""
        return bool(self.token)

    @property
    def is_writable(self) -> bool:
        """False where the store could not be asked."""
        return self._data_fault is None

    @property
    def expires_ms(self) -> int:
        return self._expires_ms

    @property
    def is_signed_in(self) -> bool:
        """Raises `StoreUnavailable` where that cannot be known."""
        if self._fault is not None:
            raise self._fault
        return self._user_id is not None

    @property
    def user_id(self) -> UserId | None:
        """Whose it is; None for an anonymous visitor's. Raises `StoreUnavailable` where that cannot be known."""
        if self._fault is not None:
            raise self._fault
        return self._user_id

    def set_user(self, user_id: UserId | None) -> None:
        self._user_id = user_id

    @property
    def created_at(self) -> datetime | None:
        return _time(self._created_ms)

    @property
    def auth_time(self) -> datetime | None:
        """When the user last gave a password."""
        return _time(self._auth_ms)

    @property
    def last_access(self) -> datetime | None:
        """As coarse as the renew interval."""
        return _time(self._renewed_ms)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends if nothing more is asked."""
        return _time(self._expires_ms)

    @property
    def expires_in(self) -> int:
        """Seconds until `expires_at`; 0 while nothing is stored."""
        if not self._expires_ms:
            return 0
        return max(0, (self._expires_ms - self._manager.clock.now_ms()) // 1000)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was noted at sign-in."""
        return unpack(self._fields)

    async def change(self, key: str, function: Callable[[Any], Any]) -> Any:
        """Set `key` to what `function` makes of its value now (None for none), atomically, at once.

        `function` may be called again where another request was faster; returning None deletes the key.
        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`.
        """
        self._check_data()
        return await self._manager.change(self, key, function)

    async def save(self) -> None:
        """Write what changed, now: for streamed answers, whose headers have left.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`.
        """
        self._check_data()
        await self._manager.save(self)

    async def take(self, names: list[str]) -> list[bytes | None]:
        """Read and delete fields of the stored hash in one step."""
        self._check_data()
        return await self._manager.take(self, names)

    def __repr__(self) -> str:
        who = f"user {self._user_id!r}" if self._user_id is not None else "anonymous"
        return f"<Session {self.handle or 'not stored'}, {who}>"


def _time(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
