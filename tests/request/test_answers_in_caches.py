"""No cache gives one visitor's answer, with the session's cookie, to another, whatever the handler said of caching."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import stateroom
from stateroom import SESSIONS, testing

from .conftest import OpenSite
from .sites import Browser, Site

PUBLIC = {"Cache-Control": "public, max-age=3600", "Surrogate-Control": "max-age=3600", "ETag": '"1"'}


async def page(request: web.Request) -> web.Response:
    return web.Response(text="page", headers=PUBLIC, status=int(request.query.get("status", "200")))


async def personal(request: web.Request) -> web.Response:
    user = stateroom.get_session(request).user_id
    return web.Response(text=str(user), headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, "ada")
    return web.Response(headers=PUBLIC)


async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.Response(headers=PUBLIC)


async def raised(request: web.Request) -> web.Response:
    raise web.HTTPNotFound(headers=PUBLIC)


def file_of(folder: Path) -> Handler:
    path = folder / "file.txt"
    path.write_text("0123456789")

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers=PUBLIC)

    return file


@web.middleware
async def all_public(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware outside of the sessions, which says the last word on caching."""
    answer = await handler(request)
    answer.headers["Cache-Control"] = "public, max-age=3600"
    return answer


async def cache_control(browser: Browser, site: Site, path: str, **headers: str) -> tuple[int, str, str | None, bool]:
    """Status, `Cache-Control`, `Vary`, and whether there is a cookie."""
    async with browser.session.get(site.url + path, headers=headers, allow_redirects=False) as response:
        found = response.headers
        assert "Set-Cookie" not in found or "Surrogate-Control" not in found
        return response.status, found["Cache-Control"], found.get("Vary"), "Set-Cookie" in found


def make_renewal_due(site: Site) -> None:
    testing.clock(site.app).move(seconds=61)


@pytest.mark.parametrize("path", ["/page", "/raised"])
async def test_an_answer_with_a_renewal_is_not_stored(open_site: OpenSite, path: str) -> None:
    site = await open_site(page, raised)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await cache_control(browser, site, path))[1::2] == ("public, max-age=3600", False)
    make_renewal_due(site)
    assert (await cache_control(browser, site, path))[1::2] == ("no-store", True)


async def test_an_outer_middleware_has_not_the_last_word(open_site: OpenSite) -> None:
    site = await open_site(page, outer=[all_public])
    browser = site.browser()
    await browser.post("/in/ada")
    make_renewal_due(site)
    assert (await cache_control(browser, site, "/page"))[1::2] == ("no-store", True)


@pytest.mark.parametrize("path", ["/sign_in", "/sign_out"])
async def test_an_answer_that_sets_or_clears_the_cookie_is_not_stored(open_site: OpenSite, path: str) -> None:
    site = await open_site(sign_in, sign_out)
    assert (await cache_control(site.browser(), site, path))[1::2] == ("no-store", True)


@pytest.mark.parametrize("status", [304, 206])
async def test_a_304_or_206_carries_no_renewal_and_the_next_answer_does(open_site: OpenSite, status: int) -> None:
    site = await open_site(page)
    browser = site.browser()
    await browser.post("/in/ada")
    make_renewal_due(site)
    assert (await cache_control(browser, site, f"/page?status={status}"))[::3] == (status, False)
    assert (await cache_control(browser, site, "/page"))[::3] == (200, True)


async def test_a_part_of_a_file_carries_no_renewal_and_the_whole_file_does(open_site: OpenSite, tmp_path: Path) -> None:
    site = await open_site(file_of(tmp_path))
    browser = site.browser()
    await browser.post("/in/ada")
    make_renewal_due(site)
    assert (await cache_control(browser, site, "/file", Range="bytes=0-3"))[::3] == (206, False)
    assert (await cache_control(browser, site, "/file", **{"If-None-Match": "*"}))[::3] == (304, False)
    assert (await cache_control(browser, site, "/file"))[::3] == (200, True)


async def test_an_answer_whose_handler_used_the_session_varies_by_cookie(open_site: OpenSite) -> None:
    site = await open_site(page, personal)
    browser = site.browser()
    await browser.post("/in/ada")
    assert (await cache_control(browser, site, "/personal"))[1:] == ("public, max-age=60", "Accept, Cookie", False)
    assert (await cache_control(site.browser(), site, "/personal"))[2] == "Accept, Cookie"
    assert (await cache_control(browser, site, "/page"))[2] is None


async def test_an_answer_to_a_bearer_is_private(open_site: OpenSite) -> None:
    site = await open_site(personal)
    manager = site.app[SESSIONS]
    bearer = manager.seal(await manager.create("ada"), "bearer")
    found = await cache_control(site.browser(), site, "/personal", Authorization=f"Bearer {bearer}")
    assert found[1].startswith("private")
