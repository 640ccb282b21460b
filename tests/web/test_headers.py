"""The security headers of the pages, and which answers browsers may cache."""

from __future__ import annotations

import pytest

from stateroom import testing

from ..conftest import ServiceClient
from .visitor import Visitor

PAGES = [
    "/login", "/register", "/account", "/forgot", "/reset?token=x", "/verify?token=x", "/invitation?token=x", "/invitation",
    "/no/such/page", "/logout", "/confirm", "/denied", "/not-sent",
]  # fmt: skip
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
    "base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'self'",
}  # fmt: skip


@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "signed in"])
async def test_pages_are_kept_nowhere_and_run_nothing_inline(visitor: Visitor, *, signed_in: bool) -> None:
    if signed_in:
        await visitor.register()
    for path in PAGES:
        page = await visitor.open(path)
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        policy = dict(each.split(" ", 1) for each in page.headers["Content-Security-Policy"].split("; "))
        assert policy == POLICY
        assert all(each.get("src") and not each.text for each in page.all("script"))
        assert not page.all("style")
        for each in page.elements:
            assert not any(name == "style" or name.startswith("on") for name in each.attributes)
            assert all(each.get(name).startswith(("/", "#")) for name in ("src", "href", "action") if each.get(name))


@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "signed in"])
async def test_pages_have_what_screen_readers_go_by(visitor: Visitor, *, signed_in: bool) -> None:
    if signed_in:
        await visitor.register()
    for path in PAGES:
        page = await visitor.open(path)
        assert page.only("html").get("lang") == "en"
        assert page.title.endswith(" · Stateroom")
        assert len(page.all("h1")) == 1
        assert page.by_id("main").tag == "main"
        labelled = {each.get("for") for each in page.all("label")}
        for each in page.all("input"):
            assert each.get("type") == "hidden" or "hidden" in each.attributes or each.get("id") in labelled


async def test_files_are_kept_by_what_is_in_them(service: ServiceClient, visitor: Visitor) -> None:
    page = await visitor.open("/login")
    for url in [each.get("href") for each in page.all("link")] + [each.get("src") for each in page.all("script")]:
        async with service.get(url) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            etag = response.headers["ETag"]
        plain = url.partition("?")[0]
        for other in (plain, f"{plain}?v=older"):
            async with service.get(other) as response:
                assert response.headers["Cache-Control"] == "no-cache"
        async with service.get(plain, headers={"If-None-Match": f'"x", {etag}'}) as response:
            assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)


async def test_a_session_that_is_due_is_renewed_with_a_page_and_never_with_a_file(service: ServiceClient) -> None:
    assert service.app is not None
    await testing.sign_in_as(service, 1)
    testing.clock(service.app).move(minutes=10)
    async with service.get("/static/pages.css") as response:
        assert "Set-Cookie" not in response.headers
    async with service.get("/login", allow_redirects=False) as response:
        assert "Set-Cookie" in response.headers
        assert response.headers["Cache-Control"] == "no-store"
