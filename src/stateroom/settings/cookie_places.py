"""Where browsers keep a cookie. They replace or delete it only under the same domain and path (RFC 6265, section 5.3).

After a change of `COOKIE_DOMAIN` or `COOKIE_PATH`, a browser keeps the former cookie beside the new one and sends both.
`COOKIE_FORMER` says where a former cookie may be.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from .lists import split_list
from .values import cookie_domain, cookie_path

MOST_FORMER = 8
"""Each place adds a header of about 130 bytes to a response. Proxies limit the headers of a response: nginx to 4 KiB."""
_PARTITIONED = "partitioned"


class CookiePlace(NamedTuple):
    """A domain (empty: this host only), a path, and whether each site with us in a frame has its own copy (CHIPS).

    https://datatracker.ietf.org/doc/draft-cutler-httpbis-partitioned-cookies/
    """

    domain: str
    path: str
    is_partitioned: bool = False

    def __str__(self) -> str:
        return f"{self.domain}{self.path}{' partitioned' if self.is_partitioned else ''}"


def parse_place(text: str) -> CookiePlace:
    """Read `example.com/app`, `example.com`, or `/app` for this host only. Each may end in ` partitioned`.

    Raises `ValueError` with the fix.
    """
    words = text.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1].lower() != _PARTITIONED):
        raise ValueError(f"{text!r} is not a domain and a path; write for example example.com/app, /app or / partitioned")
    domain, slash, path = words[0].partition("/")
    if domain and "." not in domain and not slash:
        raise ValueError(f"{text!r} is not a domain; write a path as /{domain}, or a domain such as example.com")
    if domain:
        domain = cookie_domain(domain).removeprefix(".").lower()
    return CookiePlace(domain, cookie_path(f"/{path}") if slash else "/", len(words) == 2)


def _former(value: object) -> object:
    parts = split_list(value)
    if not isinstance(parts, (tuple, list)):
        return parts
    places = tuple(parse_place(each) if isinstance(each, str) else CookiePlace(*each) for each in parts)
    if len(places) > MOST_FORMER:
        raise ValueError(f"must have at most {MOST_FORMER} places, because each makes responses longer; remove the oldest")
    return places


FormerCookies = Annotated[tuple[CookiePlace, ...], NoDecode, BeforeValidator(_former)]
