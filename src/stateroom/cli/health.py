"""`stateroom healthcheck`: asks the service whether it is alive. Containers need no curl for this."""

from __future__ import annotations

import http.client

from ..settings import Settings

TIMEOUT_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (keys of a table; nothing is bound to them)


def is_alive() -> bool:
    """Whether the service with these settings answers `/livez` with 200."""
    settings = Settings.load()
    connection = http.client.HTTPConnection(_ANY.get(settings.host, settings.host), settings.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
