"""The nginx example of docs/accounts.md: the access log has no token of a mailed link."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..documents import examples
from .shipped import nginx_command, started
from .test_ten_lines import listens


async def test_nginx_logs_the_pages_of_mailed_links_without_their_tokens(serving: Serving, tmp_path: Path) -> None:
    [example] = examples("accounts.md", "nginx")
    log, port = tmp_path / "own.log", free_port()
    log_format, access_log = example.replace("/var/log/nginx/access.log", str(log)).splitlines()
    # In the block http of the test, the log is off.
    server = f"server {{ {access_log} listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{serving.port}; }} }}"
    configuration = f"{log_format}\n{server}"
    async with started(nginx_command(tmp_path, configuration), tmp_path), aiohttp.ClientSession() as http:
        await until(lambda: listens(port), "nginx listens")
        for page in ("verify", "reset", "invitation"):
            async with http.get(f"http://127.0.0.1:{port}/{page}?token=A-secret") as response:
                await response.read()
        await until(lambda: has_lines(log, 3), "nginx has logged the requests")
    text = log.read_text(encoding="utf-8")
    for page in ("verify", "reset", "invitation"):
        assert f'"GET /{page} HTTP/1.1"' in text
    assert "A-secret" not in text


async def has_lines(log: Path, count: int) -> bool:
    return len(log.read_text(encoding="utf-8").splitlines()) >= count
