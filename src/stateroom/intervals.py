"""How often a worker asks the Sentinels and reads the journal, and how slow their replies may be.

A worker may use a reply for one lease after it sent the question (`JOURNAL_LEASE`). It sends the next question one interval
after the last one, whether or not the last one has its reply. If every reply takes one round trip, then the newest reply is
of a question that was sent at most one interval and one round trip ago. So a worker always has a reply that is younger than
a lease if

    round trip + interval + margin <= lease

`settles` is this relation. The service rests on it, and `stateroom doctor` judges with it. Times are in seconds.
"""

from __future__ import annotations

import math

from .settings import DEFAULT_LEASE_SECONDS, LONGEST_LEASE_SECONDS, SHORTEST_LEASE_SECONDS

LONGEST_INTERVAL_SECONDS = 0.2
"""A longer lease asks as often: a failover must be found soon, whatever the lease is."""
SHARE_OF_LEASE = 0.4
MARGIN_SECONDS = 0.02
"""How late a timer of a busy process usually is."""
SHORTEST_PATIENCE_SECONDS = 1.0
PATIENCE_LEASES = 2
RESERVE = 1.5
"""A round trip varies, so a recommended lease fits one that is longer by this factor than the longest that was measured."""


def interval(lease: float) -> float:
    """From one question to the Sentinels, or one read of the journal, to the next one."""
    return min(LONGEST_INTERVAL_SECONDS, SHARE_OF_LEASE * lease)


def longest_round_trip(lease: float) -> float:
    """The longest round trip to the Sentinels with which a worker settles."""
    return lease - interval(lease) - MARGIN_SECONDS


def settles(round_trip: float, lease: float) -> bool:
    """Whether a worker settles if a majority of the Sentinels reply within this round trip."""
    return round_trip <= longest_round_trip(lease)


def longest_read(lease: float) -> float:
    """The longest duration of a read of the journal with which the tail stays fresh.

    A read begins when the one before it has ended, so the last one that has ended began at most two durations ago.
    """
    return (lease - MARGIN_SECONDS) / 2


def patience(lease: float) -> float:
    """How long the journal may take to reply. If it takes longer, it counts as unavailable."""
    return max(SHORTEST_PATIENCE_SECONDS, PATIENCE_LEASES * lease)


def ask_timeout(lease: float, read_timeout: float) -> float:
    """How long a Sentinel may take to reply. A reply that is older than a lease still names the primary to connect to."""
    return max(lease, read_timeout)


def fitting_lease(round_trip: float, read: float = 0.0) -> float | None:
    """The shortest lease, in whole tenths of a second, for this round trip to the Sentinels and this duration of a read.

    It has a reserve. None if even the longest lease is too short.
    """
    for tenths in range(math.ceil(10 * SHORTEST_LEASE_SECONDS), math.floor(10 * LONGEST_LEASE_SECONDS) + 1):
        lease = tenths / 10
        if settles(RESERVE * round_trip, lease) and RESERVE * read <= longest_read(lease):
            return lease
    return None


assert longest_round_trip(SHORTEST_LEASE_SECONDS) >= 0.2, "Sentinels of another region could not be used with the shortest lease"
assert longest_round_trip(DEFAULT_LEASE_SECONDS) >= 0.25, "the default lease would not fit most pairs of regions"
assert interval(SHORTEST_LEASE_SECONDS) <= longest_read(SHORTEST_LEASE_SECONDS), "a tail must be read twice in a lease"
assert PATIENCE_LEASES > 1, "a reply that is still younger than a lease would come too late"
