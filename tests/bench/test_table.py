"""The table has the measured figures, and names the rows that were not measured."""

from __future__ import annotations

from bench.goals import judge
from bench.table import ratios, tables

from .figures import results


def test_a_cell_is_the_median_and_the_spread() -> None:
    text = tables(results({"service": [45.04, 50, 90]}))

    assert "### 64 connections" in text
    assert "| Service | 20,000 (11,111 to 22,202) | 1.50 | 4.25 | 50.0 (45.0 to 90.0) | 1.00 |" in text


def test_every_line_has_a_cell_for_each_heading() -> None:
    lines = [line for line in tables(results({"service": [45, 50], "bare": [30]})).splitlines() if line.startswith("|")]

    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_rows_left_out_and_failed_requests_are_told_below() -> None:
    made = results({"bare": [30]}, failed=3)
    made.left_out["express-session"] = "node or npm is missing: apt-get install nodejs npm"
    text = tables(made)

    assert "- left out: express-session: node or npm is missing: apt-get install nodejs npm" in text
    assert "- Bare at 64 connections: 3 requests failed" in text


def test_ratios_stand_beside_their_goals() -> None:
    text = ratios(list(judge(results({"service": [45, 60], "bare": [30, 30]}))))

    assert "| 1.75 (1.50 to 2.00) | at most 1.6 | short |" in text
    assert "|  | at least 2.2 | not measured |" in text
