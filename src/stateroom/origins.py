"""The only place that reads web origins: settings, trusted proxies, the checks of `Origin`, return addresses.

An origin is a scheme, a host and a port, as text `scheme://host[:port]` (RFC 6454, section 6.2). Browsers write it in lower case
and without the scheme's default port. Proxies and programs don't always, so both sides are compared as `plain_origin` writes them.
A host with a trailing dot is another host, for browsers and their cookies too. So it is another origin.
"""

from __future__ import annotations

DEFAULT_PORTS = {"http": 80, "https": 443}
_OF_SOCKETS = {"ws": "http", "wss": "https"}
"""Traefik says in `X-Forwarded-Proto` that a request opens a WebSocket. The page's origin has the scheme that carries it:
https://doc.traefik.io/traefik/routing/entrypoints/#forwarded-headers"""
_DEFAULT_ENDS = {scheme: f":{port}" for scheme, port in DEFAULT_PORTS.items()}


def origin_of(scheme: str, host: str) -> str:
    """The origin of a scheme and a host. The host may have a port, and an IPv6 address is in brackets."""
    scheme, host = scheme.lower(), host.lower()
    scheme = _OF_SOCKETS.get(scheme, scheme)
    return f"{scheme}://{host.removesuffix(_DEFAULT_ENDS.get(scheme, ':')).removesuffix(':')}"


def plain_origin(text: str) -> str:
    """An origin as browsers write it. A text that is none comes back in lower case: `null` is nobody's origin."""
    scheme, separator, host = text.partition("://")
    return origin_of(scheme, host) if separator else text.lower()
