"""Turns errors into RFC 9457 problem documents.

Besides the standard members, a document has `error`, a short text for clients that read only this member. In the service
it also has the request's id. `detail` says what happened and, after a semicolon, what the client can do. `error` is the part
before that. A document reveals nothing about the inside of the service.
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
"""RFC 9110 requires a challenge in a 401. Browsers show no dialog for a scheme that they do not know."""

REQUEST_ID = web.RequestKey("stateroom_request_id", str)


def problem_response(error: StateroomError, request: web.BaseRequest) -> web.Response:
    """The response for an error. The detail of an `Unavailable` is left out, because it names our servers."""
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    detail, short = error.detail, None
    match error:
        case BadInput(errors=errors) if errors:
            members["errors"] = [{"field": each.field, "message": each.message} for each in errors]
            short, detail = error.detail, f"these fields are invalid: {', '.join(each.field for each in errors)}"
        case SessionEnded(reason=reason):
            members["reason"] = reason
        case TooManyAttempts(retry_after=seconds) | Unavailable(retry_after=seconds):
            headers["Retry-After"] = str(seconds)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, Unavailable):
        detail = "; ".join([error.title, *([error.advice] if error.advice else []), f"try again in {error.retry_after} s"])
    elif error.advice and "; " not in detail:
        detail = f"{detail}; {error.advice}"
    return problem(request, error.status, error.slug, error.title, detail, short=short, headers=headers, **members)


def problem(
    request: web.BaseRequest,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    short: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> web.Response:
    """A problem document with these words. No cache may keep it.

    `short`: the member `error`. By default the title if the status is 500 or more, otherwise the detail up to a semicolon.
    """
    own_id = request.get(REQUEST_ID)  # the service's requests have one; an application's do not
    document = {
        "type": f"{TYPE_PREFIX}{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "error": short or (title if status >= 500 else detail.partition("; ")[0]),
        **({} if own_id is None else {"request_id": own_id}),
        **members,
    }
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
