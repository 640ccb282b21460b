"""The share of other processes is the time that neither the run's processes used nor was idle."""

from __future__ import annotations

import os

import pytest

from bench.machine import Spent, describe


def test_others_share_is_what_the_run_did_not_spend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before, after = Spent(at=100.0, machine=1000.0, own=50.0), Spent(at=110.0, machine=1015.0, own=60.0)

    assert after.by_others(before) == 0.25


def test_what_is_read_grows_and_a_run_is_part_of_the_machine() -> None:
    before = Spent.now([os.getpid()])
    sum(range(3_000_000))
    after = Spent.now([os.getpid()])

    assert after.own > before.own
    assert after.machine > before.machine


def test_figures_say_what_they_were_taken_on() -> None:
    facts = describe()

    assert facts["cores"].startswith(f"{os.cpu_count()} x ")
    assert facts["aiohttp"]
    assert all(facts.values())
