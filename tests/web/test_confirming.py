"""`/confirm`: the password again, for an application that asks for a recent sign-in."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from stateroom import SESSIONS, Settings, testing

from ..conftest import ServiceClient
from ..servers import Servers
from .links import database_down
from .visitor import Visitor

TILL = "https://till.example.com/day?shop=1"
ASKED = {"rd": TILL, "fresh": "900"}


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Any) -> Settings:
    return servers.service_settings(tmp_path, return_hosts="till.example.com", login_attempts=3)


async def open_confirm(visitor: Visitor, **asked: str) -> None:
    await visitor.request("GET", "/confirm", params=asked or ASKED, headers={"Sec-Fetch-Site": "none"})


async def sent_to(service: ServiceClient, visitor: Visitor, method: str = "GET", **options: Any) -> tuple[int, str, str]:
    """The status, the address and the new cookie of a response that redirects."""
    headers = {"Cookie": f"session_id={visitor.cookie}", "Accept": "text/html", "Origin": visitor.origin}
    async with service.request(method, "/confirm", headers=headers, allow_redirects=False, **options) as response:
        service.session.cookie_jar.clear()
        new = response.cookies.get("session_id")
        return response.status, response.headers.get("Location", ""), "" if new is None else new.value


@pytest.fixture
async def old(service: ServiceClient, visitor: Visitor) -> Visitor:
    """Ada, whose sign-in is 20 minutes old."""
    assert service.app is not None
    await visitor.register(name="Ada Lovelace")
    testing.clock(service.app).move(minutes=20)
    await visitor.open("/account")
    return visitor


async def test_it_asks_for_the_password_only(old: Visitor) -> None:
    await open_confirm(old)
    page = old.page
    assert page.status == 200
    assert page.only("h1").text == "Enter your password again"
    assert "till.example.com asks for it, because you signed in more than 15 minutes ago." in page.text
    assert "You're signed in as Ada Lovelace (ada@example.com)." in page.text
    form = page.form_of("Go on")
    assert form.fields == {"rd": TILL, "fresh": "900", "username": "ada@example.com", "password": ""}


async def test_the_password_gives_a_new_id_and_leads_to_the_page(service: ServiceClient, old: Visitor) -> None:
    before = old.cookie
    form = {"rd": TILL, "fresh": "900", "password": "correct horse"}
    status, location, after = await sent_to(service, old, "POST", data=form)
    assert (status, location) == (303, TILL)
    assert after
    assert after != before
    async with service.get("/api/auth/check", headers={"Cookie": f"session_id={before}"}) as response:
        assert (await response.json())["ended"] == "rotated"
    async with service.delete("/api/sessions", headers={"Cookie": f"session_id={after}"}) as response:
        assert response.status == 200, "the sign-in is fresh again"


async def test_a_wrong_password_is_said_and_counted(service: ServiceClient, old: Visitor) -> None:
    await open_confirm(old)
    for _ in range(3):
        page = await old.send("Go on", password="wrong")
        assert (page.status, page.errors) == (401, "Please check this The password is incorrect.")
        assert "more than 15 minutes ago" in page.text
    page = await old.send("Go on", password="correct horse")
    assert page.status == 429
    assert "Too many attempts. Try again in" in page.errors
    assert int(page.headers["Retry-After"]) > 0
    assert page.form_of("Go on").fields["rd"] == TILL


async def test_an_empty_password_is_not_counted(old: Visitor) -> None:
    await open_confirm(old)
    for _ in range(4):
        page = await old.send("Go on")
        assert (page.status, page.errors) == (400, "Please check this Enter your password.")


async def test_who_is_not_signed_in_signs_in_and_is_not_asked_again(service: ServiceClient, visitor: Visitor) -> None:
    to_sign_in = "/login?rd=https%3A//till.example.com/day%3Fshop%3D1"
    assert (await sent_to(service, visitor, params=ASKED))[:2] == (303, to_sign_in)
    assert (await sent_to(service, visitor, "POST", data={**ASKED, "password": "x"}))[:2] == (303, to_sign_in)
    await visitor.register()
    await visitor.send("Sign out")
    assert (await visitor.open("/confirm")).path == "/login"


async def test_its_links_and_redirects_keep_the_prefix(visitor: Visitor) -> None:
    assert (await visitor.open("/.stateroom/confirm?rd=/wiki")).path == "/.stateroom/login?rd=/wiki"
    await visitor.register()
    page = await visitor.open("/.stateroom/confirm?rd=/wiki")
    assert page.form_of("Go on").action == "/.stateroom/confirm"
    assert page.only("a", href="/.stateroom/logout?rd=/wiki").text == "Use another account"
    assert (await visitor.open("/.stateroom/confirm")).form_of("Go on").action == "/.stateroom/confirm"
    assert (await visitor.send("Go on", password="correct horse")).path == "/.stateroom/account"


@pytest.mark.parametrize(("minutes", "is_asked"), [(7, False), (8, True), (14, True)])
async def test_who_has_just_confirmed_goes_on_without_a_question(
    service: ServiceClient, visitor: Visitor, minutes: int, *, is_asked: bool
) -> None:
    """The limit is half of the highest age, so that this page and forward auth cannot send a browser in a circle."""
    assert service.app is not None
    await visitor.register()
    testing.clock(service.app).move(minutes=minutes)
    status, location, _ = await sent_to(service, visitor, params=ASKED)
    assert (status, location) == ((200, "") if is_asked else (303, TILL))


@pytest.mark.parametrize("fresh", ["", "0", "1", "-900", "9e9", "٣٠٠", "9" * 20, "<b>"])
async def test_without_a_useful_age_it_asks(service: ServiceClient, visitor: Visitor, fresh: str) -> None:
    assert service.app is not None
    await visitor.register()
    testing.clock(service.app).move(seconds=2)  # more than the worker's clock may be corrected by
    await open_confirm(visitor, rd="/wiki", fresh=fresh)
    assert visitor.page.status == 200
    assert visitor.page.only("h1").text == "Enter your password again"
    assert "The page that you want to open asks for it, because you signed in" in visitor.page.text
    assert "<b>" not in visitor.page.html


async def test_it_leads_only_where_we_may_redirect(service: ServiceClient, old: Visitor) -> None:
    await open_confirm(old, rd="https://evil.example/", fresh="900")
    assert "evil" not in old.page.html
    form = {"rd": "https://evil.example/", "password": "correct horse"}
    assert (await sent_to(service, old, "POST", data=form))[:2] == (303, "/account")


async def test_the_form_must_be_ours(old: Visitor) -> None:
    page = await old.post("/confirm", {"password": "correct horse"}, Origin="https://till.example.com")
    assert page.status == 403
    assert "It was sent from another site." in page.text


async def test_a_session_that_ended_meanwhile_leads_to_the_sign_in(service: ServiceClient, old: Visitor) -> None:
    assert service.app is not None
    await open_confirm(old, rd="/wiki")
    async with service.get("/api/profile", headers={"Cookie": f"session_id={old.cookie}"}) as response:
        user_id = (await response.json())["user"]["id"]
    await service.app[SESSIONS].revoke_all(user_id, reason="revoked")
    page = await old.send("Go on", password="correct horse")
    assert page.path == "/login?rd=/wiki"
    assert "This device was signed out" in page.text


async def test_while_redis_is_unavailable_the_password_is_checked_all_the_same(service: ServiceClient, old: Visitor) -> None:
    assert service.app is not None
    with testing.redis_down(service.app):
        await open_confirm(old)
        assert "Some details are temporarily unavailable." in old.page.text
        status, location, after = await sent_to(service, old, "POST", data={"rd": TILL, "password": "correct horse"})
        assert (status, location) == (303, TILL)
        async with service.get("/confirm", params=ASKED, headers={"Cookie": f"session_id={after}"}, allow_redirects=False) as again:
            assert again.headers["Location"] == TILL, "the sign-in is fresh again"


async def test_while_the_user_database_is_unavailable_it_says_so(old: Visitor) -> None:
    await open_confirm(old)
    with database_down():
        page = await old.send("Go on", password="correct horse")
        assert (page.status, page.headers["Retry-After"]) == (503, "1")
        assert "We can't do this right now. Nothing was changed." in page.errors
    page = await old.open("/confirm?fresh=900&rd=/account")
    assert page.path == "/confirm?fresh=900&rd=/account", "the sign-in is as old as before"


async def test_a_user_who_cannot_be_read_is_asked_without_a_name(old: Visitor) -> None:
    with mock.patch("stateroom.web.confirming.shown_user", return_value=None):
        await open_confirm(old)
    assert old.page.status == 200
    assert "ada@example.com" not in old.page.html
