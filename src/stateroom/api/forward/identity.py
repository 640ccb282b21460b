"""The headers that name the user to the application."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...accounts.access import Person

USER, EMAIL, NAME, GROUPS = "Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"
DEGRADED, ASSERTION = "Remote-Session-Degraded", "Remote-Assertion"
NOBODY: dict[str, str] = dict.fromkeys((USER, EMAIL, NAME, GROUPS, DEGRADED, ASSERTION), "")
"""What the headers say if there is nobody. They are in each answer, so that a proxy that copies them overwrites the client's."""

USERS_REMEMBERED = 4096
"""For how many users the lines are kept. To quote three values takes as long as a command of Redis."""
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def identity_lines(person: Person, name: str, assertion: str, *, degraded: bool) -> str:
    """The header lines that name a user to an application. `name`: the user's display name."""
    return f"{_user_lines(person, name)}{DEGRADED}: {'true' if degraded else 'false'}\r\n{ASSERTION}: {assertion}\r\n"


@lru_cache(USERS_REMEMBERED)
def _user_lines(person: Person, name: str) -> str:
    said = {USER: str(person.user_id), EMAIL: person.email, NAME: name, GROUPS: ",".join(sorted(person.groups))}
    return _lines({header: header_safe(value) for header, value in said.items()})


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def header_safe(text: str) -> str:
    """The text with `%` and everything but printable ASCII percent-encoded as UTF-8 (RFC 3986, section 2.1)."""
    return quote(text, safe=_PRINTABLE)


NOBODY_LINES = _lines(NOBODY)
"""`NOBODY` as header lines."""
