"""`stateroom healthcheck`: for containers that have no curl."""

from __future__ import annotations

import http.client

from ..settings import Settings

TIMEOUT_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (looked up, not bound)


def is_alive() -> bool:
    """Whether the service that these settings start answers `/livez`."""
    settings = Settings.load()
    connection = http.client.HTTPConnection(_ANY.get(settings.host, settings.host), settings.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
