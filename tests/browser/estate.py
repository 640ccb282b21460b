"""A sign-in on one host and an application on another, behind nginx with TLS and the shipped configuration."""

from __future__ import annotations

import contextlib
import html
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom.drills.node import Node, until
from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Serving
from ..proxies.shipped import APPLICATION, PROXY, SHIPPED, STATEROOM, moved, nginx_command, started, with_host

AUTH, APP = "auth.example.com", "app.example.com"
FRESH_SECONDS = 8
RULES = f"""
- name: the office
  hosts: [{APP}]
  paths: [/office, "/office/*"]
  allow: {{groups: [staff]}}
- name: the till
  hosts: [{APP}]
  paths: [/till]
  allow: signed-in
  need: {{fresh: {FRESH_SECONDS}s}}
- name: notes
  hosts: [{APP}]
  allow: signed-in
"""


@dataclass
class Estate:
    """The addresses of the sign-in and of the application, and what the application was sent."""

    auth: str
    app: str
    saved: list[str]
    hosts: frozenset[str]


@contextlib.asynccontextmanager
async def built(folder: Path, node: Node, login: str) -> AsyncIterator[Estate]:
    """Start everything. `login`: `LOGIN_URL`, in which `{auth}` stands for the address of the sign-in."""
    folder.mkdir()
    port, saved = free_port(), list[str]()
    estate = Estate(f"https://{AUTH}:{port}", f"https://{APP}:{port}", saved, frozenset({f"{AUTH}:{port}", f"{APP}:{port}"}))
    rules = folder / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    async with contextlib.AsyncExitStack() as stack:
        application = await stack.enter_async_context(TestServer(_application(saved)))
        service = stack.enter_context(
            Serving(
                folder,
                REDIS_HOST=node.host,
                REDIS_PORT=node.port,
                REDIS_KEY_PREFIX=folder.name,
                COOKIE_KEYS=new_key(),
                COOKIE_DOMAIN="example.com",
                PASSWORD_BLOCKLIST="off",
                TRUSTED_PROXIES="127.0.0.1/32",
                PUBLIC_ORIGINS=f"{estate.auth}, {estate.app}",
                RETURN_HOSTS=APP,
                LOGIN_URL=login.format(auth=estate.auth),
                FORWARD_AUTH_PROXY="nginx",
                ACCESS_RULES_FILE=rules,
            )
        )
        ports = {STATEROOM: service.port, APPLICATION: application.port or 0, PROXY: port}
        process = await stack.enter_async_context(started(nginx_command(folder, _configured(folder, ports)), folder))

        async def listens() -> bool:
            assert process.returncode is None, (folder / "log").read_text()
            return (folder / "pid").exists()

        await until(listens, "nginx listens")
        yield estate


def _configured(folder: Path, ports: dict[int, int]) -> str:
    """The shipped configuration for the application with TLS added, and the host of the sign-in, as docs/pages.md describes it."""
    certificate = trustme.CA().issue_cert("*.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    shipped = with_host((SHIPPED / "nginx.conf").read_text(encoding="utf-8"), APP)
    shipped = moved(shipped, ports).replace("/var/log/nginx", str(folder))
    listen = f"listen 127.0.0.1:{ports[PROXY]}"
    assert f"{listen};" in shipped
    (folder / "nginx.conf").write_text(shipped.replace(f"{listen};", f"{listen} ssl;"), encoding="utf-8")
    return f"""
        ssl_certificate {folder}/tls.pem;
        ssl_certificate_key {folder}/tls.pem;
        include {folder}/nginx.conf;
        server {{
            {listen} ssl;
            server_name {AUTH};
            location / {{
                proxy_pass http://stateroom;
                proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-Proto $scheme;
                proxy_set_header X-Forwarded-Host $http_host;
                proxy_set_header X-Forwarded-For $remote_addr;
            }}
        }}
    """


def _application(saved: list[str]) -> web.Application:
    """Notes with a form, and other pages that say their path."""

    async def page(request: web.Request) -> web.Response:
        who = html.escape(request.headers.get("Remote-Name", "nobody"))
        form = '<form method="post" action="/save"><input name="note"><button>Save</button></form>' if request.path == "/" else ""
        text = f"<!doctype html><title>Application</title><h1>{request.path}</h1><p>Hello {who}</p>{form}"
        return web.Response(text=text, content_type="text/html")

    async def save(request: web.Request) -> web.Response:
        saved.append(str((await request.post())["note"]))
        raise web.HTTPSeeOther("/saved")

    app = web.Application()
    app.router.add_post("/save", save)
    app.router.add_get("/favicon.ico", _no_icon)
    app.router.add_get("/{path:.*}", page)
    return app


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)
