"""The nginx example of docs/pages.md: a style sheet in the place of ours."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..documents import examples
from .shipped import nginx_command, started
from .test_ten_lines import listens


async def test_nginx_serves_another_style_sheet_in_the_place_of_ours(serving: Serving, tmp_path: Path) -> None:
    _, location = examples("pages.md", "nginx")
    sheet = tmp_path / "pages.css"
    sheet.write_text(":root { --accent: #604; }", encoding="utf-8")
    assert "/etc/brand/pages.css" in location
    port = free_port()
    upstream = f"location / {{ proxy_pass http://127.0.0.1:{serving.port}; }}"
    server = f"server {{ listen 127.0.0.1:{port};\n{location.replace('/etc/brand/pages.css', str(sheet))}\n{upstream} }}"
    async with started(nginx_command(tmp_path, server), tmp_path), aiohttp.ClientSession() as http:
        await until(lambda: listens(port), "nginx listens")
        async with http.get(f"http://127.0.0.1:{port}/login") as response:
            page = await response.text()
        assert 'href="/static/pages.css?v=' in page
        async with http.get(f"http://127.0.0.1:{port}/static/pages.css?v=1") as response:
            assert await response.text() == ":root { --accent: #604; }"
