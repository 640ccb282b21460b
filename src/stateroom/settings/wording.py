"""One line for an invalid value: the setting, what is wrong, how to fix it. Never the value, which may be a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def first_problem(error: ValidationError, fields: Mapping[str, FieldInfo]) -> str:
    """The line for the first invalid value. After it is fixed, the next startup names the next one."""
    problem = error.errors(include_input=False, include_url=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "value_error":
        return f"{name.upper()}: {problem['ctx']['error']}"  # our own text, which ends with the fix
    is_told = problem["type"] == "literal_error" or problem["type"].startswith("bool")
    example = "" if is_told or name not in fields else _example(fields[name])
    return f"{name.upper()}: {_what_is_wrong(problem)}{example}"


def _what_is_wrong(problem: Any) -> str:
    kind = str(problem["type"])
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {_plain(problem['ctx'][key])}"
    if kind == "literal_error":
        return f"must be {problem['ctx']['expected'].replace(chr(39), '')}"
    for beginning, words in (("int", "a whole number"), ("float", "a number"), ("finite", "a number"), ("bool", "true or false")):
        if kind.startswith(beginning):
            return f"must be {words}"
    return f"must be {problem['msg'].removeprefix('Input should be ')}"


def _example(field: FieldInfo) -> str:
    value = field.default if field.default is not None else next(iter(field.examples or ()), None)
    if value is None or isinstance(value, (tuple, SecretStr)):
        return "; correct it as docs/settings.md describes"
    return f"; for example {value}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
