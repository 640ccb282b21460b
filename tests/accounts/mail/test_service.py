"""The whole service sends mails while it runs, and commands send none."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail.post import MAIL
from stateroom.app import make_app
from stateroom.drills.node import until
from stateroom.errors import SettingsError
from stateroom.settings import Settings
from stateroom.setup import DATABASE

from ...commands import Serving
from ...conftest import ServiceClient
from ...servers import Servers

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mails"


@pytest.fixture
def mail_settings(servers: Servers, tmp_path: Path, folder: Path) -> Settings:
    return servers.service_settings(
        tmp_path, mail_url=f"file:{folder}", mail_from="no-reply@rooms.example", public_url="https://rooms.example",
        email_verification="off", public_origins="https://rooms.example",
    )  # fmt: skip


async def service(aiohttp_client: AiohttpClient, settings: Settings, **options: Any) -> ServiceClient:
    return await aiohttp_client(make_app(settings, **options))


async def test_a_forgotten_password_is_a_mail_within_moments(
    aiohttp_client: AiohttpClient, mail_settings: Settings, folder: Path
) -> None:
    client = await service(aiohttp_client, mail_settings)
    assert "https://rooms.example/reset" in await mail_of_a_forgotten_password(client, folder)


async def test_a_link_in_a_mail_leads_below_the_path_of_public_url(
    aiohttp_client: AiohttpClient, mail_settings: Settings, folder: Path
) -> None:
    settings = mail_settings.model_copy(update={"public_url": "https://rooms.example/sso"})
    client = await service(aiohttp_client, settings)
    text = await mail_of_a_forgotten_password(client, folder)
    [link] = re.findall(r"https://rooms\.example(/\S+token=\S+)", text)
    assert link.startswith("/sso/reset?token=")
    async with client.get(link) as response:
        assert response.status == 200
        assert 'action="/sso/reset"' in await response.text()


async def mail_of_a_forgotten_password(client: ServiceClient, folder: Path) -> str:
    """The text of the mail to a user who has forgotten the password."""
    async with client.post("/api/auth/register", json=ADA) as response:
        assert response.status == 201, await response.text()
    async with client.post("/api/auth/password/forgot", json={"email": ADA["email"]}) as response:
        assert response.status == 202, await response.text()

    async def is_there() -> bool:
        return bool(list(folder.glob("*.eml")))

    await until(is_there, "a mail")
    [path] = folder.glob("*.eml")
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert message["To"] == ADA["email"]
    text = message.get_body(("plain",))
    assert text is not None
    return str(text.get_content())


async def test_a_command_leaves_its_mails_to_the_service(
    aiohttp_client: AiohttpClient, mail_settings: Settings, folder: Path
) -> None:
    command = make_app(mail_settings, sends_mail=False)
    assert MAIL in command
    command.freeze()
    await command.startup()
    try:
        outbox = Outbox(command[DATABASE])
        await outbox.write(lambda connection: outbox.put(connection, "invitation", address="grace@example.com"))
    finally:
        await command.cleanup()
    assert not folder.exists()

    await service(aiohttp_client, mail_settings)

    async def is_there() -> bool:
        return bool(list(folder.glob("*.eml")))

    await until(is_there, "a mail")


async def test_a_folder_that_cannot_be_made_stops_startup(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = make_app(
        servers.service_settings(
            tmp_path, mail_url=f"file:{tmp_path}/file/mails", mail_from="a@rooms.example", public_url="https://rooms.example"
        )
    )
    app.freeze()
    try:
        with pytest.raises(SettingsError, match="MAIL_URL"):
            await app.startup()
    finally:
        await app.cleanup()


def test_startup_says_where_mails_are(tmp_path: Path) -> None:
    with Serving(tmp_path) as running:
        assert f"mails are written to {tmp_path / 'var' / 'mail'}\n" in running.output
