"""Reads and writes a sealed value: as the session cookie, or as a bearer (RFC 6265, RFC 6750).

The one cookie is taken from the header directly. Parsing all cookies through `request.cookies` costs more than asking
Redis does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from multidict import istr

from ..settings import CookiePlace
from .caching import keep_out_of_caches

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from multidict import CIMultiDict

    from ..settings import Settings
    from .proxies import Proxies

Transport = Literal["cookie", "bearer"]

_BEARER = "bearer "
_COOKIE, _AUTHORIZATION = istr("Cookie"), istr("Authorization")
_HOST_PREFIX = "__host-"  # browsers heed the prefixes in any case (RFC 6265bis, 4.1.3)
_AT_ONCE = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
_SOON = "Max-Age=1"
"""curl forgets with the next line that it has dropped a cookie, and takes it from its file again when it ends (7.88, lib/cookie.c,
`remove_expired` and `Curl_flush_cookies`). So all but the last are emptied, and gone in a second.
"""


class CookieJar:
    """Reads and writes the session cookie of one application, with its attributes.

    A browser that keeps one of our name at another domain or path sends both. `_former`: where it may have one, by the settings.
    `_elsewhere`: where it may have one by the attributes alone.
    """

    def __init__(self, settings: Settings, opens: Callable[[str], bool], proxies: Proxies) -> None:
        """`opens`: whether a bearer is one of ours. Behind a proxy that asks us, an application may have bearers of its own."""
        self._opens = opens
        self._proxies = proxies
        self.name = settings.session_name
        self._needle = f"{self.name}="
        self._samesite = settings.cookie_samesite
        self._is_secure = settings.is_cookie_secure
        # An embedded service is for plain http on this machine, until a request comes through a trusted proxy, or for an origin
        # of the settings that has https.
        self._may_turn_secure = settings.is_embedded and settings.cookie_secure is None
        domain, path = (settings.cookie_domain or "").removeprefix(".").lower(), settings.cookie_path
        self._place = place = CookiePlace(domain, path, settings.cookie_partitioned)
        # Also the copy from before COOKIE_PARTITIONED was set: a browser keeps the two apart.
        plain = CookiePlace(domain, path)
        self._former = [each for each in dict.fromkeys([plain, *settings.cookie_former]) if each != place]
        possible = [*self._former, *(CookiePlace(d, p) for d in ("", domain) for p in ("/", path))]
        forms = [CookiePlace(each.domain, each.path, is_partitioned) for each in possible for is_partitioned in (False, True)]
        self._elsewhere = [each for each in dict.fromkeys(forms) if each != place and self._is_possible(each)]

    def read_value(self, request: web.Request) -> tuple[str | list[str] | None, Transport]:
        """The sealed value of a request, if it has one, and how it came. A bearer of ours is preferred to the cookie.

        A list if it has several cookies of our name: `doubled_cookies.py` says which one counts.
        """
        if self._may_turn_secure and not self._is_secure and self._comes_from_outside(request):
            self._is_secure = True
        if _AUTHORIZATION in request.headers:
            value = read_bearer(request)
            if value is not None and self._opens(value):
                return value, "bearer"
        return find_cookies(request, self._needle), "cookie"

    def write(self, headers: CIMultiDict[str], value: str, *, max_age: int | None, everywhere: bool = False) -> None:
        """Set the cookie. Without `max_age` (seconds) it ends with the browser.

        The cookies of `COOKIE_FORMER` are dropped. `everywhere`: so is every other one that the attributes can name.
        """
        keep = "" if max_age is None else f"; Max-Age={max_age}"
        self._drop_others(headers, everywhere=everywhere)
        headers.add("Set-Cookie", f"{self._needle}{value}{keep}{self._attributes(self._place)}")
        keep_out_of_caches(headers)

    def clear(self, headers: CIMultiDict[str], *, everywhere: bool = False) -> None:
        """Have the browser drop the cookie, and the others as `write` does."""
        self._drop_others(headers, everywhere=everywhere)
        headers.add("Set-Cookie", f"{self._needle}; {_AT_ONCE}{self._attributes(self._place)}")
        keep_out_of_caches(headers)

    @property
    def is_secure(self) -> bool:
        """Whether cookies carry `Secure` now."""
        return self._is_secure

    @property
    def is_prefixed(self) -> bool:
        """Whether no other host can set a cookie of this name (`__Host-`: RFC 6265bis, section 4.1.3.2)."""
        return self.name.lower().startswith(_HOST_PREFIX)

    def _comes_from_outside(self, request: web.Request) -> bool:
        return self._proxies.is_by_trusted_proxy(request) or self._proxies.is_https_by_settings(request)

    def _is_possible(self, place: CookiePlace) -> bool:
        return not self.is_prefixed or (place.domain, place.path) == ("", "/")

    def _drop_others(self, headers: CIMultiDict[str], *, everywhere: bool) -> None:
        for place in self._elsewhere if everywhere else self._former:
            if self._is_secure or not place.is_partitioned:
                headers.add("Set-Cookie", f"{self._needle}; {_SOON}{self._attributes(place)}")

    def _attributes(self, place: CookiePlace) -> str:
        domain = f"; Domain={place.domain}" if place.domain else ""
        secure = "; Secure" if self._is_secure else ""
        partitioned = "; Partitioned" if place.is_partitioned else ""
        return f"; Path={place.path}{domain}; HttpOnly; SameSite={self._samesite}{secure}{partitioned}"


def read_cookie(request: web.Request, needle: str) -> str | None:
    """The value of one cookie. `needle`: its name and `=`.

    None if there is none, or more than one: a foreign site may have planted the other.
    """
    found = find_cookies(request, needle)
    return found if isinstance(found, str) else None


def find_cookies(request: web.Request, needle: str) -> str | list[str] | None:
    """The value of one cookie, or the values in their order if several have its name. None if there is none."""
    found: str | list[str] | None = None  # an empty one beside others is one that `CookieJar.write` drops
    for header in request.headers.getall(_COOKIE, ()):
        at = header.find(needle)
        while at >= 0:
            if at == 0 or _begins_pair(header, at):
                end = header.find(";", at)
                value = header[at + len(needle) : end if end >= 0 else None].strip()
                if not found:
                    found = value
                elif not value:
                    pass
                elif isinstance(found, str):
                    found = [found, value]
                else:
                    found.append(value)
            at = header.find(needle, at + len(needle))
    return found


def _begins_pair(header: str, at: int) -> bool:
    """Whether a cookie's name stands there, and not a word in the value of another cookie, in which browsers allow spaces.

    A sibling subdomain may set any value under a name that `__Host-` does not protect.
    """
    return header[:at].rstrip(" \t")[-1:] in {"", ";"}


def read_bearer(request: web.Request) -> str | None:
    """The value of `Authorization: Bearer …`."""
    header = request.headers.get(_AUTHORIZATION)
    if header is None or header[: len(_BEARER)].lower() != _BEARER:
        return None
    return header[len(_BEARER) :].strip()
