"""Reads which request a proxy asks about: its method, its origin, its path. Only `TRUSTED_PROXIES` can tell.

Each proxy tells it in its own headers, and a client may send those of the others. So only one proxy's headers are read:
those of `FORWARD_AUTH_PROXY`, or of the proxy for which the called endpoint is. A value that is missing, invalid, or told twice
in different ways is left empty, and the access rules admit nobody then. So no redirect leads to an address of ours that
browsers do not know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from ... import SESSIONS, client_address, forwarded
from ...accounts.access import Asked
from ...origins import plain_origin, settled_origin

if TYPE_CHECKING:
    from aiohttp import web

Convention = Literal["nginx", "forwarded", "envoy"]
"""Whose headers are read: `X-Original-…`, `X-Forwarded-…`, or the call's own method and path."""

_CONVENTIONS: dict[str, Convention] = {
    "nginx": "nginx", "traefik": "forwarded", "caddy": "forwarded", "haproxy": "forwarded", "envoy": "envoy",
}  # fmt: skip
ENVOY_PREFIX = "/auth/ext-authz"
_URL = re.compile(r"((?:https?|wss?)://[^/?#]*)(/.*)?", re.IGNORECASE)
_ORIGIN = re.compile(r"(?:https?|wss?)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


def read_asked(request: web.Request, by_endpoint: Convention) -> Asked:
    """What the proxy asks about. `by_endpoint`: whose headers are read if `FORWARD_AUTH_PROXY` is unset."""
    settings = request.app[SESSIONS].settings
    proxy = settings.forward_auth_proxy
    match by_endpoint if proxy is None else _CONVENTIONS[proxy]:
        case "nginx":
            method, origin, path = _of_nginx(request)
        case "envoy":
            method, origin, path = _of_envoy(request)
        case _:
            method, origin, path = _of_forwarded(request)
    return Asked(
        method if _METHOD.fullmatch(method) else "",
        settled_origin(plain_origin(origin), settings.own_origins) if _ORIGIN.fullmatch(origin) else "",
        _ascii(path) if path.startswith("/") else "",
        client_address(request),
    )


def is_complete(asked: Asked) -> bool:
    """Whether the proxy has told everything that the access rules need."""
    return bool(asked.method and asked.origin and asked.path)


def _of_nginx(request: web.Request) -> tuple[str, str, str]:
    found = _URL.fullmatch(_told(request, "X-Original-URL"))
    method = _told(request, "X-Original-Method")
    return (method, found[1], found[2] or "/") if found else (method, "", "")


def _of_forwarded(request: web.Request) -> tuple[str, str, str]:
    origin = f"{_one(request, 'X-Forwarded-Proto')}://{_one(request, 'X-Forwarded-Host')}"
    return _one(request, "X-Forwarded-Method"), origin, _told(request, "X-Forwarded-Uri")


def _of_envoy(request: web.Request) -> tuple[str, str, str]:
    """Envoy calls us with the method and host of the request, and with its path behind ours."""
    scheme, hosts = _one(request, "X-Forwarded-Proto"), list(request.headers.getall("Host", ()))
    if not scheme or len(hosts) != 1 or "path" not in request.match_info:
        return "", "", ""
    return request.method, f"{scheme}://{hosts[0]}", request.raw_path.partition(ENVOY_PREFIX)[2]


def _one(request: web.Request, name: str) -> str:
    """The header's value, in which a comma separates what several proxies tell."""
    told = _told(request, name)
    if "," not in told:
        return told
    values = {each.strip() for each in told.split(",")}
    return values.pop() if len(values) == 1 else ""


def _told(request: web.Request, name: str) -> str:
    """The header's value. Empty if it is missing, if several differ, or if no trusted proxy has sent it."""
    told = forwarded(request, name)
    values = list(request.headers.getall(name, ()))
    return values[0].strip() if told and len(set(values)) == 1 else ""


def _ascii(path: str) -> str:
    """The path with bytes that are not ASCII percent-encoded, as browsers send it."""
    return path if path.isascii() else quote(path.encode(errors="surrogateescape"), safe=_PRINTABLE)
