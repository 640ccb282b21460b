"""The mails of a deployment: takes those that wait in a user database as a sender does, or reads those in a folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING

from stateroom.accounts.mail.composing import Composer
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail_tokens import MailTokens
from stateroom.accounts.users import Users
from stateroom.database import Database
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.sealing.key_ring import KeyRing, load_keys

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from stateroom.accounts.mail.letter import Kind, Letter, WaitingMail
    from stateroom.settings import Settings


@dataclass(frozen=True)
class Mail:
    """A mail that was sent. `token`: that of its link; empty without a link."""

    kind: Kind
    to: str
    token: str


class Mailbox:
    """Everybody's mailbox. `sent`: all mails so far, the newest last."""

    def __init__(self, database: Database, outbox: Outbox, composer: Composer) -> None:
        self._database = database
        self._outbox = outbox
        self._composer = composer
        self.sent: list[Mail] = []

    async def deliver(self) -> list[Mail]:
        """Send what waits. Returns it."""
        new: list[Mail] = []
        while (claimed := await self._outbox.claim()) is not None:
            mail = await self.send(claimed)
            if mail is not None:
                new.append(mail)
        return new

    async def claim(self) -> WaitingMail:
        """Claim a mail, which `send` sends later."""
        claimed = await self._outbox.claim()
        assert claimed is not None, "no mail waits"
        return claimed

    async def send(self, claimed: WaitingMail) -> Mail | None:
        """Send a mail. None if it must not be sent any more."""

        async def step(connection: AsyncConnection) -> Letter | None:
            if not await self._outbox.keep_claim(connection, claimed.id):
                return None
            return await self._composer.compose(connection, claimed)

        letter = await self._database.write(step)
        await self._outbox.done(claimed.id)
        if letter is None:
            return None
        mail = Mail(letter.kind, letter.to, letter.values["link"].partition("token=")[2])
        self.sent.append(mail)
        return mail

    async def token(self, kind: Kind, to: str) -> str:
        """Send what waits. Returns the token of the newest mail of this kind to this address."""
        await self.deliver()
        return next(each.token for each in reversed(self.sent) if (each.kind, each.to) == (kind, to))

    async def waiting(self) -> int:
        """How many mails wait."""
        return (await self._outbox.waiting()).count


@contextlib.asynccontextmanager
async def mailbox_of(settings: Settings) -> AsyncIterator[Mailbox]:
    """The mailbox of a deployment that was started with these settings before."""
    database = Database(settings)
    try:
        row = await Journal(database, settings.longest_session_ms).known_deployment()
        assert row is not None, "the deployment has started"
        name = row.name or ""
        deployment = Deployment(name)
        deployment.id = row.id
        ring = KeyRing(load_keys(settings), settings.session_name, deployment, Lifetimes.of(settings))
        tokens = MailTokens(database, lambda: (row.id, name), lambda: ring.derive_key("mail tokens"))
        composer = Composer(settings, Users(database, settings.longest_session_ms), tokens)
        yield Mailbox(database, Outbox(database), composer)
    finally:
        await database.aclose()


def tokens_in(folder: Path, to: str, page: str) -> list[str]:
    """The tokens of the links to this page in the mails of a folder (`MAIL_URL=file:`) to this address, the newest last."""
    found: list[str] = []
    for path in sorted(folder.glob("*.eml")):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        if message["To"] == to:
            text = message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
            found += re.findall(rf"{page}\?token=([A-Za-z0-9_-]+)", text)
    return found
