"""Refuses requests with a header that would mislead the application, or that would show it a credential of ours.

A server with CGI-style variables, for example one of PHP or WSGI, gives an application the headers `Remote-User`, `Remote_User` and
`Remote.User` under one name. A proxy overwrites only the first. So a request with another spelling is refused, whoever sends it.

A client may put a credential of ours where we never read it, for example into the query. A proxy cannot take it out there, so the
request is refused: the application and its log would have what signs the user in here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...errors import BadInput
from .credentials import SHORTEST
from .identity import NOBODY

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from .credentials import Credentials

NAMES_REMEMBERED, LONGEST_REMEMBERED = 1024, 64
"""How many names of headers are kept, and how long they may be: clients choose them."""
_OURS = frozenset(name.lower() for name in NOBODY)
_CLAIMS = frozenset({
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri",
    "x-forwarded-prefix", "x-real-ip", "x-original-url", "x-original-method", "x-rewrite-url", "x-http-method",
    "x-http-method-override", "x-method-override",
})  # fmt: skip
"""By these an application may take another method, path, host or client than those that the rules were asked about."""
_LONGEST = max(map(len, _OURS | _CLAIMS))
_READ = _OURS | {"cookie", "authorization"}
"""A credential in these does not reach the application."""
CONFUSED = "a header of the request has a name that applications may confuse with Remote-User, X-Forwarded-Host or their like"
_FOLDED = re.compile(r"[^a-z0-9]")
MISPLACED = (
    "a credential of this service is in the address, or in a header where it does not belong; send it as Cookie or Authorization"
)


class RequestCheck:
    """Checks requests to one application.

    `harmless`: names of headers that are none of ours and no claims. len(harmless) <= NAMES_REMEMBERED.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.harmless: set[str] = set()

    def check(self, headers: CIMultiDictProxy[str], path: str) -> None:
        """Raises `BadInput` if a header could pass for one of ours, or for one of a proxy, at the application.

        Proxies set or remove these headers, but most only in their usual spelling.
        Raises it too if a credential of ours is in the path, the query, or a header where we do not read it.
        """
        harmless, credentials = self.harmless, self._credentials
        for name, value in headers.items():
            if name not in harmless:
                self._check_name(name)
            if len(value) >= SHORTEST and name.lower() not in _READ and credentials.are_in(value):
                raise BadInput(MISPLACED)
        if len(path) >= SHORTEST and credentials.are_in(path):
            raise BadInput(MISPLACED)

    def _check_name(self, name: str) -> None:
        if is_folded(name):
            raise BadInput(CONFUSED)
        if len(name) <= LONGEST_REMEMBERED and len(self.harmless) < NAMES_REMEMBERED:
            self.harmless.add(name)


def is_folded(name: str) -> bool:
    """Whether a header's name is one of ours, or a claim, but for its separators: `Remote_User`, `remote.groups`."""
    if len(name) > _LONGEST:
        return False
    name = name.lower()
    return (folded := _FOLDED.sub("-", name)) != name and (folded in _OURS or folded in _CLAIMS)
