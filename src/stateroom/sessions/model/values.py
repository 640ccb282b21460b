"""The allowed values and keys of a session, and their JSON.

This request and the next one must read the same value that was set. msgspec, which encodes values, also accepts tuples,
dates, enumerations, dataclasses and NaN, and would read each of them back as another type. So the types are checked first.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite
from typing import Any

import msgspec

MAX_DEPTH = 100
"""How deep lists and dicts may be nested. Python can read far deeper ones."""

_NUMBERS_AND_TEXTS = frozenset({str, int, bool, type(None)})
_NESTING = frozenset({list, dict})
_READABLE_BYTES = 4300
"""JSON up to this length can always be read: Python reads no int of more than 4,300 digits (`sys.int_info`)."""
_ALLOWED = _NUMBERS_AND_TEXTS | _NESTING | {float}
_STR_ONLY = frozenset({str})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def plain_key(key: object) -> str:
    """The key as a plain str; for a member of a `StrEnum` its value. Raises `TypeError` for other types than str."""
    if not isinstance(key, str):
        raise TypeError(f"a session key is a str, not {_name(key)}")
    return str.__str__(key)


def check_text(what: str, text: str) -> None:
    """Raises `ValueError` for a text with a lone surrogate, which UTF-8 cannot encode."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} has a lone surrogate, which UTF-8 cannot encode") from None


def encode_value(key: str, value: Any) -> bytes:
    """JSON of a value.

    Allowed are str, int, finite float, bool, None, list, and dict with str keys. For other types this raises a `TypeError` that
    names the key, the place and the type. Subclasses are refused too, because they would be read back as the plain type.
    Raises `ValueError` for a text with a lone surrogate, and for an int of more than 4,300 digits (negative: 4,299).
    """
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        raise ValueError(f"session[{key!r}] has a lone surrogate, which UTF-8 cannot encode") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        _find_fault(key, (), value)
        raise ValueError(f"session[{key!r}] cannot be stored: {error}") from None
    if type(value) not in _NUMBERS_AND_TEXTS and not _is_plain(value):
        _find_fault(key, (), value)
    if len(encoded) > _READABLE_BYTES and type(value) is not str:
        try:  # msgspec counts the sign of an int as a digit when it reads, and not when it writes
            _decode(encoded)
        except ValueError as error:  # msgspec's own errors are ValueErrors
            raise ValueError(f"session[{key!r}] cannot be stored: {error}") from None
    return encoded


def decode_value(raw: bytes | None) -> Any:
    """The value that `encode_value` wrote; None if there is none, or if it cannot be read."""
    if raw is None:
        return None
    try:
        return _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def decode(raw: bytes) -> Any:
    """The value of this JSON. Raises `ValueError` if it cannot be read."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _is_plain(value: Any) -> bool:
    """Whether all values in it have types that JSON keeps. It checks all values of one depth together, which is quick."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if not kinds <= _ALLOWED:
            return False
        if float in kinds and not all(map(isfinite, (each for each in level if type(each) is float))):
            return False
        if not kinds & _NESTING:
            return True
        dicts = [each for each in level if type(each) is dict]
        if not _STR_ONLY.issuperset(map(type, chain.from_iterable(dicts))):
            return False
        level = [
            *chain.from_iterable(each for each in level if type(each) is list),
            *chain.from_iterable(map(dict.values, dicts)),
        ]
    return False


def _find_fault(key: str, path: tuple[object, ...], value: Any) -> None:
    """Raises a `TypeError` for the first value that cannot be stored; returns if all values can be."""
    if len(path) > MAX_DEPTH:
        raise TypeError(f"session[{key!r}] has lists or dicts nested more than {MAX_DEPTH} deep, or one that holds itself")
    kind = type(value)
    if kind is list:
        for number, each in enumerate(value):
            _find_fault(key, (*path, number), each)
    elif kind is dict:
        for name, each in value.items():
            if type(name) is not str:
                raise TypeError(f"{_place(key, path)} has a key of the type {_name(name)}: keys of a dict are str")
            _find_fault(key, (*path, name), each)
    elif kind is float:
        if not isfinite(value):
            raise TypeError(f"{_place(key, path)} is the float {value}: JSON has only finite floats")
    elif kind not in _NUMBERS_AND_TEXTS:
        raise TypeError(
            f"{_place(key, path)} has the type {_name(value)}, which would be read back as another type: "
            "a session holds str, int, float, bool, None, list, and dict with str keys"
        )


def _place(key: str, path: tuple[object, ...]) -> str:
    return "session" + "".join(f"[{each!r}]" for each in (key, *path))


def _name(value: object) -> str:
    return type(value).__name__
