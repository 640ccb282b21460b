"""Sets the session cookie when the headers of the response leave.

By then handlers, middlewares on both sides of ours and signal handlers have run, and the response is the one that really
leaves: an outer middleware may have replaced it, or made a 304 of it. So no response has the cookie before, and no exception
has it that code may raise again. A committed sign-in has ended the client's former session. So every response that leaves
after it has the new cookie.

aiohttp gives each request one writer, which copies of the request share. Its `write_headers` is called last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import ref

import msgspec
from multidict import CIMultiDict

from ..backend.budget import during_request
from ..errors import StateroomError, StoreUnavailable
from ..logs import get_logger
from . import cookie_fate
from .caching import carries_no_renewal, make_private, vary_by_session

if TYPE_CHECKING:
    from .request_session import RequestSession

log = get_logger(__name__)

_AT_ONCE_SECONDS = 0.001


class Departure(msgspec.Struct, eq=False):  # made in C: there is one for each request
    """Stands in the place of `write_headers` of a request's writer. `current`: the session of the request.

    The writer holds it, so it must not hold the writer: every request would be left to the garbage collector.
    """

    writer: ref[Any]
    current: RequestSession

    async def __call__(self, status_line: str, headers: CIMultiDict[str]) -> None:
        current = self.current
        record = current.record
        has_cookie = False
        if current.owes_cookie or record.is_refused or current.doubled is not None or current.must_renew or record.is_written:
            headers = CIMultiDict(headers)  # those of an exception, or of a response that a middleware keeps, stay as they are
            with during_request():
                has_cookie = await self._complete(int(status_line.split(" ", 2)[1]), headers)
        if not has_cookie:  # else the headers forbid caches to store it already (CookieJar)
            if current.transport == "bearer":
                make_private(headers)
            if current.is_used:
                vary_by_session(headers)
        current.sent, record.headers_sent = current.begun, True
        writer: Any = self.writer()
        await type(writer).write_headers(writer, status_line, headers)

    async def _complete(self, status: int, headers: CIMultiDict[str]) -> bool:
        """Save what is not saved yet and set the cookie. Returns whether the response sets or clears the cookie."""
        current = self.current
        await self._save_late(status)
        if current.record.is_refused and not current.clear:  # the client drops its value, unless it has a newer one
            current.clear = not await current.manager.was_replaced(current.session)
        return await self._give_cookie(status, headers)

    async def _save_late(self, status: int) -> None:
        """Renew if that waited for the status, and save later writes. If that fails, no response can say so: the log does."""
        current = self.current
        record, manager = current.record, current.manager
        if record.data_fault is not None:
            return
        if current.must_renew and not carries_no_renewal(status) and record.renewed_ms < manager.renewal_horizon():
            current.reissue |= await manager.renew(current.session)
        if record.is_written:
            try:
                current.reissue |= await manager.save(current.session)
            except (StateroomError, TypeError, ValueError) as error:
                fix = "write to the session in a handler, or in a middleware that is appended after stateroom.setup(app)"
                log.error("session_not_saved", reason=str(error), fix=fix)

    async def _give_cookie(self, status: int, headers: CIMultiDict[str]) -> bool:
        """Set or clear the cookie, if the client must know. A bearer's client gets its value from the handler."""
        current = self.current
        record, jar, doubled = current.record, current.frontend.jar, current.doubled
        everywhere = doubled is not None
        if current.keeps_cookie and record.token is current.came_with:
            return False
        if doubled is not None and current.transport == "cookie":
            doubled.tell(headers)
        if current.transport == "cookie" and current.must_reissue:
            if record.token is current.came_with and (carries_no_renewal(status) or await self._is_outdated()):
                return False
            max_age = record.idle_ms // 1000 if record.is_persistent else None
            sealed = current.manager.seal(current.session, "cookie")
            jar.write(headers, sealed, max_age=max_age, everywhere=everywhere)
            return True
        if current.drops_cookie or (current.clear and current.transport == "cookie"):
            if current.drops_trace and doubled is None:  # else the sign-in page still says why nobody is signed in
                cookie_fate.drop_trace(headers)
            jar.clear(headers, everywhere=everywhere)
            return True
        return False

    async def _is_outdated(self) -> bool:
        """Whether the value of before must not be given once more: a parallel request may have given the client a new one.

        It may have if this response was held up since its session was saved.
        """
        record = self.current.record
        if time.monotonic() - self.current.saved_at < _AT_ONCE_SECONDS:
            return False
        try:
            return not await self.current.manager.exists(record.user_id, record.ref.handle)
        except StoreUnavailable:
            return True
