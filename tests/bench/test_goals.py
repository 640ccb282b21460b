"""Ratios are of medians, with the extremes of single rounds. A missing row is reported."""

from __future__ import annotations

from bench.goals import GOALS, Verdict, judge
from bench.results import Results
from bench.rows import ROWS

from .figures import results


def verdict(of: Results, row: str, other: str, column: str = "cpu_us") -> Verdict:
    return next(v for v in judge(of) if (v.goal.row, v.goal.other, v.goal.column) == (row, other, column))


def test_a_ratio_is_of_the_medians_and_its_spread_of_the_rounds() -> None:
    found = verdict(results({"service": [45, 50, 90], "bare": [30, 40, 30]}), "service", "bare")

    assert (found.ratio, found.least, found.most) == (50 / 30, 50 / 40, 90 / 30)


def test_a_ratio_at_its_limit_passes_and_above_it_falls_short() -> None:
    assert verdict(results({"service": [48], "bare": [30]}), "service", "bare").word == "PASS"
    assert verdict(results({"service": [48.1], "bare": [30]}), "service", "bare").word == "short"


def test_a_goal_of_speed_wants_at_least_its_limit() -> None:
    column = "requests_per_second"
    assert verdict(results({"service": [50], "aiohttp-session": [150]}), "service", "aiohttp-session", column).word == "PASS"
    assert verdict(results({"service": [50], "aiohttp-session": [100]}), "service", "aiohttp-session", column).word == "short"


def test_what_both_rows_need_is_subtracted_before() -> None:
    """nginx costs something whoever answers it, so its own cost is not ours."""
    rows: dict[str, list[float]] = {"forward-auth": [110, 100, 150], "service": [50, 50, 40], "forward-nothing": [45, 40, 50]}
    found = verdict(results(rows), "forward-auth", "service")
    assert (found.ratio, found.least, found.most) == ((110 - 45) / 50, 60 / 50, 100 / 40)
    assert found.word == "PASS"
    del rows["forward-nothing"]
    assert verdict(results(rows), "forward-auth", "service").word == "not measured"


def test_what_was_left_out_is_not_judged() -> None:
    words = {v.goal.other: v.word for v in judge(results({"service": [48], "bare": [30]})) if v.goal.row == "service"}

    assert words["gin"] == "not measured"
    assert verdict(results({"bare": [30]}), "service-cache", "bare").as_json()["verdict"] == "not measured"


def test_goals_name_rows_that_exist() -> None:
    assert {row for goal in GOALS for row in (goal.row, goal.other)} <= {row.key for row in ROWS}
