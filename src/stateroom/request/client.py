"""What a handler may ask of the client: its address and origin, through trusted proxies only (`TRUSTED_PROXIES`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request_session import get_request_session

if TYPE_CHECKING:
    from aiohttp import web


def client_address(request: web.Request) -> str | None:
    """The client's address; None if it has none (a unix socket)."""
    return get_request_session(request).frontend.proxies.address(request)


def kept_address(request: web.Request) -> str:
    """The client's address as `SESSION_ADDRESS` lets sessions and logs keep it; may be empty."""
    return get_request_session(request).frontend.proxies.kept_address(request)


def forwarded(request: web.Request, name: str) -> str:
    """A header that a trusted proxy has set; empty if none has."""
    return get_request_session(request).frontend.proxies.forwarded(request, name)


def browser_origin(request: web.Request) -> str:
    """`scheme://host[:port]` under which the client uses us."""
    return get_request_session(request).frontend.proxies.origin(request)
