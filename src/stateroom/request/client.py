"""The client's address and origin, for handlers. Forwarding headers count only from `TRUSTED_PROXIES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request_session import get_request_session

if TYPE_CHECKING:
    from aiohttp import web


def client_address(request: web.Request) -> str | None:
    """The client's address; None on a unix socket. Raises `RuntimeError` as `get_session`, like the functions below."""
    return get_request_session(request).frontend.proxies.address(request)


def kept_address(request: web.Request) -> str:
    """The client's address in the form that `SESSION_ADDRESS` allows for sessions and logs; it may be empty."""
    return get_request_session(request).frontend.proxies.kept_address(request)


def forwarded(request: web.Request, name: str) -> str:
    """The header of this name if a trusted proxy has set it; otherwise an empty text."""
    return get_request_session(request).frontend.proxies.forwarded(request, name)


def browser_origin(request: web.Request) -> str:
    """`scheme://host[:port]` that the client uses, in lower case and without the default port."""
    return get_request_session(request).frontend.proxies.origin(request)
