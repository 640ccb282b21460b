"""Errors as RFC 9457 problem documents.

Beside the standard members a document has `error`, a short plain string, for clients that look only there, and the
request's id. It says what the client can mend; nothing of the inside leaves with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from .errors import BadInput, SessionEnded, StateroomError, TooManyAttempts, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:stateroom:problem:"
CHALLENGE = 'Session realm="stateroom"'
"""RFC 9110 wants a challenge with 401; browsers show no dialog for a scheme that they don't know."""

REQUEST_ID = web.RequestKey("stateroom_request_id", str)


def problem_response(error: StateroomError, request: web.BaseRequest) -> web.Response:
    """The answer that an error means."""
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case BadInput(errors=errors) if errors:
            members["errors"] = [{"field": each.field, "message": each.message} for each in errors]
        case SessionEnded(reason=reason):
            members["reason"] = reason
        case TooManyAttempts(retry_after=seconds) | Unavailable(retry_after=seconds):
            headers["Retry-After"] = str(seconds)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = CHALLENGE
    detail = error.title if isinstance(error, Unavailable) else error.detail
    return problem(request, error.status, error.slug, error.title, detail, headers=headers, **members)


def problem(
    request: web.BaseRequest,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> web.Response:
    """A problem document of these words."""
    document = {
        "type": f"{TYPE_PREFIX}{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "error": title if status >= 500 else detail,
        "request_id": request.get(REQUEST_ID, ""),
        **members,
    }
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
