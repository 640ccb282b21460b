"""What a mailed link proves: an address is the account's (`verify`, `change`), or whoever sets a new password reads its mail.

Links are opened by mail scanners, and by the owners of addresses that strangers typed. So a link alone verifies nothing:
that takes the account's session or its password too. A reset needs only the link. It makes the account its reader's: every
session ends, pending changes end, and the password of whoever had the account before is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from sqlalchemy.exc import IntegrityError

from ..errors import BadInput, Conflict, FieldError, NotFound, SignInRequired, TokenInvalid
from ..logs import security_event
from .chosen import normal_email, typed_email
from .registration import put_verification
from .throttle import Throttle
from .users import TAKEN

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..backend.client import RedisClient
    from ..sessions.model.rows import InTransaction
    from ..settings import Settings
    from .accounts import Accounts
    from .mail.outbox import Outbox
    from .mail_tokens import MailToken, MailTokens
    from .user import User

SAME = "is the address of your account already"
_UNKNOWN = "unknown link"
"""In place of the account's email in the throttle, if a link leads to no account."""


class Proofs:
    """Verifies addresses, changes them, and resets passwords. Each call raises `DatabaseUnavailable`."""

    def __init__(self, settings: Settings, accounts: Accounts, outbox: Outbox, tokens: MailTokens, client: RedisClient) -> None:
        self._settings = settings
        self._accounts = accounts
        self._outbox = outbox
        self._tokens = tokens
        self.throttle = Throttle.of_mails(client, settings)

    async def ask_to_verify(self, user_id: int, address: str | None) -> None:
        """Mail the verification link again. An account that is verified gets no mail. `address`: the client's IP address.

        Raises `NotFound` without mail, and `TooManyAttempts`.
        """
        self._check_has_mail()
        user = await self._accounts.get(user_id)
        await self.throttle.reserve(user.email, address)
        if user.verified_at is not None:
            return

        async def step(connection: AsyncConnection) -> None:
            await put_verification(self._outbox, connection, user)

        await self._outbox.write(step)

    async def ask_to_change(self, user_id: int, email: str, password: str, address: str | None) -> None:
        """Mail a link to a new address of the account. The present address stays until the link is confirmed, and is told.

        Raises `NotFound` without mail, `BadInput`, `Conflict` if another account has the address, and as
        `Accounts.verify_password`.
        """
        self._check_has_mail()
        errors = self._accounts.faults(email=email)
        if errors:
            raise BadInput(errors=tuple(errors))
        user = await self._accounts.verify_password(user_id, password, address)
        if typed_email(email) == user.address:
            raise BadInput(errors=(FieldError("email", SAME),))
        await self.throttle.reserve(user.email, address)
        if normal_email(email) != user.email and await self._accounts.users.by_email(email) is not None:
            raise Conflict(TAKEN)

        async def step(connection: AsyncConnection) -> None:
            await self._tokens.void(connection, user.id, "change")
            details = {"generation": user.generation, "epoch": user.epoch, "former": user.email}
            await self._outbox.put(connection, "change", address=typed_email(email), user_id=user.id, details=details)
            if user.is_verified:  # an address that nobody proved may be a stranger's
                told = {"new": typed_email(email), "proved": user.verified_at is not None}
                await self._outbox.put(connection, "change_asked", address=user.address, user_id=user.id, details=told)

        await self._outbox.write(step)
        security_event("email_change_asked", user_id=user.id)

    async def confirm(self, token: str, *, user_id: int | None, password: str | None, address: str | None) -> User:
        """Confirm an address by the token of its link, and return the user.

        `user_id`: who is signed in. `password`: the account's; it stands in for a session of the account.
        Raises `SignInRequired` without both, `TokenInvalid`, also if somebody else is signed in, `InvalidCredentials`,
        `Conflict` if another account has got the address meanwhile, `TooManyAttempts`, `Saturated`.
        """
        if user_id is None and password is None:
            raise SignInRequired("confirming needs the account's session or its password; sign in, or send the member password too")
        found = await self._tokens.find(token, "verify", "change")
        if found is not None and found.user_id is not None and found.user_id == user_id:
            return await self._confirmed(found, user_id)
        if password is None:
            raise TokenInvalid
        if found is None or found.user_id is None:
            async with self._accounts.attempts.counted(_UNKNOWN, address):
                await self._accounts.passwords.verify(password, None)  # as long as for a valid link
            raise TokenInvalid
        await self._accounts.verify_password(found.user_id, password, address)
        return await self._confirmed(found, found.user_id)

    async def forget(self, email: str, address: str | None) -> None:
        """Ask for the mail with which the owner of an account sets a new password. `address`: the client's IP address.

        This does the same for every address, whether or not it has an account; the sender looks it up.
        Raises `NotFound` without mail, `BadInput`, `TooManyAttempts`.
        """
        self._check_has_mail()
        errors = self._accounts.faults(email=email)
        if errors:
            raise BadInput(errors=tuple(errors))
        await self.throttle.reserve(normal_email(email), address)

        async def step(connection: AsyncConnection) -> None:
            await self._outbox.put(connection, "reset", address=typed_email(email))

        await self._outbox.write(step)

    async def reset(self, token: str, new: str, address: str | None) -> tuple[User, InTransaction]:
        """Return the user of a reset link, and a function that stores the new password. `address`: the client's IP address.

        The caller calls the function in the transaction in which it ends all of the user's sessions. It raises `TokenInvalid` if
        the link was used meanwhile. Raises `BadInput`, `TokenInvalid`, `TooManyAttempts`, `Saturated`.
        """
        errors = self._accounts.faults(new_password=new)
        if errors:
            raise BadInput(errors=tuple(errors))
        found = await self._tokens.find(token, "reset")
        user = None if found is None or found.user_id is None else await self._accounts.users.by_id(found.user_id)
        if found is None or user is None or user.is_disabled or user.email != normal_email(found.email):
            raise TokenInvalid
        async with self._accounts.attempts.counted(user.email, address):
            new_hash = await self._accounts.passwords.hash(new)
        self._accounts.attempts.succeeded(user.email, address)

        async def store(connection: AsyncConnection) -> None:
            users = self._accounts.users
            is_set = await users.set_password_hash(user.id, new_hash, seen=user.password_hash, within=connection)
            if not is_set or not await self._tokens.use(connection, found, has_raised=True):
                raise TokenInvalid
            await users.verify(user.id, user.email, within=connection)
            await self._tokens.void(connection, user.id)
            await self._accounts.tell_password_set(connection, user)

        return user, store

    def _check_has_mail(self) -> None:
        if not self._settings.has_mail:
            raise NotFound("this service sends no mails; set MAIL_URL to enable them")

    async def _confirmed(self, found: MailToken, user_id: int) -> User:
        former = found.details.get("former") if found.purpose == "change" else None

        async def step(connection: AsyncConnection) -> User:
            users = self._accounts.users
            before = await users.read(connection, user_id=user_id)
            if before is None or before.is_disabled:
                raise TokenInvalid
            # First the user's row, then the tokens: all steps lock them in this order.
            if former is None:
                is_done = await users.verify(user_id, normal_email(found.email), within=connection)
            else:
                is_done = await users.change_email(user_id, former, found.email, within=connection)
            if not is_done or not await self._tokens.use(connection, found):
                raise TokenInvalid
            await self._tokens.void(connection, user_id)
            if former is not None and before.is_verified:
                told = {"new": found.email, "proved": before.verified_at is not None}
                await self._outbox.put(connection, "changed", address=before.address, user_id=user_id, details=told)
            after = await users.read(connection, user_id=user_id)
            assert after is not None
            return after

        try:
            user = await self._outbox.write(step)
        except IntegrityError:
            raise Conflict(TAKEN) from None
        self._accounts.remember(user)
        if former is None:
            security_event("email_verified", user_id=user.id)
        else:
            security_event("email_changed", user_id=user.id)
        return user


PROOFS = web.AppKey("stateroom_proofs", Proofs)
