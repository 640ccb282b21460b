"""`/static/…`: the pages' style, script and icon. Each address contains a hash of the content, so browsers may keep the files."""

from __future__ import annotations

import hashlib
from importlib import resources

from aiohttp import web

from .. import background
from ..api.verified import open_to_unverified

routes = web.RouteTableDef()

KINDS = {"pages.css": "text/css", "pages.js": "text/javascript", "icon.svg": "image/svg+xml"}
KEPT, ASKED_AGAIN = "public, max-age=31536000, immutable", "no-cache"

_FILES = {name: (resources.files(__package__) / "static" / name).read_bytes() for name in KINDS}
_VERSIONS = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in _FILES.items()}


def static_url(name: str) -> str:
    """The address of a file. It changes when the file's content changes."""
    return f"/static/{name}?v={_VERSIONS[name]}"


@routes.get("/static/{name}")
@open_to_unverified
@background  # no renewed cookie, because caches store this response
async def static_file(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _FILES:
        raise web.HTTPNotFound
    version = _VERSIONS[name]
    keep = KEPT if request.query.get("v") == version else ASKED_AGAIN
    if any(tag.value in {version, "*"} for tag in request.if_none_match or ()):
        response = web.Response(status=304, headers={"Cache-Control": keep})
    else:
        response = web.Response(body=_FILES[name], content_type=KINDS[name], charset="utf-8", headers={"Cache-Control": keep})
    response.etag = version
    return response
