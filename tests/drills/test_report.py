"""The report begins with the verdict, shows the ledger's entries of failed scenarios, and loads no external files."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stateroom import __version__
from stateroom.drills.conditions import Conditions, conditions
from stateroom.drills.judge import weigh
from stateroom.drills.ledger import Answer, Kind, Ledger, SignedIn
from stateroom.drills.outcome import Outcome, weigh_outcome
from stateroom.drills.recorder import Event, Track
from stateroom.drills.report import page, verdict, write
from stateroom.drills.scenarios import SCENARIOS
from stateroom.drills.stage import Mark, Span

CONDITIONS = Conditions(
    datetime(2026, 11, 29, 17, 10, 5, tzinfo=UTC), "0.1.0 (0132bea)", "3.11.2", "Valkey 9.1.2", "",
    "Debian GNU/Linux 12 (bookworm), Linux 6.18 x86_64", "A <processor>", 2, 0.24,
)  # fmt: skip
LOGINS: tuple[Kind, ...] = ("login",)


def answer(at: float, kind: str = "read", status: int = 200, **more: object) -> Answer:
    return Answer(kind, 0, at, 0.01, status, who=f"{'prober' if kind == 'write' else 'reader'}-0@example.com", **more)  # type: ignore[arg-type]


def outcome(*answers: Answer, spans: tuple[Span, ...] = (), name: str = "kill-primary") -> Outcome:
    """An outcome of ten seconds: the primary is killed after two, another is promoted after four."""
    ledger = Ledger([answer(101.0), answer(103.0, is_degraded=True), *answers])
    made = Outcome(
        name, "The <primary> is killed.", "stateroom", 100.0, 110.0, weigh(ledger), ledger,
        [Mark(102.0, "fault", "node-0 killed"), Mark(106.0, "fix", "node-0 started")],
        [Event(103.1, "sentinel-0", "+sdown", "master mymaster 1 2"), Event(104.0, "sentinel-0", "+promoted-slave", "slave a")],
        [Track("worker-0", [(100.0, "settled"), (102.2, "away")])], [Track("node-0", [(100.0, "primary")])],
    )  # fmt: skip
    weigh_outcome(made, SCENARIOS["kill-primary"], spans, ())
    return made


def test_times_are_counted_from_the_fault() -> None:
    made = outcome(answer(102.5, "write", 503), answer(104.2, "write"))
    assert made.detected_after is not None
    assert made.promoted_after is not None
    assert made.written_after is not None
    assert [round(each, 2) for each in (made.detected_after, made.promoted_after, made.written_after)] == [1.1, 2.0, 2.21]
    assert made.has_passed
    assert made.evidence() == []


def test_a_failure_is_proved_by_lines_of_the_ledger() -> None:
    made = outcome(answer(103.5, status=500, words="oh <no>"))
    made.verdict.lost.append(SignedIn("ada@example.com", "cookie", 101.0, is_degraded=False, handle="h1"))
    assert made.faults == ["1 request refused, the first a session check with 500: oh <no>"]
    refused, lost = made.evidence()
    assert refused.endswith("3.500 s  reader-0@example.com on worker-0: session check -> 500 in 0.010 s (oh <no>)")
    assert lost.endswith("ada@example.com: sign-in h1 is lost")
    html = page([made], CONDITIONS)
    assert html.index("1 of 1 scenario failed") < html.index("<table>") < html.index("<svg")
    assert "oh &lt;no&gt;" in html
    assert "<no>" not in html


def test_what_a_span_allows_and_forbids() -> None:
    refused = answer(103.5, "login", 503)
    assert outcome(refused, spans=(Span("away", 103.0, 104.0, LOGINS),)).has_passed
    assert not outcome(refused, spans=(Span("away", 103.6, 104.0, LOGINS),)).has_passed
    data = answer(103.5, "write", 503)
    assert outcome(data).has_passed
    strict = outcome(data, spans=(Span("all is well", 103.2, 104.0, must_be_perfect=True),))
    assert strict.faults == ["all is well: 1 response failed or was degraded"]
    assert len(strict.evidence()) == 1
    assert outcome(data, spans=(Span("what comes next", 103.2, 103.505, must_be_perfect=True),)).has_passed, "under way at the end"


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    passed = outcome(answer(102.5, "write", 503), answer(104.2, "write"))
    html = write([passed], CONDITIONS, tmp_path / "report").read_text()
    assert "<h1>1 scenario passed</h1>" in html
    assert not re.search(r"<script|<link|@import|url\(|src=|https?://", html)
    assert 'role="img" aria-label="kill-primary on stateroom, over 10.0 seconds"' in html
    assert "1.1" in html
    [figures] = json.loads((tmp_path / "report" / "drill.json").read_text())
    assert (figures["scenario"], figures["passed"], figures["data_refused"]) == ("kill-primary", True, 1)
    assert figures["conditions"] == {
        "started": "2026-11-29T17:10:05Z", "target": None, "stateroom": "0.1.0 (0132bea)", "peer": None, "server": "Valkey 9.1.2",
        "python": "3.11.2", "system": "Debian GNU/Linux 12 (bookworm), Linux 6.18 x86_64", "processor": "A <processor>",
        "cores": 2, "load": 0.24,
    }  # fmt: skip


def test_the_page_tells_the_conditions() -> None:
    html = page([outcome()], CONDITIONS)
    for text in (
        "2026-11-29 17:10:05 UTC", "0.1.0 (0132bea)", "Valkey 9.1.2", "3.11.2", "Debian GNU/Linux 12 (bookworm), Linux 6.18 x86_64",
        "A &lt;processor&gt;, 2 cores", "0.24 (1 minute)",
    ):  # fmt: skip
        assert f"<dd>{text}</dd>" in html
    assert "Compared with" not in html


def test_the_present_conditions_are_known() -> None:
    made = conditions(peer="aiohttp")
    assert abs(datetime.now(UTC) - made.started) < timedelta(minutes=1)
    assert made.stateroom.split()[0] == __version__
    assert made.python == platform.python_version()
    assert re.fullmatch(r"\w+ \d+\.\S+", made.server), made.server
    assert re.fullmatch(r"aiohttp \d+\.\S+", made.peer)
    assert platform.release() in made.system
    assert made.cores == os.cpu_count()
    assert all(text for _, text in made.rows())


def test_of_a_running_stack_the_server_is_not_known() -> None:
    made = conditions(target="https://sessions.example.com")
    assert made.figures()["server"] is None
    assert "Server" not in dict(made.rows())
    assert dict(made.rows())["Service"].startswith("https://sessions.example.com ")


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        ([], "0 scenarios passed"), ([True], "1 scenario passed"), ([True, True], "All 2 scenarios passed"),
        ([False], "1 of 1 scenario failed"), ([True, False], "1 of 2 scenarios failed"),
        ([False, False], "2 of 2 scenarios failed"),
    ],
)  # fmt: skip
def test_the_verdict_counts_scenarios(passed: Sequence[bool], words: str) -> None:
    outcomes = [outcome() for _ in passed]
    for made, is_good in zip(outcomes, passed, strict=True):
        made.faults = [] if is_good else ["a fault"]
    assert verdict(outcomes) == words


def test_the_verdict_leaves_a_peer_out() -> None:
    peer = outcome()
    peer.service, peer.faults = "aiohttp-session", ["a fault"]
    assert verdict([outcome(), peer]) == "1 scenario passed"
