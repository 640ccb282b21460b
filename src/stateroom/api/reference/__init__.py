"""`/docs`: a page that shows the OpenAPI document. It needs no files of other hosts, so it works offline."""

from __future__ import annotations

from importlib import resources

from aiohttp import web

from ..operations import operation

routes = web.RouteTableDef()

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@routes.get("/docs")
@operation("Show this document as a page", {200: "text/html"}, uses_session=False)
async def page(request: web.Request) -> web.Response:
    return _file("index.html", "text/html")


@routes.get("/docs/reference.js")
@operation("Get the script of /docs", {200: "text/javascript"}, uses_session=False)
async def script(request: web.Request) -> web.Response:
    return _file("reference.js", "text/javascript")


@routes.get("/docs/reference.css")
@operation("Get the style sheet of /docs", {200: "text/css"}, uses_session=False)
async def style(request: web.Request) -> web.Response:
    return _file("reference.css", "text/css")


def _file(name: str, kind: str) -> web.Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "Cross-Origin-Opener-Policy": "same-origin"}
    return web.Response(body=_FILES[name], content_type=kind, charset="utf-8", headers=headers)


_FILES = {name: (resources.files(__package__) / name).read_bytes() for name in ("index.html", "reference.js", "reference.css")}
