"""TLS, the sign-in, and what happens if one of them is not as the settings say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stateroom.database import Database
from stateroom.errors import SettingsError
from stateroom.settings import Settings

from ...logs import capture_events
from ...servers import Servers
from .conftest import Certificates
from .mail_server import MailServer, Tls, mail_server
from .room import Room, url_of, worker

USERS = {"rooms": "p@ss word/1"}
CREDENTIALS = "rooms:p%40ss%20word%2F1"

RoomFor = Callable[..., Room]


async def first_error(room: Room) -> str:
    """The fix in the first error that a sender logs."""
    with capture_events() as events:
        async with room.sending():
            while not (found := [each for each in events if each["event"] == "mail_setting_wrong"]):
                await room.outbox.sleep(0.02)
    assert await room.waiting() == 1, "the mail is kept"
    assert not any("p@ss" in str(each) for each in events)
    return str(found[0]["fix"])


async def test_a_mail_goes_by_starttls_with_a_sign_in(servers: Servers, certificates: Certificates, room_for: RoomFor) -> None:
    with mail_server(servers, "starttls", context=certificates.good, users=USERS) as server:
        room = room_for(f"smtp://{CREDENTIALS}@localhost:{server.port}", ca=certificates.ca)
        await room.put()
        async with room.sending():
            await server.arrived(1)
        assert server.sign_ins == 1


async def test_a_mail_goes_over_tls_from_the_first_byte_with_a_sign_in(
    servers: Servers, certificates: Certificates, room_for: RoomFor
) -> None:
    with mail_server(servers, "smtps", context=certificates.good, users=USERS) as server:
        room = room_for(f"smtps://{CREDENTIALS}@localhost:{server.port}", ca=certificates.ca)
        await room.put()
        async with room.sending():
            await server.arrived(1)
        assert server.sign_ins == 1


@pytest.mark.parametrize("tls", ["starttls", "smtps"])
async def test_the_event_loop_of_the_service_sends_over_tls(
    servers: Servers, certificates: Certificates, database_settings: Settings, database: Database, tls: Tls
) -> None:
    """It is uvloop's, with our own sockets."""
    with mail_server(servers, tls, context=certificates.good, users=USERS) as server:
        url = f"{'smtps' if tls == 'smtps' else 'smtp'}://{CREDENTIALS}@localhost:{server.port}"
        room = Room(database, url=url, ca=certificates.ca)
        await room.put()
        await room.put("grace@example.com")
        async with worker(url_of(database_settings), url, str(certificates.ca)):
            await server.arrived(2)
            await room.emptied()
        assert server.connections == 1


@pytest.mark.parametrize("tls", ["starttls", "smtps"])
async def test_nothing_is_sent_to_a_server_with_the_certificate_of_an_unknown_ca(
    servers: Servers, certificates: Certificates, room_for: RoomFor, tls: Tls
) -> None:
    with mail_server(servers, tls, context=certificates.foreign, users=USERS) as server:
        scheme = "smtps" if tls == "smtps" else "smtp"
        room = room_for(f"{scheme}://{CREDENTIALS}@localhost:{server.port}", ca=certificates.ca)
        await room.put()
        assert "MAIL_TLS_CA" in await first_error(room)
        assert (server.sign_ins, server.mails) == (0, [])


async def test_nothing_is_sent_without_tls_to_another_machine(
    servers: Servers, room_for: RoomFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(servers) as server:
        room = room_for(f"smtp://localhost:{server.port}")
        monkeypatch.setattr("stateroom.accounts.mail.smtp.is_loopback_name", lambda host: False)
        await room.put()
        assert "STARTTLS" in await first_error(room)
        assert server.mails == []

        monkeypatch.undo()
        async with room.sending():
            await server.arrived(1)


async def test_a_certificate_of_its_own_making_is_enough_on_this_machine_only(
    servers: Servers, certificates: Certificates, room_for: RoomFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(servers, "starttls", context=certificates.foreign) as server:
        room = room_for(f"smtp://127.0.0.1:{server.port}")
        await room.put()
        async with room.sending():
            await room.emptied()

        monkeypatch.setattr("stateroom.accounts.mail.smtp.is_loopback_name", lambda host: False)
        await room.put()
        assert "MAIL_TLS_CA" in await first_error(room)
        assert len(server.mails) == 1


async def test_a_wrong_scheme_names_the_port(servers: Servers, room_for: RoomFor) -> None:
    with mail_server(servers) as server:
        room = room_for(f"smtps://localhost:{server.port}")
        await room.put()
        assert "MAIL_URL" in await first_error(room)


async def test_a_refused_sign_in_is_tried_once_each_time_and_mails_go_out_when_it_is_corrected(
    servers: Servers, certificates: Certificates, room_for: RoomFor
) -> None:
    with mail_server(servers, "starttls", context=certificates.good, users={"rooms": "another"}) as server:
        room = room_for(f"smtp://{CREDENTIALS}@localhost:{server.port}", ca=certificates.ca)
        mail = await room.put()
        with capture_events() as events:
            async with room.sending():
                await server.until(lambda: server.sign_ins >= 2, "two sign-ins")
                assert server.sign_ins <= server.connections, "one attempt for each connection"
                server.users.update(USERS)
                await server.arrived(1)

    assert server.ids == [f"<{mail}@rooms.example>"]
    [fault] = [each for each in events if each["log_level"] == "error"]
    assert (fault["event"], fault["code"]) == ("mail_setting_wrong", 535)
    assert "MAIL_URL" in fault["fix"]
    assert "p@ss" not in str(events)


async def test_a_server_that_wants_a_sign_in_names_the_setting(
    servers: Servers, certificates: Certificates, room_for: RoomFor
) -> None:
    with mail_server(servers, "starttls", context=certificates.good, users=USERS) as server:
        room = room_for(f"smtp://localhost:{server.port}", ca=certificates.ca)
        await room.put()
        assert "MAIL_URL" in await first_error(room)


async def test_a_server_without_sign_in_names_the_setting(servers: Servers, room_for: RoomFor) -> None:
    with mail_server(servers) as server:
        room = room_for(f"smtp://{CREDENTIALS}@localhost:{server.port}")
        await room.put()
        assert "MAIL_URL" in await first_error(room)


async def test_a_ca_file_without_a_certificate_stops_startup(room_for: RoomFor, certificates: Certificates) -> None:
    broken = certificates.ca.with_name("broken.pem")
    broken.write_text("no certificate")
    with pytest.raises(SettingsError, match="MAIL_TLS_CA"):
        room_for("smtps://mail.example", ca=broken).post()


async def test_the_message_has_text_and_html_and_says_that_it_is_automatic(room: Room, server: MailServer) -> None:
    mail = await room.put()
    async with room.sending():
        await server.arrived(1)
    [message] = server.mails
    assert message["From"] == "Rooms <no-reply@rooms.example>"
    assert message["Message-ID"] == f"<{mail}@rooms.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == "Confirm your email address"
    assert message["Date"].datetime.tzinfo is not None
    assert message.get_content_type() == "multipart/alternative"
    text, html = (part.get_content() for part in message.iter_parts())
    for part in (text, html):
        assert "https://rooms.example/confirm#token=SECRET-TOKEN" in part
