"""How a sealed value travels: in the session cookie, or as a bearer (RFC 6265, RFC 6750).

The one cookie is taken from the header directly. Parsing all cookies through `request.cookies` costs more than asking
Redis does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from multidict import istr

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


class CookieJar:
    """Reads and writes the session cookie of one application, with its attributes."""

    def __init__(self, settings: Settings, opens: Callable[[str], bool], proxies: Proxies) -> None:
        """`opens`: whether a bearer is one of ours. Behind a proxy that asks us, an application may have bearers of its own."""
        self._opens = opens
        self._proxies = proxies
        self.name = settings.session_name
        self._needle = f"{self.name}="
        attributes = f"; Path={settings.cookie_path}"
        if settings.cookie_domain:
            attributes += f"; Domain={settings.cookie_domain}"
        self._attributes = f"{attributes}; HttpOnly; SameSite={settings.cookie_samesite}"
        self._is_secure = settings.is_cookie_secure
        # An embedded service is for plain http on this machine, until a request comes through a trusted proxy.
        self._may_turn_secure = settings.is_embedded and settings.cookie_secure is None

    def read_value(self, request: web.Request) -> tuple[str | None, Transport]:
        """The sealed value of a request, if it has one, and how it came. A bearer of ours is preferred to the cookie."""
        if self._may_turn_secure and not self._is_secure and self._proxies.is_by_trusted_proxy(request):
            self._is_secure = True
        if _AUTHORIZATION in request.headers:
            value = read_bearer(request)
            if value is not None and self._opens(value):
                return value, "bearer"
        return read_cookie(request, self._needle), "cookie"

    def write(self, headers: CIMultiDict[str], value: str, *, max_age: int | None) -> None:
        """Set the cookie. Without `max_age` (seconds) it ends with the browser."""
        keep = "" if max_age is None else f"; Max-Age={max_age}"
        headers.add("Set-Cookie", f"{self._needle}{value}{keep}{self._tail}")
        keep_out_of_caches(headers)

    def clear(self, headers: CIMultiDict[str]) -> None:
        """Have the browser drop the cookie."""
        headers.add("Set-Cookie", f"{self._needle}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{self._tail}")
        keep_out_of_caches(headers)

    @property
    def is_secure(self) -> bool:
        """Whether cookies carry `Secure` now."""
        return self._is_secure

    @property
    def _tail(self) -> str:
        return f"{self._attributes}; Secure" if self._is_secure else self._attributes


def read_cookie(request: web.Request, needle: str) -> str | None:
    """The value of one cookie. `needle`: its name and `=`.

    None if there is none, or more than one: a foreign site may have planted the other.
    """
    found: str | None = None
    for header in request.headers.getall(_COOKIE, ()):
        at = header.find(needle)
        while at >= 0:
            if at == 0 or _begins_pair(header, at):
                if found is not None:
                    return None
                end = header.find(";", at)
                found = header[at + len(needle) : end if end >= 0 else None].strip()
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
