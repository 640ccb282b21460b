"""Saving a loaded session: only what changed, in one atomic script that does nothing if the session is gone."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import SessionEnded, StoreUnavailable
from ...logs import get_logger
from ..model.data import decode_value, encode_value
from ..model.fields import data_field
from ..store.session_store import Conflict

if TYPE_CHECKING:
    from ...telemetry.metrics import Metrics
    from ..model.clock import Clock
    from ..model.identity import SessionRef
    from ..model.record import SessionRecord
    from ..store.session_store import SessionStore
    from .load import Loader
    from .sign_ins import SignIns

log = get_logger(__name__)


class Saver:
    """Writes what requests change. It is the `SessionWriter` of every session. `renew_ms`: the renew interval."""

    def __init__(
        self, *, store: SessionStore, loader: Loader, sign_ins: SignIns, metrics: Metrics, clock: Clock, renew_ms: int
    ) -> None:
        self._store = store
        self._loader = loader
        self._sign_ins = sign_ins
        self._metrics = metrics
        self.clock = clock
        self.renew_ms = renew_ms
        # An entry lives while somebody holds its lock.
        self._changing: weakref.WeakValueDictionary[tuple[SessionRef, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def renewal_horizon(self) -> int:
        """Sessions that were renewed before this time are due for renewal (milliseconds since the epoch)."""
        return self.clock.now_ms() - self.renew_ms + 1

    async def save(self, record: SessionRecord, *, renew: bool = False) -> bool:
        """Write what changed; with `renew`, slide the idle lifetime if that is due. Whether the client needs a new value.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        delta = record.delta()
        if not record.is_stored:
            if delta:
                await self._sign_ins.create(record, None, {}, remember=False)
            return bool(delta)
        renew = renew and record.renewed_ms < self.renewal_horizon()
        if not delta:
            return renew and await self.renew(record)
        saved = await self._store.save(record.ref, delta, renew=renew)
        if saved is None:
            raise SessionEnded(await self._loader.why_gone(record))
        record.accept(delta)
        self._metrics.session_bytes.observe(saved.size)
        if saved.renewed is not None:
            record.set_renewed(saved.renewed.renewed_at, saved.renewed.expires_at)
        return saved.renewed is not None

    async def change(self, record: SessionRecord, key: str, function: Callable[[Any], Any]) -> Any:
        """Set one value to what `function` makes of it, atomically. See `Session.change`."""
        if not record.is_stored:
            value = function(record.get(key))
            if value is not None:
                record[key] = value
            elif key in record:
                del record[key]
            await self.save(record)
            return value
        name, seen = data_field(key), record.raw(key)
        # Callers within a worker take turns. Otherwise all of them would try again each time one succeeds.
        lock = self._changing.setdefault((record.ref, key), asyncio.Lock())
        async with lock:
            while True:
                value = function(decode_value(seen))
                raw = None if value is None else encode_value(key, value)
                outcome = await self._store.change(record.ref, name, seen, raw)
                if isinstance(outcome, Conflict):
                    seen = outcome.current
                    continue
                if outcome is None:
                    raise SessionEnded(await self._loader.why_gone(record))
                record.accept_value(key, raw, value)
                self._metrics.session_bytes.observe(outcome)
                return value

    async def take(self, record: SessionRecord, fields: list[str]) -> list[bytes | None]:
        """Read and delete fields, so that each value is handed out once, also to parallel requests."""
        if not record.is_stored:
            return [None] * len(fields)
        taken = await self._store.take(record.ref, fields)
        if taken is None:
            raise SessionEnded(await self._loader.why_gone(record))
        return taken

    async def renew(self, record: SessionRecord) -> bool:
        """Slide the idle lifetime. False if the session is gone or the store is unavailable: the request does not fail then."""
        try:
            renewed = await self._store.renew(record.ref, interval_ms=self.renew_ms)
        except StoreUnavailable as fault:
            log.debug("renewal_put_off", reason=fault.detail)
            return False
        if renewed is None:
            return False
        record.set_renewed(renewed.renewed_at, renewed.expires_at)
        return True

    async def keep_alive(self, record: SessionRecord) -> bool:
        """Renew without a request of the client. See `Session.renew`."""
        if not record.is_stored or record.data_fault is not None:
            return False
        if record.renewed_ms >= self.renewal_horizon():
            return True
        try:
            renewed = await self._store.renew(record.ref, interval_ms=self.renew_ms)
            if renewed is None:
                raise SessionEnded(await self._loader.why_gone(record))
        except StoreUnavailable as fault:  # the next call may do it
            log.debug("renewal_put_off", reason=fault.detail)
            return False
        record.set_renewed(renewed.renewed_at, renewed.expires_at)
        return True
