"""`python -m bench.trust`: measures what it costs to decide that a session from a settled store may be trusted.

The real rule, over a tail of 20,000 rows, is compared with a call that does nothing. The difference counts. Its budget is
one microsecond.
"""

from __future__ import annotations

import secrets
import time
import timeit

from stateroom.backend.standing import Glimpse, Standing
from stateroom.sessions.journal.held_rows import ROWS_KEPT
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import Row
from stateroom.sessions.protocol.lease import Lease
from stateroom.sessions.protocol.trust import Trust
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.settings import DEFAULT_LEASE_SECONDS

CALLS = 200_000
ROUNDS = 7


class Covered:
    """Stands for the loop that replays the journal: everything is replayed."""

    def covers(self, glimpse: Glimpse) -> bool:
        return glimpse.standing.glimpse is glimpse


def main() -> None:
    lease = Lease(DEFAULT_LEASE_SECONDS)
    tail = Tail(NoJournal(), RedisClock(), lease_ms=lease.milliseconds)
    tail._take([Row(number, f"i{number}", secrets.token_urlsafe(16), None, "logout", 0, 0) for number in range(1, ROWS_KEPT)])  # noqa: SLF001
    standing = Standing()
    standing.connected()
    trust = Trust(
        tail=tail, lookup=None, replay=Covered(), clock=None, lease=lease,  # type: ignore[arg-type]
        has_journal=True, is_journal_required=False, degraded_ms=0,
    )  # fmt: skip
    at = SessionRef("i-1", secrets.token_urlsafe(16))

    def nothing(*_: object) -> bool:
        return True

    def per_call(function: object) -> float:
        best = []
        for _ in range(ROUNDS):
            tail.read_at = time.monotonic() + 3600
            best.append(timeit.timeit(lambda: function(standing.glimpse, at, 0, time.monotonic()), number=CALLS))  # type: ignore[operator]
        return min(best) / CALLS * 1e6

    assert trust.vouches(standing.glimpse, at, 0, time.monotonic()) is False  # nothing was read yet
    bare, real = per_call(nothing), per_call(trust.vouches)
    assert trust.vouches(standing.glimpse, at, 0, time.monotonic()) is True
    print(f"trust: {real - bare:.2f} us per load ({real:.2f} us, {bare:.2f} us of it for the call)")


if __name__ == "__main__":
    main()
