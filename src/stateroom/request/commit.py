"""Saves a session when its handler has returned. At that time a fault can still become the response.

The cookie is set when the headers leave (departure.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from ..logs import get_logger
from .caching import carries_no_renewal
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
    """Save what changed.

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
    current.saved_at = time.monotonic()
    _ = response.headers  # a response that would leave as ready bytes becomes an ordinary one, whose headers can be completed


async def save_in_stream(current: RequestSession) -> None:
    """The handler of a stream is done: save what it wrote since its last `save()`. Raises as `Session.save`."""
    record = current.record
    if not record.is_written or record.data_fault is not None:
        return
    if record.is_stored:
        await current.manager.save(current.session)
    elif record.delta():
        log.error(
            "session_not_saved",
            reason="no cookie can reach the visitor after the headers",
            fix="write to the session before you call prepare()",
        )
