"""Gives each request its id, its metrics and its line in the access log."""

from __future__ import annotations

import os
import re
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from multidict import istr

from ..addresses import is_in, parse_client
from ..problems import REQUEST_ID
from ..ready import ReadyResponse
from .access import access_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp.typedefs import Handler, Middleware
    from aiohttp.web import AbstractRoute

    from ..ready import CommonLines
    from ..settings import Settings
    from .hot import Distribution, HotCount
    from .metrics import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "OTHER"
UNMATCHED = "unmatched"
REQUEST_ID_HEADER = istr("X-Request-ID")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")


def telemetry_middleware(settings: Settings, metrics: Metrics, common: CommonLines, labels: Mapping[str, str]) -> Middleware:
    """The outermost middleware. It accepts a request id only from a trusted proxy.

    `labels`: the label of each route that is not to be labelled with its own pattern.
    """
    new_id = _ids().__next__
    trusted = settings.trusted_proxies
    logs_access = settings.log_level in {"debug", "info"}
    log_line = access_line()
    has_exemplars = not metrics.is_shared  # the files that workers share cannot hold exemplars

    series: dict[tuple[str, AbstractRoute, int], tuple[HotCount, Distribution]] = {}

    def label_of(route: AbstractRoute) -> str:
        pattern = _pattern(route)
        return labels.get(pattern, pattern)

    def series_of(method: str, route: AbstractRoute, code: int) -> tuple[HotCount, Distribution]:
        label, pattern = method if method in METHODS else OTHER, label_of(route)
        found = metrics.http_requests[label, pattern, str(code)], metrics.http_request_duration[label, pattern]
        if label is method and route.resource is not None:  # clients cannot make many of these combinations
            series[method, route, code] = found
        return found

    def given_id(request: web.Request) -> str | None:
        given = request.headers.get(REQUEST_ID_HEADER)
        is_taken = given is not None and _REQUEST_ID.fullmatch(given) and is_in(parse_client(request.remote), trusted)
        return given if is_taken else None

    @web.middleware
    async def telemetry(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = perf_counter()
        request[REQUEST_ID] = own_id = (given_id(request) if trusted else None) or new_id()
        code = 500
        if logs_access:
            structlog.contextvars.bind_contextvars(request_id=own_id)
        try:
            response = await handler(request)
            if isinstance(response, ReadyResponse) and response.complete(request, f"X-Request-ID: {own_id}\r\n", common):
                code = 200
                return response
            code = response.status
            if not response.prepared:
                response.headers[REQUEST_ID_HEADER] = own_id
            return response
        except web.HTTPException as answer:
            code = answer.status
            answer.headers[REQUEST_ID_HEADER] = own_id
            raise
        finally:
            seconds = perf_counter() - began
            method, route = request.method, request.match_info.route
            total, duration = series.get((method, route, code)) or series_of(method, route, code)
            total.pending += 1
            if has_exemplars:
                duration.observe_request(seconds, own_id)
            else:
                duration.observe(seconds)
            if logs_access:
                log_line(method if method in METHODS else OTHER, label_of(route), code, seconds * 1000, own_id)

    return telemetry


def _pattern(route: AbstractRoute) -> str:
    """The route's pattern. Clients choose the path, so it would give labels without limit."""
    return UNMATCHED if route.resource is None else route.resource.canonical


def _ids() -> Iterator[str]:
    """Random ids without end. One system call gives 256 of them."""
    while True:
        block = os.urandom(16 * 256).hex()
        yield from (block[at : at + 32] for at in range(0, len(block), 32))
