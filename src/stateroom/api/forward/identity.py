"""The headers that name the user to the application, and the spellings of them that servers take for the same name.

A server with CGI-style variables, for example one of PHP or WSGI, gives an application the headers `Remote-User`, `Remote_User` and
`Remote.User` under one name. A proxy overwrites only the first. So a request with another spelling is refused, whoever sends it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...accounts import ASSERTIONS
from ...errors import BadInput

if TYPE_CHECKING:
    from aiohttp import web

    from ... import Session
    from ...accounts.access import Person

USER, EMAIL, NAME, GROUPS = "Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"
DEGRADED, ASSERTION = "Remote-Session-Degraded", "Remote-Assertion"
NOBODY = dict.fromkeys((USER, EMAIL, NAME, GROUPS, DEGRADED, ASSERTION), "")
"""What the headers say if there is nobody. They are in each answer, so that a proxy that copies them overwrites the client's."""

NAMES_REMEMBERED = 4096
"""How many quoted values and header names are kept. To quote three values takes as long as a command of Redis."""
_OURS = frozenset(name.lower() for name in NOBODY)
_CLAIMS = frozenset({
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri",
    "x-forwarded-prefix", "x-real-ip", "x-original-url", "x-original-method", "x-rewrite-url", "x-http-method",
    "x-http-method-override", "x-method-override",
})  # fmt: skip
"""By these an application may take another method, path, host or client than those that the rules were asked about."""
_LONGEST = max(map(len, _OURS | _CLAIMS))
"""No longer name is asked about, and so none is kept: clients choose them."""
CONFUSED = "a header of the request has a name that applications may confuse with Remote-User, X-Forwarded-Host or their like"
_FOLDED = re.compile(r"[^a-z0-9]")
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def identity_headers(request: web.Request, session: Session, person: Person, name: str, audience: str) -> dict[str, str]:
    """The headers that name a user to the application `audience`. `name`: the user's display name.

    Raises `StoreUnavailable`, `DatabaseUnavailable` if the user cannot be known.
    """
    return {
        USER: header_safe(str(person.user_id)),
        EMAIL: header_safe(person.email),
        NAME: header_safe(name),
        GROUPS: header_safe(",".join(sorted(person.groups))),
        DEGRADED: "true" if session.degraded else "false",
        ASSERTION: request.app[ASSERTIONS].mint(session, audience, person, name=name),
    }


@lru_cache(NAMES_REMEMBERED)
def header_safe(text: str) -> str:
    """The text with `%` and everything but printable ASCII percent-encoded as UTF-8 (RFC 3986, section 2.1)."""
    return quote(text, safe=_PRINTABLE)


def check_spelling(request: web.Request) -> None:
    """Raises `BadInput` if a header of the request could pass for one of ours, or for one of a proxy, at the application.

    Proxies set or remove these headers, but most only in their usual spelling.
    """
    for name in request.headers:
        if len(name) <= _LONGEST and is_folded(name):
            raise BadInput(CONFUSED)


@lru_cache(NAMES_REMEMBERED)
def is_folded(name: str) -> bool:
    """Whether a header's name is one of ours, or a claim, but for its separators: `Remote_User`, `remote.groups`."""
    name = name.lower()
    return (folded := _FOLDED.sub("-", name)) != name and (folded in _OURS or folded in _CLAIMS)
