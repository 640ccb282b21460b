"""The only place that reads web origins: for settings, trusted proxies, the checks of `Origin`, and return addresses.

An origin is a scheme, a host and a port, as text `scheme://host[:port]` (RFC 6454, section 6.2). Browsers write it in lower case
and without the scheme's default port. Proxies and programs may write it differently, so both sides are compared in the form that
`plain_origin` returns. For browsers and their cookies a host with a trailing dot is another host, so it is another origin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_PORTS = {"http": 80, "https": 443}
_OF_SOCKETS = {"ws": "http", "wss": "https"}
"""For a WebSocket Traefik sends `ws` or `wss` in `X-Forwarded-Proto`. The page's origin has `http` or `https`:
https://doc.traefik.io/traefik/routing/entrypoints/#forwarded-headers"""
_PORT = re.compile(r":[0-9]+$")
_DEFAULT_ENDS = {scheme: f":{port}" for scheme, port in DEFAULT_PORTS.items()}


def origin_of(scheme: str, host: str) -> str:
    """The origin of a scheme and a host. The host may have a port, and an IPv6 address is in brackets."""
    scheme, host = scheme.lower(), host.lower()
    scheme = _OF_SOCKETS.get(scheme, scheme)
    return f"{scheme}://{host.removesuffix(_DEFAULT_ENDS.get(scheme, ':')).removesuffix(':')}"


def plain_origin(text: str) -> str:
    """An origin as browsers write it. A text that is not an origin is returned in lower case (`null`)."""
    scheme, separator, host = text.partition("://")
    return origin_of(scheme, host) if separator else text.lower()


def settled_origin(told: str, own: Iterable[str]) -> str:
    """The origin of `own` that has the told host, and the told port if one was told; else the told origin.

    In a row of proxies only the first one knows the scheme and the port, and the others may tell their own.
    """
    known_origins = list(own)
    if told in known_origins:
        return told
    host = told.partition("://")[2]
    for each in known_origins:
        scheme, _, known = each.partition("://")
        if scheme in DEFAULT_PORTS and (origin_of(scheme, host) == each or host == _PORT.sub("", known)):
            return each
    return told
