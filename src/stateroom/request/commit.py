"""What a request did to its session is saved, and its response tells the client.

The session is saved when the handler has returned, so that a fault can still become the response. The cookie goes out with
whatever response leaves: one that an outer middleware puts in its place, or the 500 after an exception, too. A sign-in
that was committed has ended the client's former session, so the client must not miss the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import StateroomError
from ..logs import get_logger
from . import cookie_fate
from .caching import carries_no_renewal, keep_out_of_caches, make_private, vary_by_session
from .guards import is_background

if TYPE_CHECKING:
    from .request_session import RequestSession

log = get_logger(__name__)


def needs_commit(current: RequestSession) -> bool:
    """Whether there is a change to save, a renewal due, a cookie to set or to clear. Otherwise the request is done."""
    if current.is_saved:
        return False
    record = current.record
    if current.owes_cookie or current.record.is_refused or current.doubled is not None:
        return True
    current.is_saved = not record.has_news(record.known_ms - current.frontend.renew_ms + 1)
    return not current.is_saved


async def commit(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """Save what changed, and put the cookie in the headers.

    Raises `SessionEnded` if the session ended meanwhile, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`,
    `TypeError` if a value was changed in place to something that JSON cannot say.
    """
    current.is_saved = True
    record, manager = current.record, current.manager
    # The status of a file, which may be 206 or 304, is known when its headers leave.
    renews = not carries_no_renewal(response.status) and not is_background(request)
    current.must_renew = renews and isinstance(response, web.FileResponse)
    renews = renews and not current.must_renew
    if record.data_fault is None and record.has_news(manager.renewal_horizon() if renews else 0):
        current.reissue |= await manager.save(current.session, renew=renews)
    await answer(request, current, response)


async def commit_late(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """What is left to do when the headers of a response leave whose session was saved before. Raises nothing.

    A middleware outside of ours may have written to the session since, and there is no response that could tell a fault.
    """
    record, manager = current.record, current.manager
    if current.must_renew and not carries_no_renewal(response.status) and record.data_fault is None:
        current.reissue |= record.renewed_ms < manager.renewal_horizon() and await manager.renew(current.session)
    if record.is_written:
        try:
            current.reissue |= await manager.save(current.session)
        except (StateroomError, TypeError) as error:
            fix = "write inside of the middleware of stateroom.setup: a middleware that is appended later runs inside of it"
            log.error("session_not_saved", reason=str(error), fix=fix)
    if current.owes_cookie and current.answered is not response and not _has_cookie(current, response):
        give_cookie(request, current, response)


async def answer(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """Tell the client in the headers what became of its value."""
    if current.record.is_refused and not current.clear:  # the client drops its value, unless it has a newer one
        current.clear = not await current.manager.was_replaced(current.session)
    give_cookie(request, current, response)


def give_cookie(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """Set or clear the cookie, if the client must know. A bearer's client gets its value from the handler."""
    if current.transport != "cookie":
        return
    record, doubled = current.record, current.doubled
    if doubled is not None:
        doubled.tell(response.headers)
    if current.must_reissue:
        if record.token is current.came_with and carries_no_renewal(response.status):
            return
        max_age = record.idle_ms // 1000 if record.is_persistent else None
        sealed = current.manager.seal(current.session, "cookie")
        current.frontend.jar.write(response.headers, sealed, max_age=max_age, everywhere=doubled is not None)
    elif current.clear:
        if doubled is None:  # else the sign-in page still says why nobody is signed in
            cookie_fate.remove_trace(request, response)
        current.frontend.jar.clear(response.headers, everywhere=doubled is not None)
    else:
        return
    current.answered = response


def say_to_caches(current: RequestSession, response: web.StreamResponse) -> None:
    """Complete the headers so that no cache gives this response to somebody else. All that handlers set is there."""
    headers = response.headers
    if current.answered is response or (current.owes_cookie and _has_cookie(current, response)):
        keep_out_of_caches(headers)
        return
    if current.transport == "bearer":
        make_private(headers)
    if current.is_used:
        vary_by_session(headers)


def _has_cookie(current: RequestSession, response: web.StreamResponse) -> bool:
    """Whether a middleware has taken our header over from another response."""
    return any(line.startswith(f"{current.frontend.jar.name}=") for line in response.headers.getall("Set-Cookie", ()))


async def save_in_stream(current: RequestSession) -> None:
    """The handler of a stream is done: save what it wrote since its last `save()`. Raises as `Session.save`."""
    record = current.record
    if not record.is_written or record.data_fault is not None:
        return
    if record.is_stored:
        await current.manager.save(current.session)
    elif record.delta():
        log.error("session_not_saved", reason="no cookie can reach the visitor after the headers", fix="write before prepare()")
