"""Sends the mails that wait: claims one, makes its letter, delivers it, deletes it. Every worker has a sender.

Mails go one after another over one connection. A mail that the server defers is tried again later, each time after twice as
long. If the server itself is unavailable, or a setting is wrong, then this worker leaves the server alone for a while, and no
mail is lost. The log names a mail by its id and kind, never by its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from ...errors import DatabaseUnavailable
from ...logs import get_logger
from .faults import Deferred, Refused, ServerUnavailable, WrongSetting

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Steps
    from ...telemetry.metrics import Metrics
    from .carrier import Carrier
    from .letter import Compose, Letter, WaitingMail
    from .message import Sender as From
    from .outbox import Outbox
    from .pace import Pace

log = get_logger(__name__)

RELEASE_SECONDS = 0.4
CUTS = 3
"""After so many mails in a row without a reply, the fault is the server's, not a mail's."""


class Sender:
    """Sends mails until it is cancelled.

    `_delivered`: the ids of mails that were sent, but could not be deleted yet, because the database was unavailable. `_held`: the
    ids of mails that this worker has claimed and could not give back, for the same reason.

    `_failures`: how often in a row the server was unavailable. `_cuts`: how many mails in a row it gave no reply to.
    `_fault`: the last fault in the log, None while mails go out.
    """

    def __init__(
        self,
        database: Steps,
        outbox: Outbox,
        carrier: Carrier,
        *,
        compose: Compose,
        mail_from: From,
        metrics: Metrics,
        pace: Pace,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._carrier = carrier
        self._compose = compose
        self._from = mail_from
        self._metrics = metrics
        self._pace = pace
        self._delivered: set[str] = set()
        self._held: set[str] = set()
        self._failures = 0
        self._cuts = 0
        self._fault: str | None = None
        self._not_before = 0.0
        self._count_at = 0.0

    async def run(self) -> None:
        """Send what is due at once, then at each poll and each time the outbox is woken."""
        while True:
            try:
                await self._turn()
            except DatabaseUnavailable as fault:
                log.debug("mails_put_off", reason=fault.detail)
                self._metrics.mails_waiting.set(math.nan)
                self._metrics.mail_oldest_age.set(math.nan)
                self._count_at = 0.0
            await self._outbox.sleep(self._pace.next_poll())

    async def _turn(self) -> None:
        for mail_id in list(self._delivered):
            await self._finish(mail_id)
        for mail_id in list(self._held):
            await self._outbox.defer(mail_id, 0)
            self._held.discard(mail_id)
        if _now() >= self._not_before:
            await self._send_batch()
        if _now() >= self._count_at:
            await self._count()

    async def _send_batch(self) -> None:
        """Send what is due, at most `batch` mails. Another turn follows at once if there may be more."""
        try:
            for _ in range(self._pace.batch):
                mail = await self._outbox.claim()
                if mail is None:
                    return
                await self._send(mail)
                if _now() < self._not_before:
                    return
            self._outbox.wake()
        finally:
            await self._carrier.close()

    async def _send(self, mail: WaitingMail) -> None:
        if mail.id in self._delivered:  # the claim expired while the database was unavailable
            await self._finish(mail.id)
            return
        try:
            letter = await self._letter(mail)
            if letter is None:
                return
            message = self._from.message(letter, mail.id)
            await self._carrier.deliver(message, sender=self._from.address, recipient=letter.to, mail_id=mail.id)
        except Refused as fault:
            log.warning("mail_refused", mail=mail.id, kind=mail.kind, code=fault.code)
            self._metrics.mails["failed"].inc()
            await self._outbox.done(mail.id)
        except Deferred as fault:
            log.info("mail_deferred", mail=mail.id, kind=mail.kind, code=fault.code)
            self._cuts = self._cuts + 1 if fault.code is None else 0
            if self._cuts >= CUTS:
                self._take_pause(ServerUnavailable("no reply to a mail"))
            await self._defer(mail, self._pace.delay(mail.attempts + 1))
        except ServerUnavailable as fault:
            pause = self._take_pause(fault)
            await self._defer(mail, pause)
        except DatabaseUnavailable:
            self._held.add(mail.id)
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._outbox.defer(mail.id, 0)
            raise
        except Exception:  # an error of ours: the mail waits until it is corrected
            await self._defer(mail, self._pace.delay(mail.attempts + 1))
            raise
        else:
            self._metrics.mails["sent"].inc()
            self._delivered.add(mail.id)
            self._note_success()
            await self._finish(mail.id)

    async def _letter(self, mail: WaitingMail) -> Letter | None:
        """Make the letter of a claimed mail. None if another worker has it, or if nothing is to be sent."""

        async def step(connection: AsyncConnection) -> Letter | None:
            if not await self._outbox.keep_claim(connection, mail.id):
                return None
            letter = await self._compose(connection, mail)
            if letter is None:
                await self._outbox.delete(connection, mail.id)
            return letter

        return await self._database.write(step)

    async def _finish(self, mail_id: str) -> None:
        try:
            await self._outbox.done(mail_id)
        except asyncio.CancelledError:  # a mail that is sent already must not wait for the next process
            with contextlib.suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._outbox.done(mail_id)
            raise
        self._delivered.discard(mail_id)

    async def _defer(self, mail: WaitingMail, seconds: float) -> None:
        if await self._outbox.defer(mail.id, seconds):
            self._metrics.mails["deferred"].inc()
        else:
            log.error("mail_given_up", mail=mail.id, kind=mail.kind, attempts=mail.attempts + 1)
            self._metrics.mails["failed"].inc()

    def _take_pause(self, fault: ServerUnavailable) -> float:
        """Leave the server alone for a while, and return for how many seconds. Log the fault if it is a new one."""
        self._failures += 1
        pause = self._pace.pause(self._failures)
        self._not_before = _now() + pause
        name = f"{fault.reason} {fault.code}"
        if name != self._fault:
            self._fault = name
            if isinstance(fault, WrongSetting):
                log.error("mail_setting_wrong", reason=fault.reason, code=fault.code, fix=fault.fix)
            else:
                log.warning("mail_server_unavailable", reason=fault.reason, code=fault.code)
        return pause

    def _note_success(self) -> None:
        self._failures = self._cuts = 0
        if self._fault is not None:
            self._fault = None
            log.info("mail_server_available")

    async def _count(self) -> None:
        waiting = await self._outbox.waiting()
        self._metrics.mails_waiting.set(waiting.count)
        self._metrics.mail_oldest_age.set(waiting.oldest_seconds)
        self._count_at = _now() + self._pace.figures


def _now() -> float:
    return asyncio.get_running_loop().time()
