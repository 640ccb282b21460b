"""Where mails go, and from whom they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stateroom.errors import SettingsError
from stateroom.settings import Settings
from stateroom.settings.mail import MailSender, MailServer, parse_sender

SECRET = "hunter2-correct-horse"
SERVED: dict[str, Any] = {"mail_from": "no-reply@example.com", "public_url": "https://example.com"}


def server(url: str) -> MailServer:
    found = Settings(mail_url=url, **SERVED).mail_url
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("smtp://mail.example.com", "smtp", "mail.example.com", 587),
        ("smtps://mail.example.com", "smtps", "mail.example.com", 465),
        ("smtp://mail.example.com:2525/", "smtp", "mail.example.com", 2525),
        ("SMTPS://[::1]:1465", "smtps", "::1", 1465),
        ("smtp://localhost:25", "smtp", "localhost", 25),
    ],
)
def test_a_server_has_a_scheme_a_host_and_a_port(url: str, scheme: str, host: str, port: int) -> None:
    found = server(url)
    assert (found.scheme, found.host, found.port) == (scheme, host, port)
    assert (found.user, found.password.get_secret_value(), found.is_folder) == ("", "", False)


def test_a_user_and_a_password_are_decoded_and_not_shown() -> None:
    found = server("smtp://ada%40example.com:p%40ss%2Fword%23@mail.example.com")
    assert (found.user, found.password.get_secret_value()) == ("ada@example.com", "p@ss/word#")
    assert str(found) == "smtp://mail.example.com:587"
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///var/mails", "/var/mails"),
        ("file:/var/mails", "/var/mails"),
        ("file:mails", "mails"),
        ("file:///var/my%20mails", "/var/my mails"),
    ],
)
def test_a_folder_has_a_path(url: str, path: str) -> None:
    found = server(url)
    assert found.is_folder
    assert found.path == Path(path)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("no-reply@example.com", "", "no-reply@example.com"),
        ("Stateroom <no-reply@example.com>", "Stateroom", "no-reply@example.com"),
        ("St. Room's Räume <no-reply@example.com>", "St. Room's Räume", "no-reply@example.com"),
        ('"Rooms, Ltd" <a+b@mail.example.com>', "Rooms, Ltd", "a+b@mail.example.com"),
        ("<stateroom@localhost>", "", "stateroom@localhost"),
    ],
)
def test_a_sender_has_an_address_and_perhaps_a_name(text: str, name: str, address: str) -> None:
    assert parse_sender(text) == MailSender(name, address)


def test_embedded_mode_writes_mails_into_the_state_folder(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert settings.mail_url == MailServer.folder(tmp_path / "mail")
    assert settings.mail_from is not None
    assert settings.public_url == "http://127.0.0.1:8080"
    assert settings.email_verification == "off"


def test_a_public_url_without_a_scheme_is_not_said_to_have_a_path() -> None:
    with pytest.raises(SettingsError, match=r"'example.com' is not an origin; write only a scheme and a host"):
        Settings(public_url="example.com")


def test_another_mode_has_no_mail_until_it_is_set() -> None:
    production: dict[str, Any] = {"redis_host": "redis", "cookie_keys": "A" * 43, "database_url": "none"}
    settings = Settings(**production)
    assert not settings.has_mail
    assert settings.email_verification == "off"
    settings = Settings(**production, **SERVED, mail_url="smtps://mail.example.com")
    assert settings.has_mail
    assert settings.email_verification == "required"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mail_url": "smtp://mail.example.com"}, "MAIL_FROM: required with MAIL_URL; for example"),
        ({"mail_url": "smtp://mail.example.com", "mail_from": "a@example.com"}, "PUBLIC_URL: required with MAIL_URL, because"),
        ({"mail_tls_ca": "ca.pem"}, "MAIL_TLS_CA: has no effect without MAIL_URL; set MAIL_URL"),
        (
            {"mail_url": "file:mails", "mail_tls_ca": "ca.pem", **SERVED},
            "MAIL_TLS_CA: has no effect, because MAIL_URL names a folder",
        ),
    ],
)
def test_settings_of_mail_that_do_not_fit_each_other_stop_startup(values: dict[str, Any], words: str) -> None:
    Path("ca.pem").touch()
    with pytest.raises(SettingsError) as refused:
        Settings(redis_host="redis", cookie_keys="A" * 43, database_url="none", **values)
    assert str(refused.value).startswith(words)


def test_an_application_may_have_a_mail_from_of_its_own() -> None:
    assert not Settings(redis_host="redis", cookie_keys="A" * 43, database_url="none", mail_from="shop@example.com").has_mail


def test_a_file_in_place_of_the_folder_stops_startup() -> None:
    Path("a-file").touch()
    with pytest.raises(SettingsError, match="MAIL_URL: names a file, and mails need a folder; name a folder"):
        server("file:a-file")


@pytest.mark.parametrize("password", ["hu#sh", "hu/sh", "hu?sh", "hu[sh"])
def test_a_raw_special_character_gets_the_hint_to_encode_it(password: str) -> None:
    with pytest.raises(SettingsError) as refused:
        server(f"smtp://user:{password}@mail.example.com")
    assert "percent-encode" in str(refused.value)
    assert password not in str(refused.value)
