"""What a session's values and keys may be, and their JSON.

A value must be read back as what was put in: by this request and by the next one. msgspec, which encodes it, also takes
tuples, dates, enumerations, dataclasses and NaN, and makes something else of each. So the types are checked before.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite
from typing import Any

import msgspec

MAX_DEPTH = 100
"""How deep lists and dicts may be nested. Far below the depth at which Python stops reading them."""

_NUMBERS_AND_TEXTS = frozenset({str, int, bool, type(None)})
_NESTING = frozenset({list, dict})
_READABLE_BYTES = 4300
"""JSON up to this length can always be read: Python reads no int of more than 4,300 digits (`sys.int_info`)."""
_ALLOWED = _NUMBERS_AND_TEXTS | _NESTING | {float}
_STR_ONLY = frozenset({str})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def plain_key(key: object) -> str:
    """The key as a plain str: of a member of a `StrEnum` its value. Raises `TypeError` for anything but a str."""
    if not isinstance(key, str):
        raise TypeError(f"a session key is a str, not {_name(key)}")
    return str.__str__(key)


def check_text(what: str, text: str) -> None:
    """Raises `ValueError` for a text with a lone surrogate: UTF-8 cannot say it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} has a lone surrogate, which UTF-8 cannot say") from None


def encode_value(key: str, value: Any) -> bytes:
    """JSON of a value.

    Raises a `TypeError` that names the key, the place and the type for anything but str, int, finite float, bool, None, list,
    and dict with str keys. Subclasses are something else, too: they would be read back as the plain type. Raises
    `ValueError` for a text with a lone surrogate, and for an int of more than 4,300 digits, of a negative one 4,299.
    """
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        raise ValueError(f"session[{key!r}] has a lone surrogate, which UTF-8 cannot say") from None
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
    """Whether all in it is of the types that JSON gives back. It looks at all values of one depth together: that is quick."""
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
    """Raises the `TypeError` of the first thing that cannot be stored; returns if all can be."""
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
            raise TypeError(f"{_place(key, path)} is the float {value}: JSON has finite floats only")
    elif kind not in _NUMBERS_AND_TEXTS:
        raise TypeError(
            f"{_place(key, path)} is of the type {_name(value)}, and would be read back as another one: "
            "a session holds str, int, float, bool, None, list, and dict with str keys"
        )


def _place(key: str, path: tuple[object, ...]) -> str:
    return "session" + "".join(f"[{each!r}]" for each in (key, *path))


def _name(value: object) -> str:
    return type(value).__name__
