"""`/metrics`, only for Prometheus.

On the public listener it answers clients that have `METRICS_TOKEN`, and loopback peers whose request came through no proxy
and names this machine as its host. Under the path of `PUBLIC_URL`, which a proxy publishes, the token is required. With a listener
of its own (`METRICS_HOST`, `METRICS_PORT`) it answers every client of that listener. If that listener is on loopback, a request
must name this machine there too. Otherwise a page under a foreign name that resolves to 127.0.0.1 (DNS rebinding) could read the
metrics through a browser on this machine.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from .. import METRICS, is_forwarded
from ..addresses import host_of, is_loopback, is_loopback_name
from ..errors import NotFound
from ..setup import FILES, SETTINGS
from .mounts import split_path
from .operations import operation

if TYPE_CHECKING:
    from .. import Settings


routes = web.RouteTableDef()


@routes.get("/metrics")
@operation("Show metrics for Prometheus", {200: "text/plain"}, 404, uses_session=False)
async def public_metrics(request: web.Request) -> web.Response:
    if not _may_read(request, request.app[FILES].settings):
        raise NotFound("there is nothing at this path")
    return await metrics(request)


async def own_metrics(request: web.Request) -> web.Response:
    """`/metrics` on a listener of its own. A request without `Host` (HTTP/1.0) does not come from a browser."""
    settings = request.config_dict[SETTINGS]
    host = request.headers.get("Host")
    if is_loopback_name(settings.metrics_host or "") and host is not None and not is_loopback_name(host_of(host)):
        raise web.HTTPNotFound
    return await metrics(request)


async def metrics(request: web.Request) -> web.Response:
    """The figures in Prometheus' text format, or in OpenMetrics if the client asks for it."""
    own = request.config_dict[METRICS]
    try:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    except TypeError:  # prometheus-client raises it for a version that is not a number
        encode, content_type = choose_encoder("")
    if own.is_shared:
        own.refresh()
        # Each worker has its own files. They are read in a thread, so that the event loop goes on.
        body = await asyncio.to_thread(encode, own.scraped)
    else:
        body = encode(own.scraped)
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def _may_read(request: web.Request, settings: Settings) -> bool:
    token = settings.metrics_token
    if token is not None:
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {token.get_secret_value()}".encode()):
            return True
    return (
        settings.metrics_port is None
        and not split_path(request)[0]
        and not is_forwarded(request)
        and is_loopback(request.remote)
        and is_loopback_name(host_of(request.headers.get("Host", "")))
    )
