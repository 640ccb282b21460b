"""A real SMTP server with scripted replies. It runs on the event loop of the tests' servers, in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ...patience import PATIENCE_SECONDS
from ...servers import Servers

CUT = "cut"
"""As a reply: the connection is cut instead."""

Tls = Literal["none", "starttls", "smtps"]


class MailServer:
    """`replies`: for `MAIL`, `RCPT`, `DATA` (before the content) and `DOT` (after it): the next replies in place of 250.

    `connections`, `sign_ins`: how many there were. `mails`: what was accepted, in order. `is_cut_after_acceptance`: each accepted
    mail is confirmed, and then the connection is cut. `hold`: until it is set, the server does not reply to `hold_at`, which is
    `MAIL` or `DOT`.
    """

    def __init__(self, tls: Tls, context: ssl.SSLContext | None, users: dict[str, str]) -> None:
        self.tls = tls
        self.users = users
        self.replies: dict[str, deque[str]] = defaultdict(deque)
        self.always: dict[str, str] = {}
        self.mails: list[EmailMessage] = []
        self.connections = 0
        self.sign_ins = 0
        self.is_cut_after_acceptance = False
        self.hold: threading.Event | None = None
        self.hold_at = "DOT"
        self.port = 0
        self._context = context
        self._changed = threading.Condition()
        self._holding = threading.Event()
        self._server: asyncio.Server | None = None

    @property
    def ids(self) -> list[str]:
        """The Message-IDs of accepted mails, in order."""
        return [str(mail["Message-ID"]) for mail in self.mails]

    def recipients(self) -> list[str]:
        return [str(mail["To"]) for mail in self.mails]

    async def arrived(self, count: int) -> None:
        """Wait until so many mails were accepted."""
        await self.until(lambda: len(self.mails) >= count, f"{count} mails")

    async def until(self, condition: Any, what: str) -> None:
        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(condition, PATIENCE_SECONDS), f"not in time: {what}"

        await asyncio.to_thread(wait)

    async def is_holding(self) -> None:
        """Wait until a client waits for the reply that `hold` keeps back."""
        assert await asyncio.to_thread(self._holding.wait, PATIENCE_SECONDS), "no mail came"

    async def _hold(self, command: str) -> None:
        if self.hold is not None and self.hold_at == command:
            self._holding.set()
            await asyncio.get_running_loop().run_in_executor(None, self.hold.wait)

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> SMTP:
            self.connections += 1
            is_starttls = self.tls == "starttls"
            made = _Connection(
                self,
                hostname="mail.test",
                loop=loop,
                tls_context=self._context if is_starttls else None,
                require_starttls=is_starttls,
                authenticator=self._authenticate,
                auth_require_tls=self.tls != "smtps",
            )
            made._auth_required = bool(self.users)  # as an argument, it warns about smtps
            return made

        context = self._context if self.tls == "smtps" else None
        self._server = await loop.create_server(connection, "127.0.0.1", port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def next_reply(self, command: str) -> str | None:
        queue = self.replies[command]
        return queue.popleft() if queue else self.always.get(command)

    def accept(self, content: bytes) -> None:
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        with self._changed:
            self.mails.append(message)
            self._changed.notify_all()

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        with self._changed:
            self.sign_ins += 1
            self._changed.notify_all()
        is_right = self.users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=is_right, handled=False)

    # Hooks of aiosmtpd

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        await self._hold("MAIL")
        reply = self.next_reply("MAIL") or "250 OK"
        if reply.startswith("250"):
            envelope.mail_from = address
        return reply

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        reply = self.next_reply("RCPT") or "250 OK"
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await self._hold("DOT")
        reply = self.next_reply("DOT") or "250 OK"
        assert isinstance(envelope.content, bytes)
        if reply == CUT:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            raise ConnectionResetError
        if reply.startswith("250"):
            self.accept(envelope.content)
            if self.is_cut_after_acceptance:
                await server.push(reply)
                assert isinstance(server.transport, asyncio.WriteTransport)
                server.transport.close()
                raise ConnectionResetError
        return reply


class _Connection(SMTP):
    def __init__(self, server: MailServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._mail_server = server

    async def smtp_DATA(self, arg: str | None) -> None:
        reply = self._mail_server.next_reply("DATA")
        if reply == CUT:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readuntil(b"\r\n")
            assert isinstance(self.transport, asyncio.WriteTransport)
            self.transport.abort()
            raise ConnectionResetError
        if reply is not None:
            await self.push(reply)
            return
        await super().smtp_DATA(arg)


@contextlib.contextmanager
def mail_server(
    servers: Servers, tls: Tls = "none", *, context: ssl.SSLContext | None = None, users: dict[str, str] | None = None
) -> Iterator[MailServer]:
    """A running server. `context`: for TLS. `users`: who may send, with their passwords; everybody if it is empty."""
    server = MailServer(tls, context, users or {})
    servers.thread.run(server.start())
    try:
        yield server
    finally:
        if server.hold is not None:
            server.hold.set()
        servers.thread.run(server.stop())
