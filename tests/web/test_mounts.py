"""The pages under a prefix: everything that a page leads to keeps the prefix by which the page was opened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from stateroom import Settings, testing
from stateroom.settings.values import TRACE_COOKIE
from stateroom.web.static_files import KINDS

from ..conftest import ServiceClient
from ..servers import Servers
from .links import link
from .visitor import SAFARI, Page, Visitor

SSO, OWN = "/sso", "/.stateroom"
ADA = "ada@example.com"
PASSWORD = "correct horse"
ADDRESSES = {"a": "href", "link": "href", "script": "src", "img": "src", "form": "action"}


class VisitorUnder(Visitor):
    """A browser that opens our pages under one prefix, and checks that no page leads out of it. `assets`: the pages' files."""

    def __init__(self, client: ServiceClient, prefix: str, **options: Any) -> None:
        super().__init__(client, **options)
        self.prefix = prefix
        self.assets = set[str]()

    async def open(self, path: str, **headers: str) -> Page:
        return await super().open(f"{self.prefix}{path}", **headers)

    async def request(self, method: str, path: str, **options: Any) -> Page:
        page = await super().request(method, path, **options)
        assert self.is_inside(page.path), f"{path} has led to {page.path}"
        addresses = [each.get(ADDRESSES[each.tag]) for each in page.elements if each.tag in ADDRESSES]
        assert [each for each in addresses if not each.startswith("#") and not self.is_inside(each)] == []
        assert all(self.is_inside(each.get("data-back")) for each in page.all("body") if each.get("data-back"))
        self.assets |= {each for each in addresses if "/static/" in each}
        return page

    def is_inside(self, path: str) -> bool:
        others = [each for each in (SSO, OWN) if each != self.prefix]
        return path.startswith(f"{self.prefix}/") and not path.startswith(tuple(others))


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    """A service that must send mails, so that it has every page."""
    return servers.service_settings(
        tmp_path,
        public_url=f"http://127.0.0.1{SSO}",
        public_origins="",
        mail_url=f"file:{tmp_path}/mails",
        mail_from="a@example.com",
        email_verification="required",
        return_hosts="app.example.com",
    )


@pytest.fixture(params=["", SSO, OWN], ids=["root", "path of PUBLIC_URL", "own prefix"])
def prefix(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture
async def ada(service: ServiceClient, prefix: str) -> AsyncIterator[VisitorUnder]:
    async with VisitorUnder(service, prefix) as somebody:
        yield somebody


@pytest.fixture
async def phone(service: ServiceClient, prefix: str) -> AsyncIterator[VisitorUnder]:
    async with VisitorUnder(service, prefix, user_agent=SAFARI) as somebody:
        yield somebody


async def test_from_the_registration_to_the_sign_out(
    ada: VisitorUnder, phone: VisitorUnder, service: ServiceClient, prefix: str
) -> None:
    assert service.app is not None
    assert (await ada.open("/")).path == f"{prefix}/login"
    assert (await ada.register()).only("h1").text == "Check your mail"
    page = await ada.sign_in()
    assert (page.path, page.only("h1").text) == (f"{prefix}/verify", "Confirm your email address")
    assert (await ada.open("/account")).path == f"{prefix}/verify"
    assert (await ada.send("Change address", email="", password=PASSWORD)).errors
    await ada.open(await link(service.app, "verify", ADA))
    page = await ada.send("Confirm this address")
    assert (page.path, page.only("h1").text) == (f"{prefix}/account", "Your account")
    assert (await ada.send("Change password", current_password="wrong", new_password="another horse")).errors
    page = await ada.open("/login?rd=https://app.example.com/", Cookie=f"{TRACE_COOKIE}=1")
    assert page.only("h1").text == "You're not signed in at the other address"
    await phone.sign_in()
    testing.clock(service.app).move(minutes=20)
    await ada.open("/account")
    assert (await ada.send("Sign out Mobile Safari on iOS")).only("h1").text == "Enter your password again"
    page = await ada.send("Sign out the device", current_password=PASSWORD)
    assert (page.path, page.all("h3")[1:]) == (f"{prefix}/account", [])
    assert (await phone.open("/account")).path == f"{prefix}/login"
    await ada.send("Change password", current_password=PASSWORD, new_password="another horse")
    assert (await ada.send("Sign out")).path == f"{prefix}/login?signed-out=logout"
    assert {each.partition("?")[0] for each in ada.assets} == {f"{prefix}/static/{name}" for name in KINDS}
    for each in ada.assets:
        async with service.get(each) as response:
            assert response.status == 200


async def test_a_forgotten_password(ada: VisitorUnder, service: ServiceClient, prefix: str) -> None:
    assert service.app is not None
    await ada.register()
    await ada.open("/forgot")
    await ada.send("Send the mail", email=ADA)
    await ada.open(await link(service.app, "reset", ADA))
    page = await ada.send("Set password", new_password="another horse")
    assert page.path == f"{prefix}/login?done=reset"


@pytest.mark.parametrize(
    "path",
    [
        "/forgot", "/reset", "/reset?token=x", "/verify?token=x", "/invitation", "/invitation?token=x", "/logout", "/denied",
        "/not-sent", "/confirm", "/no/such/page",
    ],
)  # fmt: skip
async def test_pages_that_strangers_open(ada: VisitorUnder, path: str) -> None:
    await ada.open(path)


async def test_the_account_is_the_way_back_that_needs_no_words_under_each_prefix(ada: VisitorUnder, prefix: str) -> None:
    assert (await ada.open("/account")).path == f"{prefix}/login"
    assert (await ada.open("/account?a=b")).path == f"{prefix}/login?rd={prefix}/account?a%3Db"
    page = await ada.open(f"/login?rd={prefix}/account")
    assert page.all("input", name="rd") == []


async def test_an_application_beside_our_prefix_is_led_back_to(ada: VisitorUnder, service: ServiceClient, prefix: str) -> None:
    page = await Visitor.request(ada, "GET", f"{prefix}/login?rd=/wiki", headers={})
    assert page.only("input", name="rd").get("value") == "/wiki"
    assert page.form_of("Sign in").action == f"{prefix}/login"


def test_no_template_and_no_script_writes_an_address_without_its_prefix() -> None:
    folder = resources.files("stateroom.web")
    templates = [each for each in (folder / "templates").iterdir() if each.name.endswith(".html")]
    assert len(templates) > 15
    for each in templates:
        assert re.findall(r"""(?:href|src|action|data-back)=["']?/[^"'>]*""", each.read_text("utf-8")) == [], each.name
    reference = resources.files("stateroom.api") / "reference"
    for script in (folder / "static" / "pages.js", reference / "reference.js", reference / "index.html"):
        assert re.findall(r"""["'`]/[a-z.][^"'`]*""", script.read_text("utf-8")) == [], script.name
