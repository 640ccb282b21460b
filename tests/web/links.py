"""Mailed links for tests of pages. They are made as the sender of mails makes them, but no mail has to be sent."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any
from unittest import mock

from aiohttp import web

from stateroom import SESSIONS
from stateroom.accounts import ACCOUNTS
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail_tokens import MailTokens, Purpose
from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable
from stateroom.setup import DATABASE

PAGES = {"verify": "/verify", "change": "/verify", "reset": "/reset", "invitation": "/invitation"}


async def link(
    app: web.Application, purpose: Purpose, of: str | None = None, *, email: str = "", details: dict[str, Any] | None = None
) -> str:
    """The path of a link. `of`: the email of the account; None for an invitation. `email`: what it proves, if not `of`."""
    manager = app[SESSIONS]
    database = manager.own(app[DATABASE])
    tokens = MailTokens(database, manager.deployment, lambda: manager.derive_key("mail tokens"))
    user = None if of is None else await app[ACCOUNTS].users.by_email(of)
    assert of is None or user is not None

    async def step(connection: Any) -> str:
        proved = email or of or ""
        return await tokens.issue(connection, secrets.token_hex(16), purpose, email=proved, user=user, details=details)

    return f"{PAGES[purpose]}?token={await database.write(step)}"


@contextlib.contextmanager
def database_down() -> Iterator[None]:
    """Inside this context the user database is unavailable."""
    down = mock.Mock(side_effect=DatabaseUnavailable("10.1.2.3"))
    with mock.patch.multiple(Database, connect=down, begin=down, read=down, write=down):
        yield


@contextlib.contextmanager
def mails_asked_for() -> Iterator[list[tuple[str, str]]]:
    """The mails that are put into the outbox meanwhile: their kinds and addresses."""
    asked: list[tuple[str, str]] = []
    put = Outbox.put

    async def noted(self: Outbox, connection: Any, kind: Any, *, address: str, **more: Any) -> str:
        asked.append((kind, address))
        return await put(self, connection, kind, address=address, **more)

    with mock.patch.object(Outbox, "put", noted):
        yield asked
