"""Keeps our credentials from the application: it gets the request's `Cookie` and `Authorization` without them."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp.hdrs import AUTHORIZATION, COOKIE

from ...settings.values import TRACE_COOKIE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDictProxy

    from ... import SessionManager

_WORD = re.compile(r"[\w.+/-]+", re.ASCII)
"""A word that may be a credential: the characters of base64, of base64url, and the dots of a JSON Web Token."""
SHORTEST = 64
"""No sealed value of ours has fewer characters, and neither has the first part of a token, which names its key."""
_PART = re.compile(rf"[\w+-]{{{SHORTEST},}}", re.ASCII)
"""A credential, or the first part of a token, also behind a dot or a slash: `bearer.VALUE` is a usual protocol of WebSockets."""


class Credentials:
    """Finds the credentials of one application, whether good, expired or ended."""

    def __init__(self, sessions: SessionManager) -> None:
        self._recognises = sessions.recognises
        name = sessions.settings.session_name
        self._cookies = (name, TRACE_COOKIE)
        self._usual_cookie = f"{name}="

    def are_in(self, text: str) -> bool:
        """Whether one is in a text, also if some of its characters are percent-encoded."""
        if len(text) < SHORTEST:
            return False
        return any(map(self._recognises, _PART.findall(text))) or (
            "%" in text and any(map(self._recognises, _PART.findall(unquote(text))))
        )

    def others(self, headers: CIMultiDictProxy[str]) -> tuple[str, str]:
        """The cookies and the `Authorization` of a request without ours."""
        cookies = headers.getall(COOKIE, ())
        is_ours_alone = len(cookies) == 1 and cookies[0].startswith(self._usual_cookie) and ";" not in cookies[0]
        return (
            "" if is_ours_alone else self.other_cookies(cookies),
            self.other_authorization(headers) if AUTHORIZATION in headers else "",
        )

    def other_cookies(self, sent: Sequence[str]) -> str:
        """The cookies in these headers without ours, also those of an earlier `SESSION_NAME`.

        Bytes that are not UTF-8 are left out.
        """
        pairs = (pair.strip() for header in map(_readable, sent) for pair in header.split(";"))
        return "; ".join(
            pair for pair in pairs if pair and pair.partition("=")[0].rstrip() not in self._cookies and not self.are_in(pair)
        )

    def other_authorization(self, headers: CIMultiDictProxy[str]) -> str:
        """The `Authorization` of a request, or nothing if any word in it is a credential of ours.

        Bytes that are not UTF-8 are left out. Several headers become one, as RFC 9110 (section 5.3) lets proxies join them.
        """
        sent = ", ".join(map(_readable, headers.getall(AUTHORIZATION)))
        if len(sent) < SHORTEST:
            return sent
        words = _WORD.findall(sent)
        if any(map(self._recognises, words)) or any(map(self.are_in, (sent, *map(_of_basic, words)))):
            return ""
        return sent


def _of_basic(word: str) -> str:
    """The name and password in a word of `Authorization: Basic` (RFC 7617). Programs send a token as either."""
    if len(word) < SHORTEST:
        return ""
    try:
        return b64decode(f"{word}===").decode(errors="ignore")
    except ValueError:
        return ""


def _readable(value: str) -> str:
    """The value of a header as the application gets it, without bytes that are not UTF-8."""
    return value if value.isascii() else value.encode(errors="ignore").decode()
