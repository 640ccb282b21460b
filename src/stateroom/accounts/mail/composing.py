"""Makes the letter of a waiting mail: looks the account up as it is now, and makes the link's token valid.

A mail is made at the moment of sending, because much may have happened since it was asked for: the account was verified, its
sessions were ended, its address was changed. Such a mail is not sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..chosen import normal_email
from ..mail_tokens import LIFETIME_MS
from .counts import is_too_many
from .letter import Letter, WaitingMail

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...settings import Settings
    from ..mail_tokens import MailTokens, Purpose
    from ..user import User
    from ..users import Users

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


class Composer:
    """Composes letters. `compose` is the `Compose` of the sender."""

    def __init__(self, settings: Settings, users: Users, tokens: MailTokens) -> None:
        self._base = settings.public_url or ""
        self._users = users
        self._tokens = tokens

    async def compose(self, connection: AsyncConnection, mail: WaitingMail) -> Letter | None:
        """The letter of a mail; None if it must not be sent any more. Raises `DatabaseUnavailable`."""
        match mail.kind:
            case "reset":
                user = await self._owner(connection, mail)
                return None if user is None else await self._with_link(connection, mail, "reset", "/reset", user)
            case "taken":
                user = await self._owner(connection, mail)
                if user is None or await is_too_many(connection, mail.id, mail.kind, user.email):
                    return None
                return self._letter(mail, user.address, user)
            case "verify":
                user = await self._unchanged(connection, mail)
                if user is None or user.verified_at is not None or user.address != mail.address:
                    return None
                return await self._with_link(connection, mail, "verify", "/verify", user)
            case "change":
                user = await self._unchanged(connection, mail)
                if user is None or user.email != mail.details.get("former"):
                    return None
                return await self._with_link(connection, mail, "change", "/verify", user)
            case "invitation":
                return await self._with_link(connection, mail, "invitation", "/invitation", None)
            case "change_asked" | "changed" | "password_set":
                user = await self._users.read(connection, user_id=mail.user_id)
                return None if user is None else self._letter(mail, mail.address, user)

    def link(self, page: str, token: str) -> str:
        """The address of a page that a mail links to."""
        return f"{self._base}{page}?token={token}"

    async def _unchanged(self, connection: AsyncConnection, mail: WaitingMail) -> User | None:
        """The mail's user; None if all of the user's sessions were ended since the mail was asked for."""
        user = await self._users.read(connection, user_id=mail.user_id)
        if user is None or user.is_disabled or user.generation != mail.details["generation"]:
            return None
        return user if user.epoch == mail.details["epoch"] else None

    async def _owner(self, connection: AsyncConnection, mail: WaitingMail) -> User | None:
        """The owner of an address that somebody typed; None if it has no account."""
        user = await self._users.read(connection, email=mail.address)
        return None if user is None or user.is_disabled else user

    async def _with_link(
        self, connection: AsyncConnection, mail: WaitingMail, purpose: Purpose, page: str, user: User | None
    ) -> Letter | None:
        """A letter to the address that its link proves: a new one that was typed, or the account's.

        None if too many went there. An operator's invitations are not counted.
        """
        to = mail.address if user is None or purpose == "change" else user.address
        if user is not None and await is_too_many(connection, mail.id, mail.kind, normal_email(to)):
            return None
        token = await self._tokens.issue(connection, mail.id, purpose, email=to, user=user, details=mail.details)
        return self._letter(mail, to, user, link=self.link(page, token), lifetime_ms=LIFETIME_MS[purpose])

    def _letter(self, mail: WaitingMail, to: str, user: User | None, *, link: str = "", lifetime_ms: int = 0) -> Letter:
        """The letter with all values that templates may show. Words that a stranger chose are not among them.

        What was told at an address before (`proved`) counts for that address. The account may have another one by now.
        """
        is_proved = user is not None and bool(mail.details.get("proved", user.verified_at is not None))
        return Letter(
            mail.kind,
            to,
            {
                "name": user.name if user is not None and is_proved else "",
                "email": str(mail.details.get("new", "")) if is_proved else "",
                "link": link,
                "hours": str(lifetime_ms // _HOUR_MS),
                "days": str(lifetime_ms // _DAY_MS),
                "site": urlsplit(self._base).netloc,
                "login_link": f"{self._base}/login",
                "forgot_link": f"{self._base}/forgot",
            },
        )
