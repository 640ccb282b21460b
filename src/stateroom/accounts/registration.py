"""New accounts: who may make one (`REGISTRATION`), and whether its address must be verified (`EMAIL_VERIFICATION`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import BadInput, Conflict, FieldError, RegistrationClosed, TokenInvalid
from . import groups
from .chosen import normal_email, typed_email
from .users import TAKEN

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..settings import Settings
    from .accounts import Accounts
    from .mail.outbox import Outbox
    from .mail_tokens import MailToken, MailTokens
    from .user import User

INVITED = "must be the address that was invited"


@dataclass(frozen=True, slots=True)
class Registered:
    """`user`: the new user, who is signed in next. None if nobody may learn whether the address had an account already."""

    user: User | None


class Registration:
    """Makes accounts for visitors. Operators make accounts with `Operators.add` (operators.py)."""

    def __init__(self, settings: Settings, accounts: Accounts, outbox: Outbox, tokens: MailTokens) -> None:
        self._settings = settings
        self._accounts = accounts
        self._outbox = outbox
        self._tokens = tokens

    @property
    def tells_nobody(self) -> bool:
        """Whether the response is the same for a new address and for one that has an account. The owner learns by mail."""
        settings = self._settings
        return settings.registration == "open" and settings.has_mail and settings.email_verification == "required"

    async def register(
        self, email: str, password: str, name: str, address: str | None, *, invitation: str | None = None
    ) -> Registered:
        """Make a new user. `address`: the client's IP address. `invitation`: the token of an invitation's link.

        Each registration counts against the client's address as a failed sign-in does. Otherwise a client could find out who
        has an account, or fill the database with accounts.
        Raises `BadInput`, `RegistrationClosed`, `TokenInvalid`, `Conflict`, `TooManyAttempts`, `Saturated`, `DatabaseUnavailable`.
        """
        self._check_may_register(invitation)
        errors = self._accounts.faults(email=email, password=password, name=name)
        if errors:
            raise BadInput(errors=tuple(errors))
        invited = await self._invited(invitation, email)
        tells_nobody = self.tells_nobody and invited is None
        compared = normal_email(email)
        async with self._accounts.attempts.counted(compared, address):
            owner = await self._accounts.users.by_email(compared)  # before the costly hash; the table's constraint decides
            if owner is not None and not tells_nobody:
                raise Conflict(TAKEN)
            password_hash = await self._accounts.passwords.hash(password)
            try:
                user = None if owner is not None else await self._create(email, name.strip(), password_hash, invited)
            except Conflict:
                if not tells_nobody:
                    raise
                user = None
            if user is None:
                await self._tell_owner(email)
        if tells_nobody:  # and the failures of an account that exists stay counted: guesses must not be had for a registration
            return Registered(None)
        self._accounts.attempts.registered(compared, address)
        return Registered(user)

    def _check_may_register(self, invitation: str | None) -> None:
        mode = self._settings.registration
        if mode == "closed":
            raise RegistrationClosed("this service does not let visitors make accounts")
        if mode == "invited" and not invitation:
            raise RegistrationClosed("only people who are invited can make an account; use the link in the invitation")

    async def _invited(self, invitation: str | None, email: str) -> MailToken | None:
        if not invitation:
            return None
        found = await self._tokens.find(invitation, "invitation")
        if found is None:
            raise TokenInvalid
        if normal_email(found.email) != normal_email(email):
            raise BadInput(errors=(FieldError("email", INVITED),))
        return found

    async def _create(self, email: str, name: str, password_hash: str, invited: MailToken | None) -> User:
        must_verify = invited is None and self._settings.email_verification != "off"

        async def and_then(connection: AsyncConnection, user: User) -> None:
            if invited is not None:
                if not await self._tokens.use(connection, invited):
                    raise TokenInvalid
                await groups.join(connection, user.id, invited.details.get("groups", ()))
            elif must_verify and self._settings.has_mail:
                await put_verification(self._outbox, connection, user)

        user = await self._accounts.users.create(
            email, name, password_hash, must_verify=must_verify, is_proved=invited is not None, and_then=and_then
        )
        self._outbox.wake()
        return user

    async def _tell_owner(self, email: str) -> None:
        """Tell the owner of an account that somebody tried to register with its address."""

        async def step(connection: AsyncConnection) -> None:
            await self._outbox.put(connection, "taken", address=typed_email(email))

        await self._outbox.write(step)


async def put_verification(outbox: Outbox, connection: AsyncConnection, user: User) -> None:
    """Mail a user the link that verifies the account's address, in a transaction of the caller."""
    details = {"generation": user.generation, "epoch": user.epoch}
    await outbox.put(connection, "verify", address=user.address, user_id=user.id, details=details)


REGISTRATION = web.AppKey("stateroom_registration", Registration)
