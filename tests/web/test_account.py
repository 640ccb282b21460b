"""The account's page, used by forms without scripts."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import pytest

from stateroom import SESSIONS, Settings, testing
from stateroom.accounts import ACCOUNTS
from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable

from ..conftest import ServiceClient
from ..servers import Servers
from .conftest import NewVisitor
from .visitor import SAFARI, Visitor

SIGN_OUT_IPHONE = "Sign out Mobile Safari on iOS"


@pytest.fixture
async def devices(visitor: Visitor, new_visitor: NewVisitor) -> tuple[Visitor, Visitor]:
    """Ada's desktop and her telephone. The telephone signed in later."""
    phone = await new_visitor(SAFARI)
    await visitor.register()
    await phone.sign_in()
    return visitor, phone


async def test_who_is_not_signed_in_is_led_to_the_sign_in_and_back(visitor: Visitor) -> None:
    assert (await visitor.open("/account")).path == "/login"
    assert (await visitor.open("/account?tab=devices")).path == "/login?rd=/account?tab%3Ddevices"
    assert (await visitor.post("/account/password", {})).path == "/login"
    assert (await visitor.open("/")).path == "/login"
    await visitor.register()
    assert (await visitor.open("/")).path == "/account"


async def test_the_account_shows_what_the_api_tells(visitor: Visitor) -> None:
    page = await visitor.register(name="Ada Lovelace")
    assert [each.text for each in page.all("dd")][:2] == ["Ada Lovelace", "ada@example.com"]
    moments = page.all("time")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each.get("datetime")) for each in moments)
    assert re.fullmatch(r"\d{1,2} \w{3} \d{4}, \d\d:\d\d UTC", moments[0].text)
    assert visitor.cookie not in page.html


async def test_devices_are_listed_and_this_one_is_marked(devices: tuple[Visitor, Visitor]) -> None:
    desktop, phone = devices
    page = await desktop.open("/account")
    assert [each.text for each in page.all("h3")] == ["Firefox on Linux This device", "Mobile Safari on iOS"]
    assert page.text.count("127.0.0.1") == 2
    assert "Last used now" in page.text
    assert "Last used just now" in page.text
    assert [each.text for each in (await phone.open("/account")).all("h3")] == [
        "Mobile Safari on iOS This device",
        "Firefox on Linux",
    ]


async def test_another_device_is_signed_out_and_told_why(devices: tuple[Visitor, Visitor]) -> None:
    desktop, phone = devices
    await desktop.open("/account")
    page = await desktop.send(SIGN_OUT_IPHONE)
    assert page.path == "/account"
    assert "The device was signed out." in page.text
    assert len(page.all("h3")) == 1
    page = await phone.open("/account")
    assert page.path == "/login"
    assert "This device was signed out: by you on another device, or by an administrator." in page.text


async def test_a_device_that_is_gone_already_is_no_error(devices: tuple[Visitor, Visitor]) -> None:
    desktop, phone = devices
    await desktop.open("/account")
    await phone.open("/account")
    await phone.send("Sign out")
    page = await desktop.send(SIGN_OUT_IPHONE)
    assert (page.status, page.path) == (200, "/account")
    assert "That device was already signed out." in page.text


async def test_everything_else_is_signed_out(devices: tuple[Visitor, Visitor]) -> None:
    desktop, phone = devices
    await desktop.open("/account")
    page = await desktop.send("Sign out all other devices")
    assert "1 other device was signed out." in page.text
    assert not any("everywhere else" in button for form in page.forms for button in form.buttons)
    assert (await phone.open("/account")).path == "/login"


