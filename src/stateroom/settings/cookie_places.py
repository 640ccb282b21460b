"""Where browsers keep a cookie: a cookie is replaced or deleted only under the same domain and path (RFC 6265, section 5.3).

After a change of `COOKIE_DOMAIN` or `COOKIE_PATH` browsers keep the cookie of before beside the new one, and send both.
`COOKIE_FORMER` says where it may be.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from .lists import split_list
from .values import cookie_domain, cookie_path

MOST_FORMER = 8
"""Each one is a header line of some 130 bytes, and proxies bound the headers of an answer: nginx to 4 KiB."""
_PARTITIONED = "partitioned"


class CookiePlace(NamedTuple):
    """A domain, empty for the host alone; a path; and whether each site that frames us has a copy of its own (CHIPS).

    https://datatracker.ietf.org/doc/draft-cutler-httpbis-partitioned-cookies/
    """

    domain: str
    path: str
    is_partitioned: bool = False

    def __str__(self) -> str:
        return f"{self.domain}{self.path}{' partitioned' if self.is_partitioned else ''}"


def parse_place(text: str) -> CookiePlace:
    """Read `example.com/app`, `example.com`, `/app` for the host alone, each with ` partitioned` or without.

    Raises `ValueError` with the fix.
    """
    words = text.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1].lower() != _PARTITIONED):
        raise ValueError(f"{text!r} is no place of a cookie; write for example example.com/app, /app or / partitioned")
    domain, slash, path = words[0].partition("/")
    if domain and "." not in domain and not slash:
        raise ValueError(f"{text!r} is no domain; write a path as /{domain}, or a domain such as example.com")
    if domain:
        domain = cookie_domain(domain).removeprefix(".").lower()
    return CookiePlace(domain, cookie_path(f"/{path}") if slash else "/", len(words) == 2)


def _former(value: object) -> object:
    parts = split_list(value)
    if not isinstance(parts, (tuple, list)):
        return parts
    places = tuple(parse_place(each) if isinstance(each, str) else CookiePlace(*each) for each in parts)
    if len(places) > MOST_FORMER:
        raise ValueError(f"must be {MOST_FORMER} places at most: each makes answers longer; remove those that no browser has now")
    return places


FormerCookies = Annotated[tuple[CookiePlace, ...], NoDecode, BeforeValidator(_former)]
