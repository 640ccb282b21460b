"""What the doctor says about the place to which mails go. No mail is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stateroom.doctor.findings import Finding, Level
from stateroom.doctor.mail import look_at_mail
from stateroom.drills.ports import free_port
from stateroom.settings import Settings

from ..accounts.mail.conftest import Certificates, certificates
from ..accounts.mail.mail_server import mail_server
from ..servers import Servers

__all__ = ["certificates"]


async def found(servers: Servers, folder: Path, url: str | None, **settings: Any) -> list[Finding]:
    given: dict[str, Any] = {"mail_url": url, "mail_from": "us@example.com", "public_url": "https://example.com", **settings}
    made: Settings = servers.settings("valkey", state_dir=folder, **given)
    return await look_at_mail(made)


async def the_one(servers: Servers, folder: Path, url: str | None, **settings: Any) -> Finding:
    (finding,) = await found(servers, folder, url, **settings)
    return finding


async def test_a_server_that_takes_the_sign_in_is_ready(servers: Servers, certificates: Certificates, tmp_path: Path) -> None:
    with mail_server(servers, "starttls", context=certificates.good, users={"rooms": "secret"}) as server:
        url = f"smtp://rooms:secret@localhost:{server.port}"
        finding = await the_one(servers, tmp_path, url, mail_tls_ca=certificates.ca)
        assert finding.level is Level.OK
        assert server.sign_ins == 1
        assert not server.mails
        assert "secret" not in finding.what


async def test_a_refused_password_is_a_fault_that_names_the_setting(
    servers: Servers, certificates: Certificates, tmp_path: Path
) -> None:
    with mail_server(servers, "starttls", context=certificates.good, users={"rooms": "secret"}) as server:
        url = f"smtp://rooms:wrong@localhost:{server.port}"
        finding = await the_one(servers, tmp_path, url, mail_tls_ca=certificates.ca)
    assert (finding.level, finding.check) == (Level.FAULT, "mail-refused")
    assert finding.fix == "correct the user and the password in MAIL_URL"


async def test_a_certificate_of_another_authority_is_a_fault(servers: Servers, certificates: Certificates, tmp_path: Path) -> None:
    with mail_server(servers, "smtps", context=certificates.foreign, users={}) as server:
        finding = await the_one(servers, tmp_path, f"smtps://localhost:{server.port}", mail_tls_ca=certificates.ca)
    assert (finding.level, finding.check) == (Level.FAULT, "mail-refused")
    assert "MAIL_TLS_CA" in finding.fix


async def test_a_server_that_does_not_run_is_a_fault(servers: Servers, tmp_path: Path) -> None:
    finding = await the_one(servers, tmp_path, f"smtp://127.0.0.1:{free_port()}")
    assert (finding.level, finding.check) == (Level.FAULT, "mail-away")
    assert finding.fix == "start the server, or correct MAIL_URL"


async def test_a_file_without_a_certificate_is_a_fault(servers: Servers, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("nothing")
    finding = await the_one(servers, tmp_path, "smtp://mail.example.com", mail_tls_ca=ca)
    assert (finding.level, finding.check) == (Level.FAULT, "mail-setting")
    assert "MAIL_TLS_CA" in finding.what


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_folder_is_ready_and_is_not_made(servers: Servers, tmp_path: Path, *, is_there: bool) -> None:
    folder = tmp_path / "mails"
    if is_there:
        folder.mkdir(mode=0o700)
    finding = await the_one(servers, tmp_path, f"file://{folder}")
    assert finding.level is Level.OK
    assert folder.exists() is is_there


async def test_without_mail_there_is_nothing_to_find(servers: Servers, tmp_path: Path) -> None:
    assert await look_at_mail(servers.settings("valkey", state_dir=tmp_path)) == []
