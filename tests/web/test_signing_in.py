"""Sign-in and registration by forms, without scripts."""

from __future__ import annotations

from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest

from stateroom import Settings
from stateroom.accounts import Accounts
from stateroom.errors import DatabaseUnavailable, Saturated

from ..conftest import ServiceClient
from ..servers import Servers
from .conftest import NewVisitor
from .visitor import Page, Visitor


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Any) -> Settings:
    return servers.service_settings(
        tmp_path, return_hosts="app.example.com", login_attempts=3, cors_origins="https://shop.example.com"
    )


def assert_is_tied_to_its_field(page: Page, name: str, text: str) -> None:
    """The summary has the focus and links to the field, which is described by the same text."""
    summary = page.only("div", **{"class": "summary"})
    assert "autofocus" in summary.attributes
    assert summary.get("tabindex") == "-1"
    assert page.only("a", href=f"#{name}").text == text
    field = page.by_id(name)
    assert field.get("aria-invalid") == "true"
    described = [page.by_id(each) for each in field.get("aria-describedby").split()]
    assert any(text in each.text for each in described)
    assert page.title.startswith("Error: ")


async def test_who_registers_is_signed_in_and_greeted_once(visitor: Visitor) -> None:
    page = await visitor.register(name="Ada Lovelace")
    assert (page.status, page.path) == (200, "/account")
    assert "Welcome, Ada Lovelace." in page.text
    assert "Welcome" not in (await visitor.open("/account")).text


