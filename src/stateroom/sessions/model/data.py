"""The data of a session: a mutable mapping over a stored hash, which records its own changes.

Values are JSON values. They are decoded when they are first read. A list or a dict can be mutated in place, so it is
compared with the stored value when the session is saved: `session["cart"].append(x)` is noticed. If a value changes while a
save is running, the next save writes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ...logs import get_logger
from .fields import DATA_PREFIX, FLASH_PREFIX, Delta, Fields, by_prefix, data_field
from .identity import SessionRef
from .messages import Messages, joined, occurrences
from .values import check_text, decode, decode_value, encode_value, plain_key

if TYPE_CHECKING:
    from ...errors import Unavailable

log = get_logger(__name__)

NOBODY = SessionRef("", "")
"""The reference of a session that is not stored."""

_NO_FIELDS: Fields = {}
_NO_CHANGE = Delta()
# Every session begins with these, and none can write to them.
_UNUSED: Any = MappingProxyType({})
_UNUSED_SET: Any = frozenset()
_UNUSED_MESSAGES = Messages()
_NOTHING: Any = object()


class Own(NamedTuple):
    """A request's own unsaved change of one key. `raw`: the new JSON; None if the request has deleted the key."""

    raw: bytes | None


class SessionData(MutableMapping[str, Any]):
    """The values of the application, and its flash messages.

    `data_fault`: while it is set, every use of the data raises it. `fields`: the stored hash.
    `in_doubt`: messages, and nothing else, that may be stored, because the reply to their save was lost.
    A key is in at most one of `_written` and `_deleted`. `_decoded` holds values of `_raw` that were read.
    `_deleted` may name keys that are not stored, because a running save may be about to store them.
    """

    ref: SessionRef = NOBODY
    data_fault: Unavailable | None = None
    fields: Fields = _NO_FIELDS
    in_doubt: Delta | None = None
    _split: dict[str, bytes] | None = None
    # The first use of the data gives the session its own.
    _decoded: dict[str, Any] = _UNUSED
    _written: dict[str, Any] = _UNUSED
    _deleted: set[str] = _UNUSED_SET
    _messages: Messages = _UNUSED_MESSAGES

    def __getitem__(self, key: str) -> Any:
        self.check_data()
        if type(key) is not str:
            key = _looked_up(key)
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
        key = plain_key(key)
        check_text("a session key", key)
        encode_value(key, value)
        self._written[key] = value
        self._deleted.discard(key)

    def __delitem__(self, key: str) -> None:
        self.check_data()
        if type(key) is not str:
            key = _looked_up(key)
        if key not in self:
            raise KeyError(key)
        self._written.pop(key, None)
        self._decoded.pop(key, None)
        self._deleted.add(key)

    def __iter__(self) -> Iterator[str]:
        self.check_data()
        yield from [key for key in self._raw if self._is_there(key)]
        yield from [key for key in self._written if key not in self._raw]

    def __contains__(self, key: object) -> bool:
        self.check_data()
        if type(key) is not str:
            if not isinstance(key, str):
                return False
            key = plain_key(key)
        return key in self._written or (key in self._raw and self._is_there(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def discard_changes(self) -> None:
        """Go back to what is stored."""
        self._decoded, self._written, self._deleted, self._messages = {}, {}, set(), Messages()
        self.in_doubt = None

    def refresh(self, fields: Fields) -> None:
        """Take data that was stored meanwhile. Changes of this request stay.

        An object that was read stays the same object, unless the stored value is another one now.
        """
        before, changed = self._raw, {key for key in self._decoded if self._is_changed(key)}
        self.fields, self._split = fields, None
        self._decoded = {
            key: value for key, value in self._decoded.items() if key in changed or before.get(key) == self._raw.get(key)
        }

    def add_flash(self, kind: str, message: str) -> None:
        """Leave a message. It is stored with the other changes. Raises as `Messages.add`."""
        self.check_data()
        self._messages.add(kind, message)

    def drain_flashes(self) -> dict[str, str]:
        """Return the messages of this request and remove them, so that they are not stored."""
        return self._messages.drain()

    def note_taken(self, names: list[str]) -> None:
        """The messages in these fields were taken out of the store."""
        taken = {name.encode() for name in names} & self.fields.keys()
        if taken:
            self.fields = {name: value for name, value in self.fields.items() if name not in taken}

    @property
    def is_touched(self) -> bool:
        """Whether a handler has read or written anything. Only then can there be a change to save."""
        if self._written is _UNUSED:
            return False
        return bool(self._written or self._decoded or self._deleted or self._messages)

    @property
    def is_written(self) -> bool:
        """Whether a change may wait to be saved: a value was set, deleted or perhaps mutated, or a message was left."""
        if self._written is _UNUSED:
            return False
        return bool(
            self._written
            or self._deleted
            or self._messages
            or any(isinstance(each, list | dict) for each in self._decoded.values())
        )

    def delta(self) -> Delta:
        """The changes since the last load or save. For mutated values it raises as `encode_value`."""
        if not self.is_touched:
            return _NO_CHANGE
        delta = Delta()
        for key, value in self._written.items():
            encoded = encode_value(key, value)
            delta.written[key] = value
            if self._raw.get(key) != encoded:
                delta.values[data_field(key)] = encoded
        for key, value in self._decoded.items():
            if key not in self._written and isinstance(value, list | dict):
                encoded = encode_value(key, value)
                if self._raw.get(key) != encoded:
                    delta.values[data_field(key)] = encoded
        delta.deleted = [data_field(key) for key in self._deleted if key in self._raw]
        delta.appended, delta.messages_until = self._messages.waiting()
        return delta

    def accept(self, delta: Delta) -> None:
        """Note that `delta` is stored. Changes that were made after `delta` stay changes."""
        self._begin_changes()
        for name, value in delta.values.items():
            self._raw[name[1:]] = value
        for name in delta.deleted:
            self._raw.pop(name[1:], None)
            self._deleted.discard(name[1:])
        for key, value in delta.written.items():
            if key in self._written and self._written[key] is value:
                self._decoded[key] = self._written.pop(key)
        if delta.appended:
            self._messages.accept(delta.messages_until)
            self.fields = {**self.fields, **_appended(self.fields, delta)}

    def settle_doubt(self, fields: Fields | None) -> None:
        """Note that the messages in doubt are stored, if they are. `fields`: the hash as it is now; None if there is none.

        They are stored if they occur there once more than before. Values stay changes: writing them twice does no harm.
        """
        delta, self.in_doubt = self.in_doubt, None
        if delta is not None and fields is not None:
            names = {name.encode(): text.encode() for name, text in delta.appended.items()}
            if all(occurrences(text, fields.get(name)) > occurrences(text, self.fields.get(name)) for name, text in names.items()):
                self.accept(delta)

    def raw(self, key: str) -> bytes | None:
        """The stored JSON of a value, as far as this request knows."""
        return self._raw.get(key)

    def own(self, key: str) -> Own | None:
        """This request's own unsaved change of the key; None if there is none.

        Raises `TypeError`, `ValueError` as `delta`.
        """
        if key in self._written:
            return Own(encode_value(key, self._written[key]))
        if key in self._deleted:
            return Own(None)
        value = self._decoded.get(key)
        if isinstance(value, list | dict):
            encoded = encode_value(key, value)
            if encoded != self._raw.get(key):
                return Own(encoded)
        return None

    def _is_changed(self, key: str) -> bool:
        try:
            return self.own(key) is not None
        except (TypeError, ValueError):  # it was mutated into something that the next save refuses
            return True

    def current(self, key: str) -> Any:
        """A copy of the key's value as this request has it, for a function that may mutate it; None if there is none."""
        own = self.own(key)
        return decode_value(self._raw.get(key) if own is None else own.raw)

    @contextlib.contextmanager
    def tentatively(self, key: str, raw: bytes | None, value: Any) -> Iterator[None]:
        """Make this the request's own change of the key (None: it is deleted), and undo it if the context fails."""
        self._begin_changes()
        written, decoded, deleted = self._written.get(key, _NOTHING), self._decoded.get(key, _NOTHING), key in self._deleted
        self._put(key, _NOTHING if raw is None else value, is_deleted=raw is None)
        try:
            yield
        except BaseException:
            if self._written.get(key) is value or (raw is None and key not in self._written):  # no later change has been made
                self._put(key, written, is_deleted=deleted)
                if decoded is not _NOTHING:
                    self._decoded[key] = decoded
            raise

    def begin_again(self) -> None:
        """Nothing of it is stored any more: all of its values become changes to save. Stored messages are dropped."""
        self._begin_changes()
        for key in list(self):
            self._written[key] = self[key]
        self._decoded, self._deleted, self.fields, self._split = {}, set(), _NO_FIELDS, None

    def accept_value(self, key: str, raw: bytes | None, value: Any, *, over: Own | None = None) -> None:
        """Note that one key has this value in the store (None: no value).

        `over`: the result of `own` when the value was made. If the request has changed the key since, its change stays.
        """
        self._begin_changes()
        try:
            is_newest = self.own(key) == over
        except (TypeError, ValueError):  # it was mutated into something that the next save refuses
            is_newest = False
        if raw is None:
            self._raw.pop(key, None)
        else:
            self._raw[key] = raw
        if is_newest:
            self._written.pop(key, None)
            self._deleted.discard(key)
            self._decoded.pop(key, None)
            if raw is not None:
                self._decoded[key] = value

    def all_data(self) -> dict[str, bytes]:
        """Every field to store when the session is stored anew, changes included."""
        delta = self.delta()
        fields = {name: raw for name, raw in self.stored_data().items() if name[1:] not in self._deleted or name[:1] != DATA_PREFIX}
        fields.update(delta.values)
        fields.update({name.decode(errors="replace"): text for name, text in _appended(self.fields, delta).items()})
        return fields

    def stored_data(self) -> dict[str, bytes]:
        """The values and messages that are stored, by their fields, as far as this request knows."""
        data = {data_field(key): raw for key, raw in self._raw.items()}
        data.update({name.decode(errors="replace"): text for name, text in self.fields.items() if name[:1] == _FLASH_START})
        return data

    @property
    def _raw(self) -> dict[str, bytes]:
        """The data fields as they are stored. They are split off at the first use, because most requests use none."""
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

    def _put(self, key: str, value: Any, *, is_deleted: bool) -> None:
        self._written.pop(key, None)
        self._decoded.pop(key, None)
        self._deleted.discard(key)
        if is_deleted:
            self._deleted.add(key)
        elif value is not _NOTHING:
            self._written[key] = value

    def _is_there(self, key: str) -> bool:
        return key not in self._deleted and self._is_readable(key)

    def _is_readable(self, key: str) -> bool:
        if key in self._decoded or key in self._written:
            return True
        try:
            self._decoded[key] = self._decode(key, self._raw[key])
        except KeyError:
            return False
        return True

    def _decode(self, key: str, raw: bytes) -> Any:
        try:
            return decode(raw)
        except ValueError:
            # An unreadable field counts as missing and is logged. It never causes a 500.
            log.warning("session_field_unreadable", field=key, session=self.ref.handle)
            raise KeyError(key) from None


_FLASH_START = FLASH_PREFIX.encode()


def _looked_up(key: object) -> str:
    """The plain text of a key that is read or deleted. Raises `KeyError` for other types, as a dict with str keys does."""
    if not isinstance(key, str):
        raise KeyError(key)
    return plain_key(key)


def _appended(fields: Fields, delta: Delta) -> dict[bytes, bytes]:
    """The fields of messages after the messages of this delta are appended."""
    return {name.encode(): joined(fields.get(name.encode()), text) for name, text in delta.appended.items()}
