"""Which round trips a lease fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom.intervals import (
    MARGIN_SECONDS,
    ask_timeout,
    fitting_lease,
    interval,
    longest_read,
    longest_round_trip,
    patience,
    settles,
)
from stateroom.settings import DEFAULT_LEASE_SECONDS, LONGEST_LEASE_SECONDS, SHORTEST_LEASE_SECONDS

leases = st.floats(SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS)


@given(leases, st.floats(0, 3))
def test_the_newest_reply_is_younger_than_a_lease_exactly_if_it_settles(lease: float, round_trip: float) -> None:
    sent = [number * interval(lease) for number in range(200)]
    just_before = sent[100] + round_trip + interval(lease)  # the next reply comes now
    newest = max(each for each in sent[:101] if each + round_trip <= just_before)
    age = just_before - newest
    assert age == pytest.approx(round_trip + interval(lease))
    if settles(round_trip, lease):
        assert age < lease
    else:
        assert age > lease - 2 * MARGIN_SECONDS


@given(leases, st.floats(0, 5))
def test_a_tail_stays_fresh_if_reads_are_quick_enough(lease: float, duration: float) -> None:
    oldest = max(interval(lease), duration) + duration
    if duration <= longest_read(lease):
        assert oldest <= lease + MARGIN_SECONDS


@given(leases)
def test_no_lease_makes_a_failover_noticed_later(lease: float) -> None:
    assert interval(lease) <= interval(DEFAULT_LEASE_SECONDS) == 0.2
    assert interval(lease) <= longest_read(lease)


@given(leases, st.floats(0.01, 60))
def test_a_reply_that_still_counts_is_waited_for(lease: float, read_timeout: float) -> None:
    assert ask_timeout(lease, read_timeout) >= max(lease, read_timeout)
    assert patience(lease) >= 2 * lease


@given(st.floats(0, 6), st.floats(0, 3))
def test_a_recommended_lease_fits_with_a_reserve_and_the_next_shorter_one_does_not(round_trip: float, read: float) -> None:
    lease = fitting_lease(round_trip, read)
    assert lease is not None
    assert SHORTEST_LEASE_SECONDS <= lease <= LONGEST_LEASE_SECONDS
    assert settles(1.4 * round_trip, lease)
    assert 1.4 * read <= longest_read(lease)
    shorter = lease - 0.1
    if shorter >= SHORTEST_LEASE_SECONDS:
        assert not (settles(1.6 * round_trip, shorter) and 1.6 * read <= longest_read(shorter))


@pytest.mark.parametrize(("round_trip", "lease"), [(0.0, 0.4), (0.2, 0.6), (0.3, 0.7), (0.64, 1.2), (2.0, 3.3)])
def test_recommended_leases(round_trip: float, lease: float) -> None:
    assert fitting_lease(round_trip) == pytest.approx(lease)


def test_no_lease_fits_a_round_trip_of_minutes() -> None:
    assert fitting_lease(60) is None
    assert fitting_lease(0.1, 60) is None


def test_the_shortest_and_the_default_lease_fit_another_region() -> None:
    assert longest_round_trip(SHORTEST_LEASE_SECONDS) == pytest.approx(0.22)
    assert longest_round_trip(DEFAULT_LEASE_SECONDS) == pytest.approx(0.28)
