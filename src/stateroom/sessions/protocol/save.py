"""Saving a loaded session: only what changed, in one atomic script that does nothing if the session is gone.

Steps of one record take turns, because a request may save and change its session in several tasks at once. So two saves do
not store a message twice, and parallel first writes of a visitor store one session.

If the reply to a save is lost, its messages may be stored. So the next save reads the session first, and leaves them out if
they are there. Only a message that another request has taken meanwhile is stored again.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import HeadersSent, SessionEnded, StoreUnavailable
from ...logs import get_logger
from ..model.data import NOBODY
from ..model.fields import Delta, data_field
from ..model.values import decode_value, encode_value, plain_key
from ..store.results import Conflict
from .under_way import IN_DOUBT, UnderWay

if TYPE_CHECKING:
    from ...telemetry.metrics import Metrics
    from ..model.clock import Clock
    from ..model.identity import SessionRef
    from ..model.record import SessionRecord
    from ..store.session_store import SessionStore
    from .load import Loader
    from .sign_ins import SignIns
    from .trust import Trust

log = get_logger(__name__)


class Saver:
    """Writes the changes of requests. It is the `SessionWriter` of every session.

    `renew_ms`: the renew interval. `timeout`: how many seconds a write may take.
    """

    def __init__(
        self,
        *,
        store: SessionStore,
        loader: Loader,
        sign_ins: SignIns,
        trust: Trust,
        metrics: Metrics,
        clock: Clock,
        renew_ms: int,
        timeout: float,
    ) -> None:
        self._store = store
        self._loader = loader
        self._sign_ins = sign_ins
        self._trust = trust
        self._metrics = metrics
        self.clock = clock
        self.renew_ms = renew_ms
        self._under_way = UnderWay(timeout)
        # An entry lives while a task holds its lock, and with it the record.
        self._turns: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()
        self._changing: weakref.WeakValueDictionary[tuple[SessionRef, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def renewal_horizon(self) -> int:
        """Sessions that were renewed before this time are due for renewal (milliseconds since the epoch)."""
        return self.clock.now_ms() - self.renew_ms + 1

    def turn(self, record: SessionRecord) -> asyncio.Lock:
        """The lock that a step holds while it writes the record."""
        return self._turns.setdefault(id(record), asyncio.Lock())

    async def save(self, record: SessionRecord, *, renew: bool = False) -> bool:
        """Write the changes; with `renew`, slide the idle lifetime if that is due. Returns whether the client needs a new value.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`; for a visitor's first write also
        `HeadersSent`. After an error the changes are kept, and the next save writes them.
        """
        async with self.turn(record):
            await self._settle_doubt(record)
            delta = record.delta()
            if not record.is_stored:
                return bool(delta) and await self._store_visitor(record)
            renew = renew and record.renewed_ms < self.renewal_horizon()
            if not delta:
                return renew and await self.renew(record)
            try:
                saved = await self._under_way.run(record.ref, partial(self._store.save, record.ref, delta, renew=renew))
            except StoreUnavailable as fault:
                if delta.appended and fault.kind in IN_DOUBT:
                    record.in_doubt = Delta(appended=delta.appended, messages_until=delta.messages_until)
                raise
            if saved is None:
                await self._check_merely_gone(record)
                return await self._store_visitor(record)
            record.accept(delta)
            self._metrics.session_bytes.observe(saved.size)
            if saved.renewed is not None:
                record.set_renewed(saved.renewed.renewed_at, saved.renewed.expires_at)
            return saved.renewed is not None

    async def change(self, record: SessionRecord, key: str, function: Callable[[Any], Any]) -> Any:
        """Set one value to what `function` makes of it, atomically. See `Session.change`."""
        key = plain_key(key)
        async with self.turn(record):
            if not record.is_stored:
                return await self._change_unstored(record, key, function)
            # Callers within a worker take turns. Otherwise all of them would try again each time one succeeds.
            async with self._changing.setdefault((record.ref, key), asyncio.Lock()):
                is_there, value = await self._change_stored(record, key, function)
            if is_there:
                return value
            await self._check_merely_gone(record)
            return await self._change_unstored(record, key, function)

    async def take(self, record: SessionRecord, fields: list[str]) -> list[bytes | None]:
        """Read and delete fields, so that each value is handed out once, also to parallel requests."""
        async with self.turn(record):
            await self._settle_doubt(record)
            taken: list[bytes | None] | None = None
            if record.is_stored:
                taken = await self._under_way.run(record.ref, partial(self._store.take, record.ref, fields))
                if taken is None:
                    await self._check_merely_gone(record)
                    self._make_way(record)
            record.note_taken(fields)
            return taken or [None] * len(fields)

    async def renew(self, record: SessionRecord) -> bool:
        """Slide the idle lifetime. False if the session is gone or the store is unavailable: the request does not fail then."""
        return await self._slide(record) or False

    async def keep_alive(self, record: SessionRecord) -> bool:
        """Renew without a request of the client. See `Session.renew`."""
        if not record.is_stored or record.data_fault is not None:
            return False
        if record.renewed_ms >= self.renewal_horizon():
            return True
        is_renewed = await self._slide(record)
        if is_renewed is None:
            with contextlib.suppress(StoreUnavailable):  # Redis lost it: the client's next request stores it again
                raise await self._loader.ended(record)
        return is_renewed or False

    async def _settle_doubt(self, record: SessionRecord) -> None:
        """Find out whether a save whose reply was lost has stored its messages. Raises `StoreUnavailable`."""
        if record.in_doubt is not None:
            record.settle_doubt(await self._store.load(record.ref) if record.is_stored else None)

    async def _slide(self, record: SessionRecord) -> bool | None:
        """Slide the idle lifetime. False if the store is unavailable: the next call may do it. None if the session is gone."""
        try:
            renewed = await self._store.renew(record.ref, interval_ms=self.renew_ms)
        except StoreUnavailable as fault:
            log.debug("renewal_put_off", reason=fault.detail)
            return False
        if renewed is None:
            return None
        record.set_renewed(renewed.renewed_at, renewed.expires_at)
        return True

    async def _change_stored(self, record: SessionRecord, key: str, function: Callable[[Any], Any]) -> tuple[bool, Any]:
        """Whether the session is there, and the value that was stored."""
        name, seen, own = data_field(key), record.raw(key), record.own(key)
        while True:
            # The request's own value wins over what other requests have stored, as in a save.
            value = function(decode_value(seen if own is None else own.raw))
            raw = None if value is None else encode_value(key, value)
            outcome = await self._under_way.run(record.ref, partial(self._store.change, record.ref, name, seen, raw))
            if isinstance(outcome, Conflict):
                seen = outcome.current
                continue
            if outcome is None:
                return False, None
            record.accept_value(key, raw, value, over=own)
            self._metrics.session_bytes.observe(outcome)
            return True, value

    async def _change_unstored(self, record: SessionRecord, key: str, function: Callable[[Any], Any]) -> Any:
        """Set the value and store the visitor's session. If that fails, the key keeps its old value: a retry adds nothing twice."""
        value = function(record.current(key))
        with record.tentatively(key, None if value is None else encode_value(key, value), value):
            if record.delta():
                await self._store_visitor(record)
        return value

    def _make_way(self, record: SessionRecord) -> None:
        """Make the record a new visitor's. All that it holds counts as written, so the end of the request stores it."""
        if not record.headers_sent:  # after the headers nothing can be stored: the data can be read and is not kept
            record.begin_again()
            record.has_gone(record.ref, record.carried, None)
            record.token, record.ref = None, NOBODY
            record.created_ms = record.renewed_ms = record.expires_ms = record.deadline_ms = record.idle_ms = 0

    async def _store_visitor(self, record: SessionRecord) -> bool:
        """Store a new visitor's session with all that the record holds. False if its client cannot keep a value.

        Raises as `save`.
        """
        if record.keeps_nothing:
            return False
        if record.headers_sent:
            raise HeadersSent("saving a visitor's session")
        await self._check_may_begin(record)
        await self._sign_ins.create(record, None, {}, remember=False)
        return True

    async def _check_may_begin(self, record: SessionRecord) -> None:
        """Raises `SessionEnded` if the request brought a session that has ended: its client may have a new one by now.

        If it only expired, or Redis lost it, this returns. Raises `DatabaseUnavailable`.
        """
        if record.gone is not None and record.ended in (None, "expired"):
            record.ended = await self._trust.why_ended_by_journal(record.gone, record.gone_carried) or record.ended
        if record.ended not in (None, "expired"):
            record.is_refused = True
            raise SessionEnded(record.ended)

    async def _check_merely_gone(self, record: SessionRecord) -> None:
        """The store does not have the session any more. Returns if it was a visitor's that nobody ended: a new one replaces it.

        Raises `SessionEnded`, `DatabaseUnavailable`; `StoreUnavailable` if Redis lost a user's.
        """
        if record.ref.user:
            raise await self._loader.ended(record)
        reason = await self._trust.why_ended_by_journal(record.ref, record.carried)
        if reason is not None:
            record.end(reason)
            raise SessionEnded(reason)
