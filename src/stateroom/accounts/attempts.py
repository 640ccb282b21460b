"""Attempts to prove who one is with a password: counted before they are made, and limited."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ..errors import InvalidCredentials, TooManyAttempts, Unavailable
from ..logs import security_event
from ..request.proxies import kept_form
from .throttle import Throttle, network_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from ..backend.client import RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .passwords import Passwords


class Attempts:
    """Counts attempts, logs refused ones, and takes the counts of successful ones back."""

    def __init__(self, settings: Settings, client: RedisClient, passwords: Passwords, metrics: Metrics) -> None:
        self._settings = settings
        self._passwords = passwords
        self._metrics = metrics
        self.throttle = Throttle.of_logins(client, settings)
        # (email, address) -> the task that takes back the count of their last successful attempt. It removes itself when it ends.
        self._forgiving: dict[tuple[str, str | None], asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        """Finish the throttle's steps."""
        await asyncio.gather(*self._forgiving.values(), return_exceptions=True)

    @contextlib.asynccontextmanager
    async def counted(self, email: str, address: str | None) -> AsyncIterator[None]:
        """Count an attempt before it is made. If we could not carry it out, take the count back.

        `email`: of the account, in the form in which addresses are compared. `address`: the client's IP address.
        Raises `TooManyAttempts`.
        """
        if (email, address) in self._forgiving:  # the attempt before succeeded: take its count back first
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

    def succeeded(self, email: str, address: str | None) -> None:
        """Forget the account's failures from this address, and take the address's count back."""
        self._in_background((email, address), self.throttle.forgive(email, address))

    def registered(self, email: str, address: str | None) -> None:
        """Forget the account's failures from this address. The attempt stays counted for the address."""
        self._in_background((email, address), self.throttle.acquit(email, address))

    def refusal(self, user_id: int | None, address: str | None) -> InvalidCredentials:
        """Count and log a refused attempt, and return the error for it."""
        self._metrics.logins["failure"].inc()
        security_event("sign_in_failed", user_id=user_id, address=self._kept(address))
        return InvalidCredentials()

    def _kept(self, address: str | None) -> str:
        return kept_form(address, self._settings.session_address)

    def _in_background(self, who: tuple[str, str | None], step: Awaitable[None]) -> None:
        """Run a step of the throttle while the caller stores the session, so that the user waits for Redis once, not twice."""
        earlier = self._forgiving.get(who)
        task = self._forgiving[who] = asyncio.create_task(_after(earlier, step))
        task.add_done_callback(lambda done: self._forgiving.pop(who) if self._forgiving.get(who) is done else None)


async def _after(earlier: asyncio.Task[None] | None, step: Awaitable[None]) -> None:
    if earlier is not None:
        await asyncio.wait([earlier])
    await step
