"""The address of an account: confirming it by the mailed link, asking for the mail again, changing it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from stateroom import Settings, testing
from stateroom.accounts import ACCOUNTS
from stateroom.accounts.mail_tokens import MailTokens

from ..commands import Serving
from ..conftest import ServiceClient
from ..servers import Servers
from .conftest import NewVisitor
from .links import database_down, link, mails_asked_for
from .visitor import Visitor

ADA = "ada@example.com"


def with_mail(servers: Servers, folder: Path, **values: Any) -> Settings:
    own = {"mail_url": f"file:{folder}/mails", "mail_from": "a@example.com", "public_url": "http://127.0.0.1", "public_origins": ""}
    return servers.service_settings(folder, **(own | values))


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    return with_mail(servers, tmp_path, email_verification="required", mail_requests=3)


async def is_verified(service: ServiceClient, email: str = ADA) -> bool:
    assert service.app is not None
    user = await service.app[ACCOUNTS].users.by_email(email)
    return user is not None and user.is_verified


async def link_to_verify(service: ServiceClient, email: str = ADA) -> str:
    assert service.app is not None
    return await link(service.app, "verify", email)


@pytest.fixture
async def ada(visitor: Visitor) -> Visitor:
    """She has registered and signed in. Her address is not confirmed."""
    await visitor.register()
    await visitor.sign_in()
    return visitor


async def test_who_registers_is_told_to_look_into_the_mail_new_or_not(visitor: Visitor, new_visitor: NewVisitor) -> None:
    other = await new_visitor()
    with mails_asked_for() as asked:
        pages = [await visitor.register(), await other.register(name="Eve", password="another horse")]
    assert asked == [("verify", ADA), ("taken", ADA)]
    assert pages[0].html == pages[1].html
    assert pages[0].status == pages[1].status == 200
    assert pages[0].only("h1").text == "Check your mail"
    assert pages[0].path == "/register"
    assert not visitor.cookie
    assert not other.cookie
    assert (await other.sign_in(password="another horse")).status == 401


async def test_an_unconfirmed_account_sees_what_to_do_and_nothing_else(ada: Visitor) -> None:
    page = await ada.open("/account?tab=devices")
    assert (page.status, page.path) == (200, "/verify")
    assert page.only("h1").text == "Confirm your email address"
    assert f"We've sent a mail to {ADA} ." in page.text
    assert "It works for 1 hour." in page.text
    assert "Where you are signed in" not in page.text
    for path in ("/account/revoke-others", "/account/revoke", "/account/confirm"):
        assert (await ada.post(path, {})).path == "/verify"
    page = await ada.send("Sign out")
    assert page.path == "/login?signed-out=logout"
    assert (await ada.open("/verify")).path == "/login?rd=/verify"


async def test_the_style_sheet_is_open_to_an_unconfirmed_account(ada: Visitor, service: ServiceClient) -> None:
    async with service.get("/static/pages.css", headers={"Cookie": f"session_id={ada.cookie}"}) as response:
        assert response.status == 200


async def test_the_mail_is_sent_again_until_it_is_too_often(ada: Visitor) -> None:
    await ada.open("/account")
    with mails_asked_for() as asked:
        for _ in range(3):
            page = await ada.send("Send again")
            assert (page.status, page.path) == (200, "/verify")
            assert "We've sent the mail again." in page.text
        page = await ada.send("Send again")
    assert asked == [("verify", ADA)] * 3
    assert page.status == 429
    assert "You've asked for several mails already." in page.errors
    assert page.only("h1").text == "Confirm your email address"


async def test_the_password_is_changed_before_the_address_is_confirmed(ada: Visitor) -> None:
    await ada.open("/verify")
    page = await ada.send("Change password", current_password="wrong", new_password="battery staple")
    assert (page.status, page.errors) == (401, "Please check this The current password is incorrect.")
    assert page.only("h1").text == "Confirm your email address"
    page = await ada.send("Change password", current_password="correct horse", new_password="battery staple")
    assert page.path == "/verify"
    assert "Password changed." in page.text


async def test_signed_in_a_button_confirms(service: ServiceClient, ada: Visitor) -> None:
    page = await ada.open(await link_to_verify(service))
    assert not page.all("input", id="password")
    assert not await is_verified(service)
    page = await ada.send("Confirm this address")
    assert (page.status, page.path) == (200, "/account")
    assert "Your email address is confirmed." in page.text
    assert await is_verified(service)
    assert (await ada.open("/verify")).path == "/account"


async def test_a_stranger_needs_the_password_and_does_not_see_the_address(
    service: ServiceClient, visitor: Visitor, new_visitor: NewVisitor
) -> None:
    await visitor.register()
    reader = await new_visitor()
    page = await reader.open(await link_to_verify(service))
    assert ADA not in page.html
    page = await reader.send("Confirm this address", password="")
    assert (page.status, page.errors) == (400, "Please check this Enter your password.")
    page = await reader.send("Confirm this address", password="wrong")
    assert (page.status, page.errors) == (401, "Please check this The password is incorrect.")
    assert ADA not in page.html
    assert not await is_verified(service)
    page = await reader.send("Confirm this address", password="correct horse")
    assert (page.status, page.path) == (200, "/login?done=confirmed")
    assert "Your email address is confirmed. You can sign in." in page.text
    assert await is_verified(service)


async def test_whoever_is_signed_in_to_another_account_is_asked_for_the_password(
    service: ServiceClient, ada: Visitor, new_visitor: NewVisitor
) -> None:
    bob = await new_visitor()
    await bob.register(email="bob@example.com", name="Bob")
    await bob.sign_in(email="bob@example.com")
    await bob.open(await link_to_verify(service))
    page = await bob.send("Confirm this address")
    assert page.status == 400
    assert "If it is for another account, enter that account's password." in page.errors
    assert ADA not in page.html
    page = await bob.send("Confirm this address", password="wrong")
    assert page.status == 401
    assert not await is_verified(service)
    page = await bob.send("Confirm this address", password="correct horse")
    assert page.path == "/verify"
    assert "The email address of the other account is confirmed." in page.text
    assert await is_verified(service)
    assert not await is_verified(service, "bob@example.com")


async def test_opening_the_link_does_not_even_look_at_the_token(
    service: ServiceClient, ada: Visitor, new_visitor: NewVisitor
) -> None:
    path = await link_to_verify(service)
    stranger = await new_visitor()
    with mock.patch.object(MailTokens, "find", side_effect=AssertionError):
        for each in (ada, stranger):
            known = await each.open(path)
            assert known.status == 200
            assert known.html.replace(path.partition("=")[2], "x") == (await each.open("/verify?token=x")).html
    assert not await is_verified(service)


@pytest.mark.parametrize("token", ["x", "x" * 43, "%3Cscript%3E"])
async def test_a_link_that_does_not_work_is_said_to_be_old(visitor: Visitor, token: str) -> None:
    await visitor.open(f"/verify?token={token}")
    page = await visitor.send("Confirm this address", password="correct horse")
    assert page.status == 400
    assert page.only("h1").text == "This link doesn't work any more"
    assert page.only("a", href="/account").text == "Go to your account"
    assert (await visitor.post("/verify", {"password": "x"})).status == 400


async def test_an_address_is_changed_by_the_link_to_the_new_one(service: ServiceClient, ada: Visitor) -> None:
    assert service.app is not None
    await ada.open(await link_to_verify(service))
    await ada.send("Confirm this address")
    with mails_asked_for() as asked:
        page = await ada.send("Change address", email="new@example.com", password="wrong")
        assert (page.status, page.errors) == (401, "Please check this The password is incorrect.")
        assert page.by_id("email").get("value") == "new@example.com"
        page = await ada.send("Change address", email="new@example.com", password="correct horse")
    assert asked == [("change", "new@example.com"), ("change_asked", ADA)]
    assert page.path == "/account"
    assert "We've sent a mail to new@example.com. Open the link in it to confirm the address." in page.text
    assert [each.text for each in page.all("dd")][1] == ADA
    await ada.open(await link(service.app, "change", ADA, email="new@example.com", details={"former": ADA}))
    page = await ada.send("Confirm this address")
    assert "Your email address is confirmed." in page.text
    assert [each.text for each in page.all("dd")][1] == "new@example.com"


async def test_an_unconfirmed_account_changes_a_mistyped_address(service: ServiceClient, ada: Visitor) -> None:
    assert service.app is not None
    await ada.open("/verify")
    page = await ada.send("Change address", email="ada@example.org", password="correct horse")
    assert page.path == "/verify"
    assert "We've sent a mail to ada@example.org." in page.text
    await ada.open(await link(service.app, "change", ADA, email="ada@example.org", details={"former": ADA}))
    assert (await ada.send("Confirm this address")).path == "/account"
    assert await is_verified(service, "ada@example.org")


@pytest.mark.parametrize(
    ("email", "status", "words"),
    [
        ("", 400, "Enter your email address."),
        ("ada", 400, "Enter an email address, for example ada@example.com."),
        (ADA, 400, "This is your email address already. Enter the new one."),
        ("bob@example.com", 409, "Another account has this email address. Enter another one."),
    ],
)
async def test_what_is_wrong_with_a_new_address_stands_at_its_field(
    ada: Visitor, new_visitor: NewVisitor, email: str, status: int, words: str
) -> None:
    await (await new_visitor()).register(email="bob@example.com", name="Bob")
    await ada.open("/verify")
    page = await ada.send("Change address", email=email, password="correct horse")
    assert (page.status, page.errors) == (status, f"Please check this {words}")
    assert page.by_id("email").get("aria-invalid") == "true"


async def test_an_address_that_another_account_has_got_meanwhile_is_no_ones_twice(
    service: ServiceClient, ada: Visitor, new_visitor: NewVisitor
) -> None:
    assert service.app is not None
    await (await new_visitor()).register(email="bob@example.com", name="Bob")
    await ada.open(await link(service.app, "change", ADA, email="bob@example.com", details={"former": ADA}))
    page = await ada.send("Confirm this address")
    assert (page.status, page.only("h1").text) == (409, "Another account has this address")


async def test_the_forms_of_the_address_need_a_sign_in(visitor: Visitor) -> None:
    for path in ("/account/email", "/account/verification"):
        assert (await visitor.post(path, {})).path == "/login"


async def test_while_redis_is_away_an_address_is_confirmed(service: ServiceClient, ada: Visitor) -> None:
    path = await link_to_verify(service)
    assert service.app is not None
    with testing.redis_down(service.app):
        page = await ada.open("/account")
        assert page.path == "/verify"
        assert "Some details are temporarily unavailable." in page.text
        page = await ada.send("Send again")
        assert "We've sent the mail again." in page.text
        path = await link_to_verify(service)
        await ada.open(path)
        page = await ada.send("Confirm this address")
        assert page.status == 200
        assert "Your email address is confirmed." in page.text
        assert (await ada.open("/account")).path == "/account"
    assert (await ada.open("/account")).path == "/account"


async def test_while_the_database_is_away_the_pages_say_so(service: ServiceClient, ada: Visitor) -> None:
    path = await link_to_verify(service)
    with database_down():
        for address in ("/account", "/verify"):
            page = await ada.open(address)
            assert (page.status, page.headers["Retry-After"]) == (503, "1")
            assert page.only("h1").text == "This page is temporarily unavailable"
        assert (await ada.open(path)).status == 200
        page = await ada.send("Confirm this address")
        assert (page.status, page.headers["Retry-After"]) == (503, "1")
        assert "We can't do this right now." in page.errors
        assert "10.1.2.3" not in page.html
    assert (await ada.send("Confirm this address")).path == "/account"


async def test_the_token_is_in_the_form_and_in_no_other_address(service: ServiceClient, visitor: Visitor) -> None:
    await visitor.register()
    token = (await link_to_verify(service)).partition("=")[2]
    for path in ("/verify", "/reset", "/invitation"):
        page = await visitor.open(f"{path}?token={token}")
        assert page.headers["Referrer-Policy"] == "strict-origin"
        assert page.forms[0].fields["token"] == token
        assert not any(token in each.get(name) for each in page.elements for name in ("href", "src", "action"))
    assert (await visitor.open("/login")).headers["Referrer-Policy"] == "same-origin"


def test_no_token_is_logged(serving: Serving) -> None:
    for path in ("/verify", "/reset", "/invitation"):
        address = f"http://127.0.0.1:{serving.port}{path}"
        with urllib.request.urlopen(f"{address}?token=secret-1") as response:
            assert response.status == 200
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(address, data=b"token=secret-2&password=secret-3&new_password=secret-4")
        serving.wait_for(f'"POST","route":"{path}"')
    assert "secret" not in serving.output


class TestOptional:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return with_mail(servers, tmp_path, email_verification="optional", mail_requests=1)

    async def test_the_account_says_that_the_address_is_not_confirmed(self, service: ServiceClient, visitor: Visitor) -> None:
        page = await visitor.register()
        assert page.path == "/account"
        assert "Not confirmed yet" in page.text
        assert (await visitor.open("/verify")).path == "/account"
        page = await visitor.send("Send again")
        assert page.path == "/account"
        assert "We've sent the mail again." in page.text
        assert (await visitor.send("Send again")).status == 429
        await visitor.open(await link_to_verify(service))
        page = await visitor.send("Confirm this address")
        assert page.path == "/account"
        assert "Not confirmed yet" not in page.text
        assert not any("Send again" in form.buttons for form in page.forms)


class TestWithoutMail:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path)

    async def test_the_account_has_no_form_for_the_address(self, visitor: Visitor) -> None:
        page = await visitor.register()
        assert "Change address" not in page.text
        for path in ("/account/email", "/account/verification"):
            page = await visitor.post(path, {"email": "new@example.com", "password": "correct horse"})
            assert page.status == 404
            assert "This service sends no mails. Please ask its administrator to change this for you." in page.errors


class TestRequiredWithoutMail:
    @pytest.fixture
    def service_settings(self, servers: Servers, tmp_path: Path) -> Settings:
        return servers.service_settings(tmp_path, email_verification="required")

    async def test_the_administrator_is_named_instead_of_a_mail(self, visitor: Visitor) -> None:
        page = await visitor.register()
        assert (page.status, page.path) == (200, "/verify")
        assert "Please ask its administrator to confirm your address." in page.text
        assert [form.action for form in page.forms] == ["/account/sign-out", "/account/password"]
