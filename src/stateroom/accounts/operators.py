"""What operators do to accounts: add them, invite people, hand over reset links, set passwords, change groups.

An operator answers for the address of an account that they add, so it counts as proved. If the operator gives no password, nobody
knows the account's password until its owner sets one by a link. A link is mailed, or returned for the operator to hand over.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import BadInput, Conflict, RegistrationClosed, SettingsError
from ..logs import security_event
from . import groups as user_groups
from .chosen import typed_email
from .passwords import LOCKED

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..sessions.manager import SessionManager
    from ..settings import Settings
    from .accounts import Accounts
    from .mail.composing import Composer
    from .mail.outbox import Outbox
    from .mail_tokens import MailTokens
    from .user import User

EXISTS = "an account with this email exists; to let its owner set a new password, run `stateroom users set-password EMAIL`"


class Operators:
    """The steps of operators. Each call raises `DatabaseUnavailable`.

    `by_mail`: the link is mailed, and the call returns None. Otherwise the call returns the link, which is valid from now.
    Calls with `by_mail` raise `SettingsError` if no mails are sent (`MAIL_URL`), or if it is unknown what links begin with
    (`PUBLIC_URL`). They change nothing then.
    """

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        sessions: SessionManager,
        outbox: Outbox,
        tokens: MailTokens,
        *,
        composer: Composer,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._sessions = sessions
        self._outbox = outbox
        self._tokens = tokens
        self._composer = composer

    @property
    def has_mail(self) -> bool:
        """Whether links can be mailed."""
        return self._settings.has_mail

    async def add(self, email: str, name: str, password: str, *, groups: Collection[str] = ()) -> User:
        """Make an account with this password. Raises `BadInput`, `Conflict` if the address has an account, `Saturated`."""
        self._check(email=email, name=name, password=password)
        user_groups.check_names(groups)
        await self._check_is_free(email)  # before the costly hash; the table's constraint decides
        password_hash = await self._accounts.passwords.hash(password)

        async def join(connection: AsyncConnection, user: User) -> None:
            await user_groups.join(connection, user.id, groups)

        user = await self._accounts.users.create(email, name.strip(), password_hash, is_proved=True, and_then=join)
        security_event("user_added", user_id=user.id)
        return user

    async def add_without_password(
        self, email: str, name: str, *, groups: Collection[str] = (), by_mail: bool
    ) -> tuple[User, str | None]:
        """Make an account whose password nobody knows, and a link with which its owner sets one. Raises as `add`."""
        self._check(email=email, name=name)
        user_groups.check_names(groups)
        self._check_links(by_mail=by_mail)
        link: str | None = None

        async def and_then(connection: AsyncConnection, user: User) -> None:
            nonlocal link
            await user_groups.join(connection, user.id, groups)
            link = await self._reset_link(connection, user, by_mail=by_mail)

        user = await self._accounts.users.create(email, name.strip(), LOCKED, is_proved=True, and_then=and_then)
        self._outbox.wake()
        security_event("user_added", user_id=user.id)
        return user, link

    async def invite(self, email: str, *, groups: Collection[str] = (), by_mail: bool) -> str | None:
        """Invite somebody to make an account with this address, in these groups. Former invitations of the address end.

        Raises `RegistrationClosed` if nobody can make an account, `BadInput`, `Conflict` if the address has an account.
        """
        if self._settings.registration == "closed":
            raise RegistrationClosed(
                "REGISTRATION is closed, so nobody can use an invitation; set it to invited, or run `stateroom users add`"
            )
        self._check(email=email)
        user_groups.check_names(groups)
        self._check_links(by_mail=by_mail)
        details = {"groups": sorted(set(groups))}

        async def step(connection: AsyncConnection) -> str | None:
            if await self._accounts.users.read(connection, email=email) is not None:
                raise Conflict(EXISTS)
            await self._tokens.void_invitations(connection, email)
            if by_mail:
                await self._outbox.put(connection, "invitation", address=typed_email(email), details=details)
                return None
            token = await self._tokens.issue(connection, _new_id(), "invitation", email=typed_email(email), details=details)
            return self._composer.link("/invitation", token)

        link = await self._outbox.write(step)
        security_event("invited", by_mail=by_mail)
        return link

    async def reset_link(self, user: User, *, by_mail: bool) -> str | None:
        """Make a link with which the owner of an account sets a new password. The present password stays valid until then.

        Raises `Conflict` for a disabled account: its links do not work.
        """
        if user.is_disabled:
            raise Conflict("the account is disabled, so a link would not work; enable the account first")
        self._check_links(by_mail=by_mail)

        async def step(connection: AsyncConnection) -> str | None:
            return await self._reset_link(connection, user, by_mail=by_mail)

        link = await self._outbox.write(step)
        security_event("reset_link_made", user_id=user.id, by_mail=by_mail)
        return link

    async def set_password(self, user: User, password: str) -> int | None:
        """Set a password at once. Every session of the user and every mailed link of the account end.

        Returns how many sessions ended, None if that is unknown because Redis is unavailable.
        Raises `BadInput`, `Saturated`, and `Conflict` if the password has changed meanwhile.
        """
        self._check(password=password)
        new_hash = await self._accounts.passwords.hash(password)

        async def store(connection: AsyncConnection) -> None:
            users = self._accounts.users
            if not await users.set_password_hash(user.id, new_hash, seen=user.password_hash, within=connection):
                raise Conflict("the password was changed by another process meanwhile; try again")
            await self._tokens.void(connection, user.id)
            await self._accounts.tell_password_set(connection, user)

        count = await self._sessions.revoke_all(user.id, reason="password", in_transaction=store)
        self._outbox.wake()
        security_event("password_set", user_id=user.id, count=count)
        return count

    async def change_groups(self, user: User, *, add: Collection[str] = (), remove: Collection[str] = ()) -> list[str]:
        """Put a user into groups and out of groups, and return the groups then. Raises `BadInput`."""
        user_groups.check_names({*add, *remove})
        for name in sorted({*add} & {*remove}):
            raise BadInput(f"the group {name} is to be added and removed; name it once")
        former = await self._accounts.groups.of(user.id)
        names = await self._accounts.groups.change(user.id, add=add, remove=remove)
        if names != former:
            security_event("groups_changed", user_id=user.id, groups=names)
        return names

    def _check(self, **given: str) -> None:
        errors = self._accounts.faults(**given)
        if errors:
            raise BadInput(errors=tuple(errors))

    def _check_links(self, *, by_mail: bool) -> None:
        if by_mail and not self._settings.has_mail:
            raise SettingsError("MAIL_URL: is not set, so no mails are sent; set it, or hand the link over yourself")
        if self._settings.public_url is None:
            raise SettingsError(
                "PUBLIC_URL: is not set, but links begin with it; set it, for example PUBLIC_URL=https://example.com"
            )

    async def _check_is_free(self, email: str) -> None:
        if await self._accounts.users.by_email(email) is not None:
            raise Conflict(EXISTS)

    async def _reset_link(self, connection: AsyncConnection, user: User, *, by_mail: bool) -> str | None:
        if by_mail:
            await self._outbox.put(connection, "reset", address=user.address)
            return None
        token = await self._tokens.issue(connection, _new_id(), "reset", email=user.address, user=user)
        return self._composer.link("/reset", token)


def _new_id() -> str:
    """In place of a mail's id, from which a token is derived: no mail carries this token."""
    return secrets.token_hex(16)


OPERATORS = web.AppKey("stateroom_operators", Operators)
