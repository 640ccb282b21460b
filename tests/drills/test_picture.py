"""The picture shows the session checks of each service, and is an SVG file that needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stateroom.drills import picture
from stateroom.drills.ledger import Answer
from stateroom.drills.outcome import Outcome
from stateroom.drills.recorder import Track
from stateroom.drills.stage import Mark

from .test_report import CONDITIONS, answer, outcome

PEER = "aiohttp-session"
README = Path(__file__).parents[2] / "docs" / "drill.svg"
NAMES = {"svg": "http://www.w3.org/2000/svg"}


def drilled(service: str = "stateroom", *, fails: bool = False) -> Outcome:
    """Two checks before the primary is killed, two in the outage, and one after it. A write is refused."""
    during = {"status": 500} if fails else {"is_degraded": True}
    made = outcome(
        answer(101.5), answer(102.5, **during), answer(103.5, **during), answer(104.8), answer(103.2, "write", 503)
    )  # fmt: skip
    made.service = service
    made.marks = [*made.marks, Mark(104.5, "note", "node-1 accepts writes")]
    made.servers = [Track("node-0", [(100.0, "primary"), (101.9, "away")]), Track("node-1", [(100.0, "replica")])]
    made.ledger.answers = [each for each in made.ledger.answers if each.asked_at != 103.0]  # That is outcome's own.
    return made


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iterfind(".//svg:text", NAMES)]


def test_each_service_has_its_checks_on_one_axis() -> None:
    svg = picture.draw([drilled(), drilled(PEER, fails=True)], replace(CONDITIONS, peer="aiohttp-session 2.12.1"))
    said = texts(svg)
    assert said[0] == "Session checks per second"
    for name, figures in (("Stateroom", "0 of 5 failed"), (PEER, "2 of 5 failed")):
        assert said[said.index(name) + 1] == figures
    assert {"good", "answered from the cookie", "failed", "primary killed", "new primary accepts writes", "0 s", "2 s"} <= set(said)
    assert said[-2:] == ["stateroom drill kill-primary, 2026-11-29", "Stateroom 0.1.0, aiohttp-session 2.12.1, Valkey 9.1.2"]
    assert [path.count("M") for path in re.findall(r'<path class="degraded" d="([^"]+)"/>', svg)] == [2]
    assert [path.count("M") for path in re.findall(r'<path fill="url\(#stripes\)" d="([^"]+)"/>', svg)] == [2]


def test_one_service_alone_is_drawn_too() -> None:
    said = texts(picture.draw([drilled()], CONDITIONS))
    assert "0 of 5 failed" in said
    assert said[-1] == "Stateroom 0.1.0, Valkey 9.1.2"


def test_a_scenario_without_a_fault_is_drawn_from_its_beginning() -> None:
    made = drilled()
    made.marks, made.servers = [], []
    assert "0 of 5 failed" in texts(picture.draw([made], CONDITIONS))


def test_a_check_at_the_very_end_is_not_drawn_outside() -> None:
    made = drilled()
    made.ledger.answers.append(Answer("read", 0, 109.99, 5.0, 200))
    assert "of 5 failed" in " ".join(texts(picture.draw([made], CONDITIONS)))


@pytest.mark.parametrize("svg", [pytest.param(None, id="drawn"), pytest.param(README, id="of the documentation")])
def test_it_needs_nothing_else_and_describes_itself(svg: Path | None) -> None:
    text = picture.draw([drilled(), drilled(PEER, fails=True)], CONDITIONS) if svg is None else svg.read_text(encoding="utf-8")
    assert not re.search(r"<script|<image|<foreignObject|@import|@font-face|href|url\((?!#)|on\w+=", text)
    assert not [each for each in re.findall(r"https?://[^\"]+", text) if each != NAMES["svg"]]
    assert "prefers-color-scheme:dark" in text
    root = ET.fromstring(text)
    title, words = root.find("svg:title", NAMES), root.find("svg:desc", NAMES)
    assert title is not None
    assert words is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {words.get('id')}"
    assert "Stateroom:" in (words.text or "")
    assert "Primary killed at 0.0 s. New primary accepts writes at" in (words.text or "")


def test_the_picture_of_the_documentation_shows_no_failure_at_stateroom() -> None:
    ours, peers = [each for each in texts(README.read_text(encoding="utf-8")) if each.endswith(" failed")]
    assert ours.startswith("0 of ")
    assert not peers.startswith("0 of ")
