"""What a session holds: a mutable mapping over a stored hash, which records its own changes.

Values are what JSON can say. They are decoded when first read. A list or a dict can be mutated in place, so it is
compared with the stored value when the session is saved: `session["cart"].append(x)` is noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from .fields import DATA_PREFIX, FLASH_PREFIX, Delta, Fields, by_prefix, data_field, flash_field
from .identity import SessionRef

if TYPE_CHECKING:
    from ...errors import Unavailable

log = logging.getLogger(__name__)

NOBODY = SessionRef("", "")
"""Of a session that is not stored."""

_NO_FIELDS: Fields = {}
_NO_CHANGE = Delta()
# Every session begins with these, and none can write to them.
_UNUSED: Any = MappingProxyType({})
_UNUSED_SET: Any = frozenset()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class SessionData(MutableMapping[str, Any]):
    """The values of the application, and its flash messages.

    `data_fault`: while it is set, every use of the data raises it. `fields`: the stored hash.
    A key is in at most one of `_written` and `_deleted`. `_decoded` holds values of `_raw` that somebody has read.
    """

    ref: SessionRef = NOBODY
    data_fault: Unavailable | None = None
    fields: Fields = _NO_FIELDS
    _split: dict[str, bytes] | None = None
    # The first use of the data gives the session its own.
    _decoded: dict[str, Any] = _UNUSED
    _written: dict[str, Any] = _UNUSED
    _flashes: dict[str, str] = _UNUSED
    _deleted: set[str] = _UNUSED_SET

    def __getitem__(self, key: str) -> Any:
        self.check_data()
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
        self.check_data()
        if not isinstance(key, str):
            raise TypeError(f"a session key is a str, not {type(key).__name__}")
        encode_value(key, value)
        self._written[key] = value
        self._deleted.discard(key)

    def __delitem__(self, key: str) -> None:
        self.check_data()
        if key not in self:
            raise KeyError(key)
        self._written.pop(key, None)
        self._decoded.pop(key, None)
        if key in self._raw:
            self._deleted.add(key)

    def __iter__(self) -> Iterator[str]:
        self.check_data()
        yield from (key for key in self._raw if key not in self._deleted and self._is_readable(key))
        yield from (key for key in self._written if key not in self._raw)

    def __contains__(self, key: object) -> bool:
        self.check_data()
        return key in self._written or (key in self._raw and key not in self._deleted and self._is_readable(str(key)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def discard_changes(self) -> None:
        """Go back to what is stored."""
        self._decoded, self._written, self._deleted, self._flashes = {}, {}, set(), {}

    def refresh(self, fields: Fields) -> None:
        """Take data that was stored meanwhile. What this request changed stays changed."""
        delta = self.delta()
        self.fields, self._split = fields, None
        self._decoded = {key: value for key, value in self._decoded.items() if data_field(key) in delta.values}

    def add_flash(self, kind: str, message: str) -> None:
        """Leave a message. It is stored with the other changes."""
        self.check_data()
        earlier = self._flashes.get(kind)
        self._flashes[kind] = f"{earlier}\n{message}" if earlier else message

    def drain_flashes(self) -> dict[str, str]:
        """Take back the messages of this request: they are not stored then."""
        flashes, self._flashes = self._flashes, {}
        return flashes

    @property
    def is_touched(self) -> bool:
        """Whether a handler has read or written anything. Only then can there be a change to save."""
        if self._written is _UNUSED:
            return False
        return bool(self._written or self._decoded or self._deleted or self._flashes)

    @property
    def is_written(self) -> bool:
        """Whether a change may wait to be saved: something was set, deleted or left as a message, or may have been mutated."""
        if self._written is _UNUSED:
            return False
        return bool(
            self._written or self._deleted or self._flashes or any(isinstance(each, list | dict) for each in self._decoded.values())
        )

    def delta(self) -> Delta:
        """What has changed since the last load or save."""
        if not self.is_touched:
            return _NO_CHANGE
        delta = Delta()
        for key, value in self._written.items():
            encoded = encode_value(key, value)
            if self._raw.get(key) != encoded:
                delta.values[data_field(key)] = encoded
        for key, value in self._decoded.items():
            if key not in self._written and isinstance(value, list | dict):
                encoded = encode_value(key, value)
                if self._raw.get(key) != encoded:
                    delta.values[data_field(key)] = encoded
        delta.deleted = [data_field(key) for key in self._deleted]
        delta.appended = {flash_field(kind): text for kind, text in self._flashes.items()}
        return delta

    def accept(self, delta: Delta) -> None:
        """Note that `delta` is stored."""
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
        """The stored JSON of a value, as far as this request knows."""
        return self._raw.get(key)

    def accept_value(self, key: str, raw: bytes | None, value: Any) -> None:
        """Note that one key has this value in the store (None: no value)."""
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
        fields = {data_field(key): raw for key, raw in self._raw.items() if key not in self._deleted}
        fields.update(delta.values)
        fields.update({flash_field(kind): text for kind, text in by_prefix(self.fields, FLASH_PREFIX).items()})
        for name, text in delta.appended.items():
            fields[name] = b"\n".join([*filter(None, [fields.get(name)]), text.encode()])
        return fields

    @property
    def _raw(self) -> dict[str, bytes]:
        """The data fields as they are stored. Split off when first asked for: most requests ask for none."""
        if self._split is None:
            self._split = by_prefix(self.fields, DATA_PREFIX)
        return self._split

    def check_data(self) -> None:
        """Raises `data_fault`, if there is one."""
        if self.data_fault is not None:
            raise self.data_fault
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
            log.warning("a field of a session cannot be read", extra={"field": key, "session": self.ref.handle})
            raise KeyError(key) from None


def encode_value(key: str, value: Any) -> bytes:
    """JSON of a value. Raises a `TypeError` that names the key."""
    try:
        return _encode(value)
    except (TypeError, msgspec.MsgspecError, OverflowError, ValueError, RecursionError) as error:
        raise TypeError(f"session[{key!r}] cannot be stored as JSON: {error}") from None


def decode_value(raw: bytes | None) -> Any:
    """The value that `encode_value` wrote; None if there is none, or if it cannot be read."""
    if raw is None:
        return None
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        return None
