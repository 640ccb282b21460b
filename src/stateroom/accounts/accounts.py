"""Accounts: authenticate a user, change a password, read a user for display."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import BadInput, Conflict, DatabaseUnavailable, Unavailable
from . import groups
from .attempts import Attempts
from .chosen import email_errors, name_errors, normal_email
from .demo import DemoUser, is_published
from .groups import Groups
from .kept import KeptMails
from .known_users import KnownUsers
from .limits import ChangeLimits
from .mail import counts
from .mail_tokens import delete_tokens_of
from .passwords import KIND_LENGTH, MAX_PASSWORD_LENGTH, Passwords
from .trusted import person_of
from .user import User
from .users import Users

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..backend.client import RedisClient
    from ..database import Steps
    from ..errors import FieldError
    from ..sessions.model.rows import InTransaction
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .access import Person
    from .known_users import Facts
    from .mail.outbox import Outbox


class Accounts:
    """Users and their passwords, with throttled sign-ins. It knows nothing of sessions."""

    def __init__(
        self,
        settings: Settings,
        database: Steps,
        client: RedisClient,
        metrics: Metrics,
        outbox: Outbox,
        *,
        report_unknown: Callable[[int], None],
        hashing_threads: int | None = None,
    ) -> None:
        """`report_unknown`: called with the id of a session's user whom the database does not have."""
        self._outbox = outbox
        self._settings = settings
        self._metrics = metrics
        self.users = Users(database, settings.longest_session_ms)
        self.groups = Groups(database)
        self.kept_mails = KeptMails(database)
        self.limits = ChangeLimits(client, settings)
        self.passwords = Passwords(settings, metrics, threads=hashing_threads)
        self.demo = DemoUser(self.users, self.passwords)
        self.attempts = Attempts(settings, client, self.passwords, metrics)
        self._requires_verification = settings.email_verification == "required"
        self._known = KnownUsers(
            self.users,
            self.groups,
            person_of=self.person,
            is_restricted=self.is_restricted,
            trusted_seconds=settings.degraded_max_age,
            report_unknown=report_unknown,
        )
        self.recent_facts = self._known.recent  # no method around it: forward auth calls it at each request

    async def aclose(self) -> None:
        """Finish the throttle's steps, and end the readings of users and the hashing threads."""
        await self._known.aclose()
        await self.attempts.aclose()
        await self.passwords.aclose()

    def faults(self, **given: str) -> list[FieldError]:
        """The errors of a user's input: `email`, `name`, `password`, `new_password`, each if it is given."""
        errors: list[FieldError] = []
        for field, value in given.items():
            match field:
                case "email":
                    errors += email_errors(value)
                case "name":
                    errors += name_errors(value)
                case "password" | "new_password":
                    errors += self.passwords.errors(value, field)
        return errors

    async def authenticate(self, email: str, password: str, address: str | None) -> User:
        """Return the user with this email and password. `address`: the client's IP address.

        Raises `InvalidCredentials` for an unknown user, an incorrect password and a disabled account: the same error after the
        same time. Raises `TooManyAttempts`, `Saturated`, `DatabaseUnavailable`.
        """
        email = normal_email(email)
        async with self.attempts.counted(email, address):
            return await self._verified(email, password, address, await self.users.by_email(email))

    def count_login(self, *, degraded: bool) -> None:
        """Count a successful sign-in. `degraded`: the session could not be stored."""
        self._metrics.logins["degraded" if degraded else "success"].inc()

    async def verify_password(self, user_id: int, password: str, address: str | None) -> User:
        """Return the user if the password is correct. Raises as `authenticate`."""
        user = await self.get(user_id)
        async with self.attempts.counted(user.email, address):
            return await self._verified(user.email, password, address, user)

    async def change_password(self, user_id: int, current: str, new: str, address: str | None) -> tuple[User, InTransaction]:
        """Check both passwords. Return the user, and a function that stores the new password.

        The caller calls the function in the transaction in which it ends the user's sessions, so that both happen or neither.
        The function raises `Conflict` if the password has changed meanwhile. Raises as `authenticate`, and `BadInput`.
        """
        errors = self.faults(new_password=new)
        if errors:
            raise BadInput(errors=tuple(errors))
        user = await self.verify_password(user_id, current, address)
        new_hash = await self.passwords.hash(new)

        async def store(connection: AsyncConnection) -> None:
            if not await self.users.set_password_hash(user_id, new_hash, seen=user.password_hash, within=connection):
                raise Conflict("another request changed the password; repeat this request with the new password")
            await self.tell_password_set(connection, user)

        return user, store

    async def tell_password_set(self, connection: AsyncConnection, user: User) -> None:
        """Tell a user by mail that the password was changed, in the transaction of the change.

        No mail goes to an address that nobody has proved.
        """
        if self._settings.has_mail and user.is_verified:
            told = {"proved": user.verified_at is not None}
            await self._outbox.put(connection, "password_set", address=user.address, user_id=user.id, details=told)

    async def must_still_verify(self, user_id: int) -> bool:
        """Whether this user may do nothing but verify. Raises as `get`, but a user who was verified once is not asked for again."""
        if not self._requires_verification:
            return False
        known = self._known.last_read(user_id)
        return not (known is not None and known.is_verified) and self.is_restricted(await self.get(user_id))

    def is_restricted(self, user: User) -> bool:
        """Whether this user, as just read, may do nothing but verify."""
        return self._requires_verification and not user.is_verified

    async def get(self, user_id: int) -> User:
        """Return a session's user from the database. Raises `DatabaseUnavailable`, also if the database has no such user.

        Then it was probably restored from a backup, and the session is ended as soon as that is certain.
        """
        return await self._known.get(user_id)

    async def profile(self, user_id: int) -> User:
        """Return a user for display. If the database is unavailable, return the user as this process last read it.

        Raises as `get`; `DatabaseUnavailable` only if this process has not read the user yet.
        """
        try:
            return await self.get(user_id)
        except DatabaseUnavailable:
            known = self._known.last_read(user_id)
            if known is None:
                raise
            return known

    async def facts(self, user_id: int) -> Facts:
        """Return a user with the groups, as this process read them at most a minute ago. For callers that ask at each request.

        If the database is unavailable, they may be `DEGRADED_MAX_AGE` old. Raises `DatabaseUnavailable` if this process has none
        that young, and as `get`.
        """
        return await self._known.facts(user_id)

    def person(self, user: User, groups: Collection[str]) -> Person:
        """A user for access rules and applications. The email is empty if a stranger may have typed it."""
        return person_of(user, groups, self._settings)

    async def identity(self, user_id: int) -> User:
        """Return the user of `facts`. Raises as `facts`."""
        return (await self._known.facts(user_id)).user

    def remember(self, user: User) -> None:
        """Keep a user who was just read in memory, without the password hash."""
        self._known.remember(user)

    async def erase(self, user: User) -> None:
        """Delete an account with its groups, its tokens and the mails that wait for it. Raises `DatabaseUnavailable`."""

        async def step(connection: AsyncConnection) -> None:
            # First the user's row, which other steps lock first too. Then the mails: whoever sends one commits its token before.
            await self.users.erase(user.id, within=connection)
            await self._outbox.delete_of_user(connection, user.id, address=user.address)
            await delete_tokens_of(connection, user)
            await counts.forget(connection, user.email)
            await groups.leave(connection, user.id)

        await self._outbox.write(step)

    async def survey(self) -> None:
        """Check the stored password hashes. Raises `SettingsError` if the pepper is missing, and `DatabaseUnavailable`."""
        self.passwords.survey(await self.users.hash_kinds(KIND_LENGTH))

    def _is_shut_out(self, user: User, password: str) -> bool:
        """Whether the demo user may not sign in here, and these are its published credentials.

        Startup locks the account, but it may not have reached the database, or another process may unlock the account.
        """
        return not self._settings.has_demo_user and is_published(user, password)

    async def _verified(self, email: str, password: str, address: str | None, user: User | None) -> User:
        """Return the user, read again after the check. The attempt is counted already; a success takes the count back."""
        stored = user.password_hash if user is not None else None
        matches = await self.passwords.verify(password[: MAX_PASSWORD_LENGTH + 1], stored)
        if user is not None and matches:
            # Hashing takes long. A user who was disabled meanwhile, or has another password now, must not get in.
            current = await self.users.by_id(user.id)
            if current is not None and current.password_hash != stored:
                return await self._verified(email, password, address, current)
            if current is not None and not current.is_disabled and not self._is_shut_out(current, password):
                self.remember(current)
                self.attempts.succeeded(email, address)
                return await self._rehashed(current, password, address)
        raise self.attempts.refusal(user.id if user is not None else None, address)

    async def _rehashed(self, user: User, password: str, address: str | None) -> User:
        """Store a new hash if the settings for hashing have changed. If it cannot be done now, a later sign-in does it."""
        if not self.passwords.needs_rehash(user.password_hash):
            return user
        try:
            new_hash = await self.passwords.hash(password)
            is_stored = await self.users.set_password_hash(user.id, new_hash, seen=user.password_hash)
        except Unavailable:
            return user
        if is_stored:
            return replace(user, password_hash=new_hash)
        # Another sign-in has stored a new hash meanwhile, or the password has changed.
        return await self._verified(user.email, password, address, await self.users.by_id(user.id))


ACCOUNTS = web.AppKey("stateroom_accounts", Accounts)
