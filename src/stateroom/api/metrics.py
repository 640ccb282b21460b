"""`/metrics`, only for Prometheus.

It has a listener of its own (`METRICS_HOST`, `METRICS_PORT`) unless the public one is on a loopback address; there it
answers every client. On the public listener it answers clients that have `METRICS_TOKEN`. If there is no other listener, it
also answers loopback peers whose request came through no proxy and under a loopback name: a page of another site can lead
its own name to 127.0.0.1 (DNS rebinding), and a proxy on this host may set no forwarding header.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from .. import METRICS, SESSIONS, is_forwarded
from ..addresses import is_loopback
from ..errors import NotFound
from .operations import operation

if TYPE_CHECKING:
    from .. import Settings


routes = web.RouteTableDef()


@routes.get("/metrics")
@operation("Metrics for Prometheus", {200: "text/plain"}, 404, uses_session=False)
async def public_metrics(request: web.Request) -> web.Response:
    if not _may_read(request, request.app[SESSIONS].settings):
        raise NotFound("there is nothing at this path")
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
    is_ours = settings.metrics_port is None and is_loopback(request.remote)
    return is_ours and not is_forwarded(request) and _is_loopback_name(request)


def _is_loopback_name(request: web.Request) -> bool:
    name = request.url.host  # without the port; a Host that is no host name is None
    return name == "localhost" or is_loopback(name)
