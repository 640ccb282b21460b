"""Turns every error of the service into a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import BadInput, NotFound, StateroomError, StoreUnavailable
from ..logs import get_logger
from ..problems import CONTENT_TYPE, REQUEST_ID, problem, problem_response
from .bodies import BODY_SECONDS, MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

log = get_logger(__name__)

_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Location", "Set-Cookie", "Cache-Control", "Accept")


_SLUGS = {413: "request-entity-too-large"}
"""Python 3.13 has another phrase for this status."""


def problems_middleware(present: Callable[[web.Request, web.Response], Awaitable[web.Response]]) -> Middleware:
    """The middleware. `present` turns a problem document into the response that the client gets."""

    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
            if response.status < 400 or not isinstance(response, web.Response) or response.content_type != CONTENT_TYPE:
                return response
        except web.HTTPException as answer:
            if answer.status < 400:
                raise
            response = _of_answer(request, answer)
        except StateroomError as error:
            response = problem_response(error, request)
        except TimeoutError:
            response = problem_response(StoreUnavailable("a store did not answer in time", kind="timeout"), request)
        except Exception:
            log.exception("request_failed", request_id=request.get(REQUEST_ID, ""))
            response = problem(
                request,
                500,
                "internal-error",
                "Internal error",
                "the service failed; tell its administrator the request_id, under which the log has the error",
            )
        return await present(request, response)

    return problems


def slug_of(answer: web.HTTPException) -> str:
    """The problem type of one of aiohttp's errors: its reason phrase in lower case, with hyphens."""
    return _SLUGS.get(answer.status) or (answer.reason or "error").lower().replace(" ", "-")


def _of_answer(request: web.Request, answer: web.HTTPException) -> web.Response:
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    return problem(request, answer.status, slug_of(answer), answer.reason, _detail(answer), headers=headers)


def _detail(answer: web.HTTPException) -> str:
    match answer:
        case web.HTTPNotFound():
            return f"there is nothing at this path; {NotFound.advice}"
        case web.HTTPMethodNotAllowed(method=method):
            return f"{method} is not allowed at this path; the header Allow lists the allowed methods"
        case web.HTTPRequestEntityTooLarge():
            return f"the body is too large; send at most {MAX_BODY_BYTES // 1024} KiB"
        case web.HTTPRequestTimeout():
            return f"the body did not arrive in time; send the whole body within {BODY_SECONDS:g} s"
        case web.HTTPUnsupportedMediaType():
            return f"the body's media type is not accepted; send {answer.headers.get('Accept', 'another')}"
    return f"{answer.reason}; {BadInput.advice}"
