"""A comparison is judged by the median of its rounds' ratios, and failed requests are no result."""

from __future__ import annotations

import pytest

from bench.paired import Comparison, Measured, Pair, Ratio, table
from bench.wrk import Round


def comparison(*cpu_us: tuple[float, float], limit: float = 1.03, failed: int = 0) -> Comparison:
    """A row with a pair of figures, here and there, for each round."""
    pairs = [Pair(Measured(here, 1e6 / here, failed), Measured(there, 1e6 / there)) for here, there in cpu_us]
    return Comparison("service", "Stateroom, whole service", limit, pairs)


def test_slices_count_by_their_requests() -> None:
    slices = [Round(1000, 1, 2, cpu_us=60, redis_commands=1, failed=1), Round(3000, 1, 2, cpu_us=20, redis_commands=1, failed=2)]

    assert Measured.of(slices) == Measured(cpu_us=30.0, requests_per_second=2000.0, failed=3)


def test_a_slow_minute_that_falls_on_both_sides_changes_no_ratio() -> None:
    quiet, slow = (40.0, 40.0), (110.0, 110.0)

    assert comparison(quiet, slow, slow).ratio("cpu_us") == Ratio(1.0, 1.0, 1.0)


def test_the_median_is_of_the_ratios_and_not_a_ratio_of_medians() -> None:
    made = comparison((10, 10), (22, 20), (30, 10), (9, 10), (20, 20))

    assert made.ratio("cpu_us") == Ratio(1.0, 1.0, 1.1)
    assert made.median("here", "cpu_us") / made.median("there", "cpu_us") == 2.0


def test_a_row_over_its_limit_fails_and_one_at_it_passes() -> None:
    assert comparison((103, 100)).verdict == "PASS"
    assert comparison((104, 100)).verdict == "over"
    assert not comparison((104, 100)).is_within_limit


def test_a_row_that_is_over_in_less_than_three_quarters_of_its_rounds_says_so() -> None:
    made = comparison((99, 100), (100, 100), (104, 100), (105, 100), (106, 100))

    assert made.verdict == "over, but within the noise: take more --rounds"
    assert not made.is_within_limit


def test_failed_requests_are_cheap_and_therefore_no_result() -> None:
    made = comparison((50, 100), failed=7)

    assert made.verdict == "7 requests failed"
    assert not made.is_within_limit


def test_the_table_has_both_sides_their_ratio_and_the_verdict() -> None:
    lines = table([comparison((50, 40), (50, 40))]).splitlines()

    cells = "| 50.0 | 40.0 | 1.250 (1.250 to 1.250) | 20,000 | 25,000 | 0.800 (0.800 to 0.800) | 1.03 | over |"
    assert lines[-1] == f"| Stateroom, whole service {cells}"
    assert len({line.count("|") for line in lines}) == 1


def test_the_file_has_each_round_of_both_sides() -> None:
    written = comparison((50, 40), (44, 44)).as_json()

    assert written["cpu_ratio"]["median"] == pytest.approx(1.125)
    assert [each["here"]["cpu_us"] for each in written["rounds"]] == [50, 44]
    assert written["is_within_limit"] is False
