"""Delivers mails to an SMTP server: over TLS from the first byte (`smtps`), or by STARTTLS (`smtp`).

Without TLS nothing is sent, except to a server on this machine that offers none. Everybody else on the way could read the links
in mails, which change passwords. Sockets are opened by our own resolver, for the reason in network/loops.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import aiosmtplib

from ...addresses import is_loopback_name
from ...errors import SettingsError
from ...network.sockets import OPENER
from .faults import Deferred, Refused, ServerUnavailable, WrongSetting
from .pace import COMMAND_SECONDS, MAIL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

    from ...settings.mail import MailServer

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 15.0
QUIT_SECONDS = 2.0
CLOSES = 421
"""The server closes the connection (https://www.rfc-editor.org/rfc/rfc5321#section-3.8)."""
_NEEDS_SIGN_IN = frozenset({530, 534, 535, 538})
"""https://www.rfc-editor.org/rfc/rfc4954#section-6"""

_REPLIES = range(200, 600)
_OF_PROTOCOL = frozenset({500, 502, 503, 504})
"""The server did not understand a command, or not at this point. That says nothing about the mail.

https://www.rfc-editor.org/rfc/rfc5321#section-4.2.2"""
_TOO_MANY = 552
"""As a reply to RCPT: later (https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.10). Many servers mean a full mailbox."""

_CREDENTIALS = "correct the user and the password in MAIL_URL"
_NO_TLS = "use a server that offers STARTTLS, or smtps:// in MAIL_URL if its port speaks TLS from the first byte"


class SmtpCarrier:
    """Keeps one connection from a delivery to the next one, until `close`."""

    def __init__(self, server: MailServer, ca: Path | None, local_name: str) -> None:
        """`ca`: a file with certificates to trust instead of the system's. `local_name`: what we call ourselves (EHLO)."""
        self._server = server
        self._ca = ca
        self._local_name = local_name
        self._context: ssl.SSLContext | None = None
        self._connection: aiosmtplib.SMTP | None = None

    def prepare(self) -> None:
        try:
            self._context = self._make_context()
        except (OSError, ssl.SSLError):
            raise SettingsError(f"MAIL_TLS_CA: {self._ca} has no certificate in PEM format; name a file that has one") from None

    async def check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._connected()
        except TimeoutError:
            raise ServerUnavailable("no connection") from None

    async def deliver(self, message: EmailMessage, *, sender: str, recipient: str, mail_id: str) -> None:
        try:
            async with asyncio.timeout(MAIL_SECONDS):
                connection = await self._connected()
                await self._send(connection, message, sender, recipient)
        except BaseException as error:
            if not isinstance(error, (Refused, Deferred)) or error.code not in _REPLIES:
                self._drop()  # the state of the connection is unknown
            if isinstance(error, TimeoutError):
                raise Deferred from None
            raise

    async def close(self) -> None:
        if self._connection is None:
            return
        with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(QUIT_SECONDS):
                await self._connection.quit()
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._connection is None or not self._connection.is_connected:
            self._drop()
            with _faults_of_server(self._server.host):
                self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> aiosmtplib.SMTP:
        server, is_tls = self._server, self._server.scheme == "smtps"
        sock = await OPENER.open(server.host, server.port, timeout=CONNECT_SECONDS)
        connection = aiosmtplib.SMTP(
            hostname=server.host,
            sock=sock,
            local_hostname=self._local_name,
            timeout=COMMAND_SECONDS,
            use_tls=is_tls,
            start_tls=False,
            tls_context=self._tls_context,
        )
        try:
            await connection.connect()
            await connection.ehlo()
            if not is_tls:
                await self._start_tls(connection)
            if server.user:
                await self._sign_in(connection)
        except BaseException:
            connection.close()
            sock.close()
            raise
        return connection

    async def _start_tls(self, connection: aiosmtplib.SMTP) -> None:
        if connection.supports_extension("starttls"):
            await connection.starttls()
            await connection.ehlo()
        elif not is_loopback_name(self._server.host):
            raise WrongSetting("no STARTTLS", _NO_TLS)

    async def _sign_in(self, connection: aiosmtplib.SMTP) -> None:
        """Sign in by one method only: servers count each failed attempt, and lock the account after some."""
        user, password = self._server.user, self._server.password.get_secret_value()
        methods = connection.server_auth_methods
        if "plain" in methods:
            await connection.auth_plain(user, password)
        elif "login" in methods:
            await connection.auth_login(user, password)
        elif "cram-md5" in methods:
            await connection.auth_crammd5(user, password)
        else:
            raise WrongSetting("no AUTH", "remove the user and the password from MAIL_URL, or use another port or server")

    async def _send(self, connection: aiosmtplib.SMTP, message: EmailMessage, sender: str, recipient: str) -> None:
        """Raises `Refused` or `Deferred` if the server does not accept this mail, and other errors if it accepts none."""
        try:
            await connection.send_message(message, sender=sender, recipients=[recipient], timeout=MAIL_SECONDS)
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            raise (Deferred(code) if code == _TOO_MANY else _of_mail(code)) from None
        except aiosmtplib.SMTPDataError as error:
            raise _of_mail(error.code) from None
        except aiosmtplib.SMTPSenderRefused as error:
            raise _of_sender(error.code) from None
        except aiosmtplib.SMTPResponseException as error:
            raise ServerUnavailable("unexpected reply", error.code) from None
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, OSError):
            raise Deferred from None

    @property
    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._make_context()
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca)
        if self._ca is None and is_loopback_name(self._server.host):  # the usual server there has a certificate of its own making
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _of_mail(code: int) -> Exception:
    """The fault that a reply to RCPT or DATA means."""
    if code in _NEEDS_SIGN_IN:
        return WrongSetting("sign-in required", _CREDENTIALS, code)
    if code == CLOSES:
        return ServerUnavailable("closes", code)
    return Refused(code) if 500 <= code < 600 and code not in _OF_PROTOCOL else Deferred(code)


def _of_sender(code: int) -> Exception:
    """The fault that a reply to MAIL FROM means."""
    if code in _NEEDS_SIGN_IN:
        return WrongSetting("sign-in required", _CREDENTIALS, code)
    if 500 <= code < 600:
        return WrongSetting("sender refused", "set MAIL_FROM to an address that the server accepts as sender", code)
    return ServerUnavailable("sender deferred", code)


@contextlib.contextmanager
def _faults_of_server(host: str) -> Iterator[None]:
    """Raise each fault of a connection, of TLS and of the sign-in as `ServerUnavailable`, or as `WrongSetting`."""
    try:
        yield
    except aiosmtplib.SMTPAuthenticationError as error:
        if 500 <= error.code < 600:
            raise WrongSetting("sign-in refused", _CREDENTIALS, error.code) from None
        raise ServerUnavailable("sign-in deferred", error.code) from None
    except aiosmtplib.SMTPResponseException as error:
        raise ServerUnavailable("unexpected reply", error.code) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        fault = _tls_fault(error)
        if isinstance(fault, ssl.SSLCertVerificationError):
            fix = f"use the name in the server's certificate in MAIL_URL ({host}), or name its CA in MAIL_TLS_CA"
            raise WrongSetting("certificate not valid", fix) from None
        if fault is not None:
            raise WrongSetting(
                "no TLS", "check the port in MAIL_URL: smtps:// is TLS from the first byte, smtp:// is STARTTLS"
            ) from None
        raise ServerUnavailable("no connection") from None


def _tls_fault(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error