async def test_nobody_signs_out_somebody_elses_device(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    eve, bob = await new_visitor(), await new_visitor(SAFARI)
    await eve.register(email="eve@example.com", name="Eve")
    await bob.sign_in()
    handle = (await visitor.open("/account")).form_of(SIGN_OUT_IPHONE).fields["id"]
    page = await eve.post("/account/revoke", {"id": handle})
    assert "That device was already signed out." in page.text
    assert (await bob.open("/account")).path == "/account"


async def test_ones_own_handle_signs_this_device_out(visitor: Visitor, new_visitor: NewVisitor) -> None:
    await visitor.register()
    other = await new_visitor(SAFARI)
    page = await other.sign_in()
    handle = page.form_of("Sign out Firefox").fields["id"]
    page = await visitor.post("/account/revoke", {"id": handle})
    assert page.path == "/login?signed-out=logout"
    assert not visitor.cookie


async def test_signing_out_ends_the_session_and_says_so(visitor: Visitor) -> None:
    await visitor.register()
    page = await visitor.send("Sign out")
    assert page.path == "/login?signed-out=logout"
    assert "You're signed out." in page.text
    assert (await visitor.open("/account")).path == "/login"


async def test_an_old_sign_in_gives_the_password_again_and_the_step_is_taken(
    service: ServiceClient, devices: tuple[Visitor, Visitor]
) -> None:
    desktop, phone = devices
    assert service.app is not None
    testing.clock(service.app).move(minutes=20)
    await desktop.open("/account")
    page = await desktop.send(SIGN_OUT_IPHONE)
    assert page.only("h1").text == "Enter your password again"
    assert "more than 15 minutes ago" in page.text
    assert (await phone.open("/account")).path == "/account"
    page = await desktop.send("Sign out the device", current_password="wrong")
    assert (page.status, page.errors) == (401, "Please check this The current password is incorrect.")
    page = await desktop.send("Sign out the device", current_password="correct horse")
    assert page.path == "/account"
    assert "The device was signed out." in page.text
    assert (await phone.open("/account")).path == "/login"
    # The sign-in is fresh again.
    assert "You were signed in on this device only." in (await desktop.post("/account/revoke-others", {})).text


async def test_signing_out_everywhere_else_asks_too(service: ServiceClient, devices: tuple[Visitor, Visitor]) -> None:
    desktop, _ = devices
    assert service.app is not None
    testing.clock(service.app).move(minutes=20)
    await desktop.open("/account")
    assert (await desktop.send("Sign out all other devices")).only("h1").text == "Enter your password again"
    assert "1 other device was signed out." in (await desktop.send("Sign out other devices", current_password="correct horse")).text


async def test_a_password_is_changed_and_every_other_device_told(devices: tuple[Visitor, Visitor]) -> None:
    desktop, phone = devices
    await desktop.open("/account")
    page = await desktop.send("Change password", current_password="wrong", new_password="battery staple")
    assert (page.status, page.errors) == (401, "Please check this The current password is incorrect.")
    assert page.by_id("current_password").get("aria-invalid") == "true"
    page = await desktop.send("Change password", current_password="correct horse", new_password="short")
    assert (page.status, page.errors) == (400, "Please check this New password must have at least 8 characters.")
    page = await desktop.send("Change password", current_password="correct horse", new_password="battery staple")
    assert page.path == "/account"
    assert "Password changed. Every other device was signed out." in page.text
    page = await phone.open("/account")
    assert "Your password was changed, so every other device was signed out." in page.text
    assert (await phone.sign_in()).status == 401
    assert (await phone.sign_in(password="battery staple")).path == "/account"


async def test_why_a_session_ended_is_said_in_words(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    manager = service.app[SESSIONS]
    [user] = await service.app[ACCOUNTS].users.list()
    await visitor.send("Sign out")
    for reason, words in [
        ("disabled", "This account is disabled."),
        ("rotated", "This page used an old sign-in."),
        ("everybody", "The administrator of this service signed out all users."),
        ("unknown-user", "We can't find your account any more."),
        ("expired", "You were signed out after some time."),
        (
            "limit",
            (
                "You can be signed in on 100 devices at the same time, "
                "so we signed you out on this device, where you had signed in first."
            ),
        ),
    ]:
        await visitor.sign_in()
        await manager.revoke_all(user.id, reason=reason)
        page = await visitor.open("/account")
        assert page.path == "/login"
        assert words in page.text


async def test_an_expired_session_is_said_to_have_expired(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    testing.clock(service.app).move(hours=2)
    assert "You were signed out after some time." in (await visitor.open("/account")).text


class TestLimit:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Any) -> Settings:
        return servers.service_settings(tmp_path, session_max_per_user=2)

    async def test_when_one_more_signs_in_both_ends_are_told(
        self, devices: tuple[Visitor, Visitor], new_visitor: NewVisitor
    ) -> None:
        desktop, phone = devices
        page = await phone.open("/account")
        assert (
            "You can be signed in on 2 devices at the same time. "
            "If you sign in on another device, you are signed out where you signed in first."
        ) in page.text
        third = await new_visitor()
        page = await third.sign_in()
        assert (
            "You can be signed in on 2 devices at the same time, so we signed you out where you had signed in first." in page.text
        )
        page = await desktop.open("/account")
        assert page.path == "/login"
        assert "You signed in on another device." in page.text
        assert "on 2 devices at the same time, so we signed you out on this device, where you had signed in first." in page.text
        assert (await phone.open("/account")).path == "/account"


async def test_while_redis_is_away_the_account_says_what_it_cannot_show(
    service: ServiceClient, devices: tuple[Visitor, Visitor]
) -> None:
    assert service.app is not None
    desktop, phone = devices
    banner = "Some details are temporarily unavailable."
    assert banner not in (await desktop.open("/account")).text
    with testing.redis_down(service.app):
        page = await desktop.open("/account")
        assert page.status == 200
        assert banner in page.text
        assert "ada@example.com" in page.text
        assert "We can't show your devices right now" in page.text
        page = await desktop.send("Change password", current_password="correct horse", new_password="battery staple")
        assert (page.status, page.path) == (200, "/account/password")
        assert "Password changed. Every other device was signed out." in page.text
        page = await desktop.open("/account/password")
        assert (page.status, page.path) == (200, "/account")
        page = await desktop.send("Sign out all other devices")
        assert "All other devices are signed out." in page.text
        page = await desktop.send("Sign out")
        assert page.path == "/login?signed-out=logout"
        page = await desktop.sign_in(password="battery staple")
        assert (page.status, page.path) == (200, "/account")
        assert banner in page.text
    page = await desktop.open("/account")
    assert banner not in page.text
    assert "Firefox on Linux This device" in [each.text for each in page.all("h3")]
    assert (await phone.open("/account")).path == "/login"


async def test_what_cannot_be_known_is_503_and_signs_nobody_out(
    service: ServiceClient, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.app is not None
    await visitor.register()
    cookie = visitor.cookie
    with monkeypatch.context() as patch, testing.redis_down(service.app):
        for each in ("connect", "begin", "read", "write"):
            patch.setattr(Database, each, mock.Mock(side_effect=DatabaseUnavailable("10.1.2.3")))
        page = await visitor.open("/account")
        assert (page.status, page.headers["Retry-After"]) == (503, "1")
        assert "This page is temporarily unavailable" in page.text
        assert "Try again in 1 second." in page.text
        assert "10.1.2.3" not in page.html
        assert page.only("a", href="/account").text == "Try again"
        assert (await visitor.open("/login")).status == 200
    assert visitor.cookie == cookie
    assert (await visitor.open("/account")).path == "/account"


async def test_while_the_accounts_are_away_the_page_shows_the_rest(service: ServiceClient, visitor: Visitor) -> None:
    assert service.app is not None
    await visitor.register()
    with mock.patch.object(service.app[ACCOUNTS], "profile", side_effect=DatabaseUnavailable("10.1.2.3")):
        page = await visitor.open("/account")
    assert page.status == 200
    assert "We can't show your name and email right now" in page.text
    assert len(page.all("h3")) == 1


async def test_names_and_user_agents_are_shown_as_text(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor("<img src=x onerror=alert(1)>\"'")
    page = await visitor.register(name="<b>Ada</b> {{ 7*7 }}")
    assert "<b>Ada</b> {{ 7*7 }}" in page.text
    assert "<img src=x onerror=alert(1)>" in page.all("h3")[0].text
    assert not page.all("b")
    assert not any(name.startswith("on") for each in page.elements for name in each.attributes)


async def test_the_addresses_of_forms_lead_home(visitor: Visitor) -> None:
    await visitor.register()
    for path in ("password", "email", "verification", "confirm", "revoke", "revoke-others", "sign-out"):
        page = await visitor.open(f"/account/{path}")
        assert (page.status, page.path) == (200, "/account")
    assert (await visitor.post("/account/confirm", {"current_password": "correct horse", "then": "rm -rf"})).path == "/account"


async def test_a_method_that_a_page_does_not_know_is_said_on_a_page(visitor: Visitor) -> None:
    page = await visitor.request("PUT", "/login", headers={})
    assert page.status == 405
    assert page.headers["Allow"] == "GET,HEAD,POST"
    assert page.only("h1").text == "You can't open this address like this"
