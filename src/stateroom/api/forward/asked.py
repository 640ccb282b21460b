"""Reads which request a proxy asks about: its method, its origin, its path. Only `TRUSTED_PROXIES` can tell.

Each proxy tells it in its own headers, and a client may send those of the others. So only one proxy's headers are read:
those of `FORWARD_AUTH_PROXY`, or of the proxy for which the called endpoint is. A value that is missing, invalid, or told twice
in different ways is left empty, and the access rules admit nobody then. So no redirect leads to an address of ours that
browsers do not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

from aiohttp import hdrs, web
from multidict import istr

from ... import SESSIONS
from ...accounts.access import Asked
from ...origins import plain_origin, settled_origin
from ...setup import PROXIES

Convention = Literal["nginx", "forwarded", "envoy"]
"""Whose headers are read: `X-Original-…`, `X-Forwarded-…`, or the call's own method and path."""

_CONVENTIONS: dict[str, Convention] = {
    "nginx": "nginx", "traefik": "forwarded", "caddy": "forwarded", "haproxy": "forwarded", "envoy": "envoy",
}  # fmt: skip
_URL_ASKED, _METHOD_ASKED = istr("X-Original-URL"), istr("X-Original-Method")
_PROTO, _HOST, _URI, _FORWARDED_METHOD = map(
    istr, ("X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method")
)
_MARKS: dict[Convention, istr] = {"nginx": _URL_ASKED, "forwarded": _PROTO, "envoy": _PROTO}
"""A header of each convention that has no value unless a trusted proxy has sent it."""
ORIGINS_REMEMBERED, URLS_REMEMBERED, LONGEST_REMEMBERED = 1024, 4096, 256
"""How many origins and URLs are kept, and how many characters such a URL may have, without its query: clients choose them."""
ENVOY_PREFIX = "/auth/ext-authz"
_URL = re.compile(r"((?:https?|wss?)://[^/?#]*)(/.*)?", re.IGNORECASE)
_ORIGIN = re.compile(r"(?:https?|wss?)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
LONGEST_ORIGIN = 300
"""A name of DNS has at most 253 characters (RFC 1035, section 2.3.4)."""
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


class AskedReader:
    """Reads which request the proxy of one application asks about."""

    def __init__(self, app: web.Application) -> None:
        settings = app[SESSIONS].settings
        proxy = settings.forward_auth_proxy
        self._configured: Convention | None = None if proxy is None else _CONVENTIONS[proxy]
        self._own_origins = settings.own_origins
        self._proxies = app[PROXIES]
        self._settled = lru_cache(ORIGINS_REMEMBERED)(self._settle)
        self._split = lru_cache(URLS_REMEMBERED)(self._split_url)
        self._readers: dict[Convention, Callable[[web.Request], tuple[str, str, str]]] = {
            "nginx": self._of_nginx, "forwarded": self._of_forwarded, "envoy": self._of_envoy,
        }  # fmt: skip

    def read(self, request: web.Request, by_endpoint: Convention) -> Asked:
        """What the proxy asks about. `by_endpoint`: whose headers are read if `FORWARD_AUTH_PROXY` is unset."""
        proxies = self._proxies
        if not proxies.accepts_headers(request):
            return Asked("", "", "", proxies.address(request))
        convention, address = self._configured or by_endpoint, proxies.told_address(request)
        method, origin, path = self._readers[convention](request)
        if not origin and not proxies.forwarded(request, _MARKS[convention]):  # the proxy tells nothing
            return Asked("", "", "", address)
        return Asked(method if method in _USUAL_METHODS or _METHOD.fullmatch(method) else "", origin, path, address)

    def _of_nginx(self, request: web.Request) -> tuple[str, str, str]:
        # At each request: the usual case, one value, is read here without a call.
        urls, methods = request.headers.getall(_URL_ASKED, ()), request.headers.getall(_METHOD_ASKED, ())
        url, mark, query = (urls[0].strip() if len(urls) == 1 else _agreed(urls)).partition("?")
        split = self._split if len(url) <= LONGEST_REMEMBERED else self._split_url
        origin, path = split(url)
        method = methods[0].strip() if len(methods) == 1 else _agreed(methods)
        return method, origin, f"{path}?{_ascii(query)}" if mark and path else path

    def _of_forwarded(self, request: web.Request) -> tuple[str, str, str]:
        origin = f"{_one(request, _PROTO)}://{_one(request, _HOST)}"
        return _one(request, _FORWARDED_METHOD), self._origin(origin), _path(_told(request, _URI))

    def _of_envoy(self, request: web.Request) -> tuple[str, str, str]:
        """Envoy calls us with the method and host of the request, and with its path behind ours."""
        scheme, hosts = _one(request, _PROTO), request.headers.getall(hdrs.HOST, ())
        if not scheme or len(hosts) != 1 or "path" not in request.match_info:
            return "", "", ""
        return request.method, self._origin(f"{scheme}://{hosts[0]}"), _path(request.raw_path.partition(ENVOY_PREFIX)[2])

    def _split_url(self, url: str) -> tuple[str, str]:
        """The origin and the path of a URL without its query."""
        found = _URL.fullmatch(url)
        return (self._origin(found[1]), _path(found[2] or "/")) if found else ("", "")

    def _origin(self, told: str) -> str:
        return self._settled(told) if len(told) <= LONGEST_ORIGIN else ""

    def _settle(self, origin: str) -> str:
        """The origin as browsers write it, or empty if it is none. In a row of proxies the settings know our own ones better."""
        return settled_origin(plain_origin(origin), self._own_origins) if _ORIGIN.fullmatch(origin) else ""


def _one(request: web.Request, name: istr) -> str:
    """The header's value, in which a comma separates what several proxies tell."""
    told = _told(request, name)
    if "," not in told:
        return told
    values = {each.strip() for each in told.split(",")}
    return values.pop() if len(values) == 1 else ""


def _told(request: web.Request, name: istr) -> str:
    """The value of a header. Empty if it is missing, or if several differ."""
    return _agreed(request.headers.getall(name, ()))


def _agreed(values: Sequence[str]) -> str:
    """The one value of a header. Empty if there is none, or if several differ."""
    return values[0].strip() if len(values) == 1 or (values and len(set(values)) == 1) else ""


def _path(told: str) -> str:
    return _ascii(told) if told.startswith("/") else ""


def _ascii(path: str) -> str:
    """The path with bytes that are not ASCII percent-encoded, as browsers send it."""
    return path if path.isascii() else quote(path.encode(errors="surrogateescape"), safe=_PRINTABLE)
