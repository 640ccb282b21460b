"""`stateroom healthcheck`: asks the service whether it is alive. Containers need no curl for this."""

from __future__ import annotations

import http.client
import sys

from ..settings import Address, Settings

TIMEOUT_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (keys of a table; nothing is bound to them)


def is_alive() -> bool:
    """Whether the service with these settings responds to `/livez` with 200. If not, print one line on stderr."""
    settings = Settings.load()
    host = _ANY.get(settings.host, settings.host)
    url = f"http://{Address(host, settings.port)}/livez"
    connection = http.client.HTTPConnection(host, settings.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except TimeoutError:
        came = f"there was no response within {TIMEOUT_SECONDS:g} s"
    except OSError as error:
        came = (error.strerror or str(error)).lower()
    except http.client.HTTPException as error:
        came = f"the response is not HTTP ({type(error).__name__})"
    else:
        if status == 200:
            return True
        came = f"the response has status {status}"
    finally:
        connection.close()
    print(f"stateroom: GET {url}: {came}; check that the service runs, and that HOST and PORT are its own", file=sys.stderr)
    return False