async def test_who_signs_in_sees_the_account(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    page = await (await new_visitor()).sign_in()
    assert page.path == "/account"
    assert "Welcome back, Ada." in page.text


@pytest.mark.parametrize("credentials", [{"password": "wrong horse"}, {"email": "nobody@example.com"}])
async def test_a_wrong_password_and_an_unknown_address_are_told_alike(
    visitor: Visitor, new_visitor: NewVisitor, credentials: dict[str, str]
) -> None:
    await visitor.register()
    stranger = await new_visitor()
    page = await stranger.sign_in(**credentials, remember="yes")
    assert (page.status, page.path) == (401, "/login")
    assert page.headers["WWW-Authenticate"].split()[0] not in {"Basic", "Digest", "Negotiate"}
    assert_is_tied_to_its_field(page, "password", "The email address or the password is incorrect.")
    assert page.by_id("email").get("value") == credentials.get("email", "ada@example.com")
    assert "checked" in page.by_id("remember").attributes
    assert "horse" not in page.html
    assert not stranger.cookie


async def test_what_is_left_empty_is_named_and_no_attempt(visitor: Visitor) -> None:
    for _ in range(5):
        assert (await visitor.sign_in(email="", password="")).status == 400
    page = await visitor.sign_in(email="", password="")
    assert page.errors == "Please check this Enter your email address. Enter your password."


async def test_who_tries_too_often_is_told_how_long_to_wait(visitor: Visitor) -> None:
    for _ in range(3):
        assert (await visitor.sign_in()).status == 401
    page = await visitor.sign_in()
    assert page.status == 429
    assert int(page.headers["Retry-After"]) > 200
    assert page.errors == "Please check this Too many attempts. Try again in 5 minutes."


@pytest.mark.parametrize(
    ("fault", "seconds", "words"),
    [
        (Saturated("full", retry_after=7), "7", "Many people are signing in right now. Try again in 7 seconds."),
        (DatabaseUnavailable("10.1.2.3"), "1", "We can't do this right now."),
    ],
)
async def test_what_cannot_be_done_now_is_said_on_the_form(visitor: Visitor, fault: Exception, seconds: str, words: str) -> None:
    with mock.patch.object(Accounts, "authenticate", side_effect=fault):
        page = await visitor.sign_in()
    assert (page.status, page.headers["Retry-After"]) == (503, seconds)
    assert words in page.errors
    assert "10.1.2.3" not in page.html
    assert page.by_id("email").get("value") == "ada@example.com"


async def test_what_is_wrong_with_a_registration_stands_at_its_fields(visitor: Visitor) -> None:
    page = await visitor.register(email="no address", name="", password="short")
    assert page.status == 400
    assert [each.text for each in page.all("li")] == [
        "Enter your name.",
        "Enter an email address, for example ada@example.com.",
        "Password must have at least 8 characters.",
    ]
    assert_is_tied_to_its_field(page, "password", "Password must have at least 8 characters.")
    assert page.by_id("email").get("value") == "no address"
    assert "short" not in page.html


async def test_an_address_that_is_taken_is_said_at_the_address(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    page = await (await new_visitor()).register(name="Eve")
    assert page.status == 409
    assert_is_tied_to_its_field(
        page, "email", "An account with this email address already exists. Sign in, or use another address."
    )


async def test_remember_me_keeps_the_cookie_beyond_the_browser(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    assert visitor.cookie_max_age == ""
    keeper = await new_visitor()
    await keeper.sign_in(remember="yes")
    assert keeper.cookie_max_age == "2592000"
    assert "Stay signed in for 30 days. Avoid on shared devices." in (await (await new_visitor()).open("/login")).text


@pytest.mark.parametrize("path", ["/account?tab=devices", "/login", "/nothing/here?x=1&y=2"])
async def test_a_sign_in_leads_back_to_our_own_pages(visitor: Visitor, new_visitor: NewVisitor, path: str) -> None:
    await visitor.register()
    other = await new_visitor()
    page = await other.open(f"/login?rd={quote(path)}")
    assert f"/register?rd={quote(path)}" in page.html
    page = await other.send("Sign in", email="ada@example.com", password="wrong")
    page = await other.send("Sign in", email="ada@example.com", password="correct horse")
    assert page.path == ("/account" if path == "/login" else path)
    assert (await other.open(f"/login?rd={quote(path)}")).path == page.path  # A signed-in user is redirected at once.


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_a_sign_in_leads_to_hosts_that_are_named_and_to_no_other(service: ServiceClient, visitor: Visitor, path: str) -> None:
    await visitor.register()
    for number, asked in enumerate([
        "https://app.example.com/cart?id=1", "https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)",
        "https://app.example.com@evil.example/", "/x\r\nSet-Cookie: a=b",
    ]):  # fmt: skip
        email = "ada@example.com" if path == "/login" else f"{number}@example.com"
        form = {"email": email, "password": "correct horse", "name": "Ada", "rd": asked}
        async with service.post(path, data=form, allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"] == (asked if number == 0 else "/account")


async def test_the_policy_of_every_page_lets_a_form_lead_to_the_named_hosts_only(visitor: Visitor) -> None:
    for path in (
        "/login?rd=https://app.example.com/cart",
        "/login",
        "/login?rd=https://evil.example/",
        "/register",
        "/logout",
        "/forgot",
    ):
        page = await visitor.open(path)
        assert page.headers["Content-Security-Policy"].endswith("; form-action 'self' http://app.example.com:*"), path


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://shop.example.com"},  # An origin of CORS_ORIGINS: those are only for the API.
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "", "Sec-Fetch-Site": "cross-site"},
]


async def test_a_form_from_another_site_is_refused_as_a_page(visitor: Visitor) -> None:
    await visitor.register()
    fields = {"email": "eve@example.com", "password": "correct horse", "name": "Eve", "current_password": "correct horse"}
    for path in ("/login", "/register", "/account/sign-out", "/account/password", "/account/revoke-others", "/account/confirm"):
        for headers in FOREIGN:
            page = await visitor.post(path, fields, **headers)
            assert page.status == 403, (path, headers)
            assert page.only("h1").text == "We can't accept this form"
    assert "Ada" in (await visitor.open("/account")).text


async def test_a_form_without_those_headers_comes_from_no_browser_and_is_taken(visitor: Visitor) -> None:
    await visitor.register()
    page = await visitor.post("/account/sign-out", {}, **{"Origin": "", "Sec-Fetch-Site": ""})
    assert page.path == "/login?signed-out=logout"


async def test_whatever_is_posted_is_answered_with_a_page(visitor: Visitor) -> None:
    form = "application/x-www-form-urlencoded"
    for body, kind, status in [
        (b'{"email": "ada@example.com"}', "application/json", 415),
        (b"email=ada%40example.com", "text/plain", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
        (b"email=" + b"x" * 70_000, form, 413),
        (b"&".join(b"f%d=1" % n for n in range(30)), form, 400),
        (b"email=%FF%00\xff&password=%F0%28&rd=%00", f"{form}; charset=utf-16", 401),
        (b"", form, 400),
    ]:
        page = await visitor.post("/login", body, **{"Content-Type": kind})
        assert page.status == status
        assert len(page.all("h1")) == 1
    page = await visitor.post("/login", b"email=x", **{"Content-Type": form, "Content-Encoding": "gzip"})
    assert (page.status, len(page.all("h1"))) == (400, 1)


async def test_what_somebody_typed_is_shown_as_text(visitor: Visitor) -> None:
    hostile = "\"><script>alert('1')</script>&amp;"
    page = await visitor.sign_in(email=hostile, password="x")
    assert page.by_id("email").get("value") == hostile
    assert [each.get("src")[:17] for each in page.all("script")] == ["/static/pages.js?"]
    page = await visitor.open(f"/login?rd=/%22%3E%3Cscript%3E&signed-out={quote(hostile)}")
    assert len(page.all("script")) == 1


@pytest.mark.parametrize(("told", "shown"), [("logout", "You're signed out."), ("expired", "You were signed out after some time.")])
async def test_an_address_can_say_little_of_why_somebody_is_here(visitor: Visitor, told: str, shown: str) -> None:
    assert shown in (await visitor.open(f"/login?signed-out={told}")).text
    for other in ("password", "disabled", "x"):
        assert (await visitor.open(f"/login?signed-out={other}")).text == (await visitor.open("/login")).text
