"""Every error of the service as a problem document, whatever raised it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from ..errors import StateroomError, StoreUnavailable
from ..problems import REQUEST_ID, problem, problem_response

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

log = structlog.get_logger(__name__)

_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Location", "Set-Cookie", "Cache-Control")


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        slug = (answer.reason or "error").lower().replace(" ", "-")
        return problem(request, answer.status, slug, answer.reason, _detail(answer), headers=headers)
    except StateroomError as error:
        return problem_response(error, request)
    except TimeoutError:
        return problem_response(StoreUnavailable("a store did not answer in time", kind="timeout"), request)
    except Exception:
        log.exception("request_failed", request_id=request.get(REQUEST_ID, ""))
        return problem(request, 500, "internal-error", "Internal error", "the error is in the log under this request id")


def _detail(answer: web.HTTPException) -> str:
    match answer:
        case web.HTTPNotFound():
            return "there is nothing at this path"
        case web.HTTPMethodNotAllowed(method=method):
            return f"{method} is not allowed here"
        case web.HTTPRequestEntityTooLarge():
            return "the body is too large"
    return answer.reason
