"""What the API asks about accounts: register, authenticate, change a password."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import BadInput, Conflict, DatabaseUnavailable, InvalidCredentials, NotFound, TooManyAttempts, Unavailable
from ..request.proxies import kept_form
from ..telemetry.logging import security_event
from .passwords import MAX_PASSWORD_LENGTH, Passwords
from .throttle import Throttle, network_of
from .users import User, Users, email_errors, name_errors, normal_email

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..backend.client import RedisClient
    from ..database import Database
    from ..sessions.model.rows import InTransaction
    from ..settings import Settings
    from ..telemetry.metrics import Metrics

USERS_REMEMBERED = 10_000
IDENTITY_SECONDS = 60.0
"""How old a name or an address in forward auth's headers may be."""
DEMO_EMAIL, DEMO_PASSWORD, DEMO_NAME = "demo@example.com", "password123", "Demo"


class Accounts:
    """Users and their passwords, with throttled sign-ins. Knows nothing of sessions."""

    def __init__(
        self, settings: Settings, database: Database, client: RedisClient, metrics: Metrics, *, hashing_threads: int | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self.users = Users(database)
        self.throttle = Throttle(client, settings)
        self._passwords = Passwords(settings, metrics, threads=hashing_threads)
        self._forgiving: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._good_until: dict[int, float] = {}
        self._known: OrderedDict[int, User] = OrderedDict()

    async def aclose(self) -> None:
        await asyncio.gather(*self._forgiving.values(), return_exceptions=True)
        await self._passwords.aclose()

    async def register(self, email: str, password: str, name: str, address: str | None) -> User:
        """A new user. Raises `BadInput`, `Conflict`, `TooManyAttempts`, `Saturated`, `DatabaseUnavailable`.

        Each counts against the client's address as a failed sign-in does: tries at addresses that are taken tell who
        has an account, and accounts by the thousand fill the database.
        """
        errors = [*email_errors(email), *self._passwords.errors(password), *name_errors(name)]
        if errors:
            raise BadInput(errors=tuple(errors))
        email = normal_email(email)
        async with self._attempt(email, address):
            if await self.users.by_email(email) is not None:  # before the costly part; the table decides
                raise Conflict("an account with this email exists")
            user = await self.users.create(email, name.strip(), await self._passwords.hash(password))
        self._meanwhile((email, address), self.throttle.acquit(email, address))
        return user

    async def authenticate(self, email: str, password: str, address: str | None) -> User:
        """The user with this address and password.

        Raises `InvalidCredentials`, the same after the same time for an unknown user, a wrong password and a
        disabled account; `TooManyAttempts`, `Saturated`, `DatabaseUnavailable`.
        """
        email = normal_email(email)
        async with self._attempt(email, address):
            return await self._verified(email, password, address, await self.users.by_email(email))

    def count_login(self, *, degraded: bool) -> None:
        """Somebody has signed in; `degraded`: the session could not be stored."""
        self._metrics.logins["degraded" if degraded else "success"].inc()

    async def verify_password(self, user_id: int, password: str, address: str | None) -> User:
        """The user, if this is the password. Raises as `authenticate`, and `NotFound`."""
        user = await self.get(user_id)
        async with self._attempt(user.email, address):
            return await self._verified(user.email, password, address, user)

    def refusal(self, user_id: int | None, address: str | None) -> InvalidCredentials:
        """The error for a sign-in that is refused, once counted and logged."""
        self._metrics.logins["failure"].inc()
        security_event("sign_in_failed", user_id=user_id, address=self._kept(address))
        return InvalidCredentials()

    async def change_password(self, user_id: int, current: str, new: str, address: str | None) -> tuple[User, InTransaction]:
        """The user, and what stores the new password: in the transaction in which the caller ends the user's sessions.

        Raises as `authenticate`, and `BadInput`; the second raises `Conflict` where the password has changed meanwhile.
        """
        errors = self._passwords.errors(new, "new_password")
        if errors:
            raise BadInput(errors=tuple(errors))
        user = await self.verify_password(user_id, current, address)
        fresh = await self._passwords.hash(new)

        async def store(connection: AsyncConnection) -> None:
            if not await self.users.set_password_hash(user_id, fresh, seen=user.password_hash, within=connection):
                raise Conflict("the password was changed by another request")

        return user, store

    async def get(self, user_id: int) -> User:
        """Raises `NotFound`, `DatabaseUnavailable`."""
        user = await self.users.by_id(user_id)
        if user is None:
            raise NotFound("there is no such user")
        self._remember(user)
        return user

    async def profile(self, user_id: int) -> User:
        """Who a user is, to show: while the database is away, as this process saw them last. Raises as `get`."""
        try:
            return await self.get(user_id)
        except DatabaseUnavailable:
            known = self._known.get(user_id)
            if known is None:
                raise
            return known

    async def identity(self, user_id: int) -> User:
        """The same, for those who ask at each request: as this process saw them within the last minute.

        Raises `NotFound`, `DatabaseUnavailable`.
        """
        known = self._known.get(user_id)
        if known is not None and time.monotonic() < self._good_until.get(user_id, 0.0):
            return known
        user = await self.profile(user_id)
        self._good_until[user_id] = time.monotonic() + IDENTITY_SECONDS
        if len(self._good_until) > 2 * USERS_REMEMBERED:
            self._good_until = {each: until for each, until in self._good_until.items() if each in self._known}
        return user

    def _remember(self, user: User) -> None:
        """A bounded number of users, without their passwords."""
        self._known[user.id] = replace(user, password_hash="")
        self._known.move_to_end(user.id)
        if len(self._known) > USERS_REMEMBERED:
            self._known.popitem(last=False)

    async def ensure_demo_user(self) -> None:
        """The user of embedded mode, to try things with."""
        if await self.users.by_email(DEMO_EMAIL) is None:
            try:
                await self.users.create(DEMO_EMAIL, DEMO_NAME, await self._passwords.hash(DEMO_PASSWORD))
            except Conflict:
                return

    @contextlib.asynccontextmanager
    async def _attempt(self, email: str, address: str | None) -> AsyncIterator[None]:
        """An attempt is counted before it is made; one that we could not carry out is given back."""
        if (email, address) in self._forgiving:  # the one before was a good one, and that comes first
            await asyncio.wait([self._forgiving[email, address]])
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._passwords.share(network_of(address)))
                await self.throttle.reserve(email, address)
            except TooManyAttempts:
                self._metrics.logins["throttled"].inc()
                security_event("sign_in_throttled", address=self._kept(address))
                raise
            try:
                yield
            except Unavailable:
                await self.throttle.give_back(email, address)
                raise

    def _forgive(self, email: str, address: str | None) -> None:
        self._meanwhile((email, address), self.throttle.forgive(email, address))

    def _meanwhile(self, who: tuple[str, str | None], step: Awaitable[None]) -> None:
        """Forget the account's failures, while the caller goes on to store the session: one wait for Redis, not two."""
        earlier = self._forgiving.get(who)
        task = self._forgiving[who] = asyncio.create_task(_after(earlier, step))
        task.add_done_callback(lambda done: self._forgiving.pop(who) if self._forgiving.get(who) is done else None)

    async def _verified(self, email: str, password: str, address: str | None, user: User | None) -> User:
        """The user whose password this is, as they are now. The attempt has been counted; a good one is given back."""
        stored = user.password_hash if user is not None else None
        matches = await self._passwords.verify(password[: MAX_PASSWORD_LENGTH + 1], stored)
        if user is not None and matches:
            # Hashing takes its time: who was disabled meanwhile, or has a new password, does not get in.
            current = await self.users.by_id(user.id)
            if current is not None and current.password_hash != stored:
                return await self._verified(email, password, address, current)
            if current is not None and not current.is_disabled:
                self._remember(current)
                self._forgive(email, address)
                return await self._rehashed(current, password, address)
        raise self.refusal(user.id if user is not None else None, address)

    def _kept(self, address: str | None) -> str:
        return kept_form(address, self._settings.session_address)

    async def _rehashed(self, user: User, password: str, address: str | None) -> User:
        """The user with a hash as the settings want it now; another time, where this is no good time for it."""
        if not self._passwords.needs_rehash(user.password_hash):
            return user
        try:
            fresh = await self._passwords.hash(password)
            is_stored = await self.users.set_password_hash(user.id, fresh, seen=user.password_hash)
        except Unavailable:
            return user
        if is_stored:
            return replace(user, password_hash=fresh)
        # Another sign-in has renewed it meanwhile, or there is a new password.
        return await self._verified(user.email, password, address, await self.users.by_id(user.id))


async def _after(earlier: asyncio.Task[None] | None, step: Awaitable[None]) -> None:
    if earlier is not None:
        await asyncio.wait([earlier])
    await step


ACCOUNTS = web.AppKey("stateroom_accounts", Accounts)
