"""`stateroom serve` without the metrics of requests and commands. `bench.instrumentation` compares the service with it."""

from __future__ import annotations

import os
import random
from typing import Any

from aiohttp import web

import stateroom.app
from stateroom.backend.server import ServerClient
from stateroom.problems import REQUEST_ID
from stateroom.ready import CommonLines, ReadyResponse
from stateroom.serving import process
from stateroom.settings import Settings
from stateroom.telemetry.hot import HotCount
from stateroom.telemetry.requests import REQUEST_ID_HEADER

new_id = random.Random(os.urandom(16)).getrandbits


def only_ids(settings: Settings, metrics: object, common: CommonLines) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        request[REQUEST_ID] = own_id = f"{new_id(128):032x}"
        response: web.StreamResponse = await handler(request)
        if not (isinstance(response, ReadyResponse) and response.complete(request, f"X-Request-ID: {own_id}\r\n", common)):
            response.headers[REQUEST_ID_HEADER] = own_id
        return response

    return middleware


stateroom.app.telemetry_middleware = only_ids
HotCount.inc = lambda _: None  # type: ignore[method-assign]
ServerClient._observe = None  # type: ignore[assignment,method-assign]  # noqa: SLF001
process.run(Settings.load())
