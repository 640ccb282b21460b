"""Session: what a handler sees. A mutable mapping that records its own changes.

Values are what JSON can say. They are decoded when first read; a value that can be mutated (a list, a dict) is
compared with what was stored when the session is saved, so `session["cart"].append(x)` is noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import Unavailable
from .keys import Address
from .notes import unpack
from .store import Delta, Fields
from .times import times_of

if TYPE_CHECKING:
    from .cookie import Cookie
    from .keys import UserId
    from .manager import SessionManager

log = logging.getLogger(__name__)

DATA_PREFIX = "."
FLASH_PREFIX = "!"
_NO_FIELDS: Fields = {}
_NO_CHANGE = Delta()
# What every session begins with, and none can write to.
_UNUSED: Any = MappingProxyType({})
_UNUSED_TOO: Any = frozenset()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Session(MutableMapping[str, Any]):
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
    handle: str = ""
    user: str = ""
    _user_id: UserId | None = None
    generation: int = 0
    is_persistent: bool = False
    degraded: bool = False
    restored: bool = False
    displaced: int = 0
    ended: str | None = None
    _fault: Unavailable | None = None
    _data_fault: Unavailable | None = None
    _cookie: Cookie | None = None
    _fields: Fields = _NO_FIELDS
    _split: dict[str, bytes] | None = None
    known_ms: int = 0
    confirmed_ms: int = 0
    _created_ms: int = 0
    _auth_ms: int = 0
    _renewed_ms: int = 0
    _deadline_ms: int = 0
    _expires_ms: int = 0
    _idle_ms: int = 0
    # The first use of the session's data gives it its own.
    _decoded: dict[str, Any] = _UNUSED
    _written: dict[str, Any] = _UNUSED
    _flashes: dict[str, str] = _UNUSED
    _deleted: set[str] = _UNUSED_TOO

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def forget(self) -> None:
        """Become an anonymous visitor's session that holds nothing."""
        manager = self._manager
        self.__dict__.clear()
        self.__init__(manager)  # type: ignore[misc]

    def discard_changes(self) -> None:
        """Go back to what is stored."""
        self._decoded, self._written, self._deleted, self._flashes = {}, {}, set(), {}

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

    def refresh(self, fields: Fields) -> None:
        """Take data that was stored meanwhile; what this request changed stays changed."""
        delta = self.delta()
        self._fields, self._split = fields, None
        self._decoded = {key: value for key, value in self._decoded.items() if f"{DATA_PREFIX}{key}" in delta.values}

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

    # MutableMapping

    def __getitem__(self, key: str) -> Any:
        self._check_data()
        if key in self._written:
            return self._written[key]
        if key in self._decoded:
            return self._decoded[key]
        if key in self._deleted:
            raise KeyError(key)
        value = self._decode(key, self._raw[key])
        self._decoded[key] = value
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_data()
        if not isinstance(key, str):
            raise TypeError(f"a session key is a str, not {type(key).__name__}")
        encode_value(key, value)
        self._written[key] = value
        self._deleted.discard(key)

    def __delitem__(self, key: str) -> None:
        self._check_data()
        if key not in self:
            raise KeyError(key)
        self._written.pop(key, None)
        self._decoded.pop(key, None)
        if key in self._raw:
            self._deleted.add(key)

    def __iter__(self) -> Iterator[str]:
        self._check_data()
        yield from (key for key in self._raw if key not in self._deleted and self._is_readable(key))
        yield from (key for key in self._written if key not in self._raw)

    def __contains__(self, key: object) -> bool:
        self._check_data()
        return key in self._written or (key in self._raw and key not in self._deleted and self._is_readable(str(key)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        who = f"user {self._user_id!r}" if self._user_id is not None else "anonymous"
        return f"<Session {self.handle or 'not stored'}, {who}>"

    # Changes

    def add_flash(self, kind: str, message: str) -> None:
        self._check_data()
        earlier = self._flashes.get(kind)
        self._flashes[kind] = f"{earlier}\n{message}" if earlier else message

    def drain_flashes(self) -> dict[str, str]:
        """The messages added in this request, which then are not stored."""
        flashes, self._flashes = self._flashes, {}
        return flashes

    @property
    def is_touched(self) -> bool:
        """Whether a handler has read or written anything: only then can there be a change to save."""
        return bool(self._written or self._decoded or self._deleted or self._flashes)

    def has_news(self, renewed_before: int) -> bool:
        """Whether anything waits to be written: a change, or a renewal where the last one was before this time."""
        if self._written is not _UNUSED and self.is_touched:
            return True
        return self.token is not None and self._renewed_ms < renewed_before

    def delta(self) -> Delta:
        """What has changed since it was loaded or saved last."""
        if not self.is_touched:
            return _NO_CHANGE
        delta = Delta()
        for key, value in self._written.items():
            encoded = encode_value(key, value)
            if self._raw.get(key) != encoded:
                delta.values[DATA_PREFIX + key] = encoded
        for key, value in self._decoded.items():
            if key not in self._written and isinstance(value, list | dict):
                encoded = encode_value(key, value)
                if self._raw.get(key) != encoded:
                    delta.values[DATA_PREFIX + key] = encoded
        delta.deleted = [DATA_PREFIX + key for key in self._deleted]
        delta.appended = {FLASH_PREFIX + kind: text for kind, text in self._flashes.items()}
        return delta

    def accept(self, delta: Delta) -> None:
        """`delta` is stored."""
        self._begin_changes()
        for name, value in delta.values.items():
            self._raw[name[1:]] = value
        for name in delta.deleted:
            self._raw.pop(name[1:], None)
        self._decoded.update(self._written)
        self._written, self._deleted = {}, set()
        for name in delta.appended:
            self._flashes.pop(name[1:], None)

    def raw(self, key: str) -> bytes | None:
        """The value as it is stored, as far as this request knows."""
        return self._raw.get(key)

    def accept_value(self, key: str, raw: bytes | None, value: Any) -> None:
        """One key has this value in the store."""
        self._begin_changes()
        self._written.pop(key, None)
        self._deleted.discard(key)
        if raw is None:
            self._raw.pop(key, None)
            self._decoded.pop(key, None)
        else:
            self._raw[key] = raw
            self._decoded[key] = value

    def all_data(self) -> dict[str, bytes]:
        """Every field to store when the session is stored anew, changes included."""
        delta = self.delta()
        fields = {DATA_PREFIX + key: raw for key, raw in self._raw.items() if key not in self._deleted}
        fields.update(delta.values)
        fields.update({FLASH_PREFIX + kind: text for kind, text in _by_prefix(self._fields, b"!").items()})
        for name, text in delta.appended.items():
            fields[name] = b"\n".join([*filter(None, [fields.get(name)]), text.encode()])
        return fields

    @property
    def _raw(self) -> dict[str, bytes]:
        """The data fields as they are stored. Split off when first asked for: most requests ask for none."""
        if self._split is None:
            self._split = _by_prefix(self._fields, b".")
        return self._split

    def _check_data(self) -> None:
        if self._data_fault is not None:
            raise self._data_fault
        self._begin_changes()

    def _begin_changes(self) -> None:
        if self._written is _UNUSED:
            self.discard_changes()

    def _is_readable(self, key: str) -> bool:
        if key in self._decoded:
            return True
        try:
            self._decoded[key] = self._decode(key, self._raw[key])
        except KeyError:
            return False
        return True

    def _decode(self, key: str, raw: bytes) -> Any:
        try:
            return _decode(raw)
        except msgspec.DecodeError:
            # One unreadable field is a missing field and a log line, never a 500.
            log.warning("a field of a session cannot be read", extra={"field": key, "session": self.handle})
            raise KeyError(key) from None


def encode_value(key: str, value: Any) -> bytes:
    """JSON of a value. Raises `TypeError` that names the key."""
    try:
        return _encode(value)
    except (TypeError, msgspec.MsgspecError, OverflowError, ValueError, RecursionError) as error:
        raise TypeError(f"session[{key!r}] cannot be stored as JSON: {error}") from None


def decode_value(raw: bytes | None) -> Any:
    """The value that `encode_value` wrote; None for none and for what cannot be read."""
    if raw is None:
        return None
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        return None


def _by_prefix(fields: Fields, prefix: bytes) -> dict[str, bytes]:
    return {name[1:].decode(): value for name, value in fields.items() if name[:1] == prefix}


def _time(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
