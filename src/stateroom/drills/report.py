"""Writes the outcomes of drills as one HTML page, which needs no script, font or network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Protocol

from ..plurals import counted
from .chart import Chart
from .conditions import Conditions
from .ledger import NAMES
from .live import seconds
from .outcome import Outcome

WIDE, NARROW = 900, 340
STYLE = Path(__file__).with_name("report.css")
COLUMNS = (
    "detect", "promote", "first write", "requests", "failed", "lost", "revived", "signed out", "other user", "degraded", "slowest",
)  # fmt: skip
MEANINGS = {
    "detect": "time from the fault until a Sentinel reported the primary as down; - if none did",
    "promote": "time from the fault until a Sentinel reported a promotion; - if there was none",
    "first write": "time from the fault until the service stored a value again; - if it refused none",
    "requests": "requests of all clients",
    "failed": "sign-ins, sign-outs and session checks with a 5xx status or without a response",
    "lost": "sessions whose sign-in was acknowledged and that no longer exist",
    "revived": "sessions whose end was acknowledged and that were accepted or stored again",
    "signed out": "responses that told a signed-in user that nobody is signed in",
    "other user": "responses and sessions that named another user than the client's own",
    "degraded": "responses given without Redis, from the session cookie, and marked as degraded",
    "slowest": "the slowest of all responses",
}


class HasFigures(Protocol):
    """An outcome of a drill, here or on containers."""

    def figures(self) -> dict[str, object]:
        """The figures for a JSON file."""
        ...


def write(outcomes: Sequence[Outcome], made: Conditions, folder: Path) -> Path:
    """Write `drill.html` and `drill.json` to this folder. Returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(outcomes, made, folder / "drill.json")
    path = folder / "drill.html"
    path.write_text(page(outcomes, made), encoding="utf-8")
    return path


def write_json(outcomes: Sequence[HasFigures], made: Conditions, path: Path) -> None:
    """Write the figures of all outcomes, each with the conditions."""
    figures = [outcome.figures() | {"conditions": made.figures()} for outcome in outcomes]
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def page(outcomes: Sequence[Outcome], made: Conditions) -> str:
    """The HTML page."""
    ours = [each for each in outcomes if each.service == "stateroom"]
    failed = [each for each in ours if not each.has_passed]
    head = verdict(outcomes)
    answers = sum(sum(each.verdict.requests.values()) for each in ours)
    lost, back, out = (
        sum(len(each.verdict.lost) for each in ours), sum(each.back for each in ours), sum(len(each.verdict.out) for each in ours),
    )  # fmt: skip
    style = STYLE.read_text(encoding="utf-8")
    said = (
        f"{counted(answers, 'request')}: {counted(lost, 'session')} lost, "
        f"{counted(back, 'ended session')} accepted or stored again, "
        f"{counted(out, 'response')} told a signed-in user that nobody is signed in."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Drill: {escape(head)}</title><style>{style}</style></head>\n"
        f'<body><main><header class="{"bad" if failed else "well"}"><h1>{escape(head)}</h1><p>{escape(said)}</p>'
        f"{''.join(_why(each) for each in failed)}</header>\n"
        f"{_conditions(made)}{_table(outcomes)}{''.join(_section(each, number) for number, each in enumerate(outcomes, 1))}"
        "</main></body></html>\n"
    )


def verdict(outcomes: Iterable[Outcome]) -> str:
    """The verdict on Stateroom's scenarios. A peer's scenarios do not count."""
    ours = [each.has_passed for each in outcomes if each.service == "stateroom"]
    failed = ours.count(False)
    if failed:
        return f"{failed} of {counted(len(ours), 'scenario')} failed"
    return f"All {len(ours)} scenarios passed" if len(ours) > 1 else f"{counted(len(ours), 'scenario')} passed"


def _conditions(made: Conditions) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in made.rows())
    return f'<section><h2>Conditions</h2><dl class="conditions">{rows}</dl></section>\n'


def _why(outcome: Outcome) -> str:
    return f'<p><a href="#{_id(outcome)}">{escape(outcome.scenario)}</a>: {escape("; ".join(outcome.faults))}</p>'


def _table(outcomes: Sequence[Outcome]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("scenario", "verdict", *COLUMNS))
    rows = "".join(_row(outcome) for outcome in outcomes)
    meanings = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in MEANINGS.items())
    return (
        f'<section><h2>Figures</h2><div class="scroll" tabindex="0" role="region" aria-label="Figures">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<details><summary>What the columns mean</summary><dl>{meanings}</dl></details></section>\n"
    )


def _row(outcome: Outcome) -> str:
    seen = outcome.verdict
    wrong = {
        "failed": len(seen.refused),
        "lost": len(seen.lost),
        "revived": outcome.back,
        "signed out": len(seen.out),
        "other user": outcome.strangers,
    }
    values = {
        "detect": seconds(outcome.detected_after), "promote": seconds(outcome.promoted_after),
        "first write": seconds(outcome.written_after), "requests": sum(seen.requests.values()), **wrong,
        "degraded": seen.degraded, "slowest": seconds(max(seen.slowest.values(), default=None)),
    }  # fmt: skip
    cells = "".join(
        f'<td data-name="{escape(name)}"{" class=wrong" if wrong.get(name) else ""}>{escape(str(values[name]))}</td>'
        for name in COLUMNS
    )
    peer = "" if outcome.service == "stateroom" else f"<small>{escape(outcome.service)}</small>"
    return (
        f'<tr{" class=peer" if peer else ""}><th scope="row"><a href="#{_id(outcome)}">{escape(outcome.scenario)}</a>{peer}</th>'
        f'<td data-name="verdict">{_verdict(outcome)}</td>{cells}</tr>'
    )


def _verdict(outcome: Outcome) -> str:
    return '<span class="pass">passed</span>' if outcome.has_passed else '<span class="fail">failed</span>'


def _section(outcome: Outcome, number: int) -> str:
    peer = "" if outcome.service == "stateroom" else f" <small>{escape(outcome.service)}</small>"
    faults = "".join(f"<li>{escape(each)}</li>" for each in outcome.faults)
    proof = "\n".join(outcome.evidence())
    marks = "".join(
        f'<li><span class="dot {mark.kind}"></span>{mark.at - outcome.began_at:.1f} s: {escape(mark.words)}</li>'
        for mark in outcome.marks
    )
    charts = "".join(
        f'<div class="{name}">{Chart(outcome, width, f"{number}{name}").draw()}</div>'
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return (
        f'<section id="{_id(outcome)}"><h2>{escape(outcome.scenario)}{peer} {_verdict(outcome)}</h2><p>{escape(outcome.says)}</p>'
        + (f'<ul class="faults">{faults}</ul>' if faults else "")
        + (f'<pre tabindex="0">{escape(proof)}</pre>' if proof else "")
        + (f"<p>{escape(outcome.caution.capitalize())}.</p>" if outcome.caution else "")
        + f"<p>{escape(_figures(outcome))}</p><figure>{charts}<figcaption>{LEGEND}</figcaption></figure>"
        f'<ol class="marks">{marks}</ol>{_events(outcome)}</section>\n'
    )


def _figures(outcome: Outcome) -> str:
    seen = outcome.verdict
    by_kind = ", ".join(counted(count, NAMES[kind]) for kind, count in sorted(seen.requests.items()))
    slowest = ", ".join(f"{NAMES[kind]} {1000 * took:.0f} ms" for kind, took in sorted(seen.slowest.items()))
    return (
        f"{by_kind}. Slowest: {slowest}. Session data: {counted(seen.writes, 'value')} stored, "
        f"{outcome.refused_writes} refused with 503, {len(seen.lost_writes)} acknowledged and lost."
        + (f" Refusals that the scenario allows: {len(seen.excused)}." if seen.excused else "")
    )


def _events(outcome: Outcome) -> str:
    said = [event for event in outcome.events if outcome.began_at <= event.at <= outcome.ended_at]
    if not said:
        return ""
    lines = "\n".join(f"{event.at - outcome.began_at:7.3f} s  {event.sentinel}  {event.channel} {event.words}" for event in said)
    title = f"{counted(len(said), 'message')} of the Sentinels"
    return f'<details><summary>{title}</summary><pre tabindex="0">{escape(lines)}</pre></details>'


def _id(outcome: Outcome) -> str:
    return f"{outcome.scenario}-{outcome.service}"


def _legend(names: Iterable[tuple[str, str]]) -> str:
    return " ".join(f'<span><i class="{kind}"></i>{escape(words)}</span>' for kind, words in names)


LEGEND = _legend(
    (
        ("good", "good responses"), ("degraded", "degraded: from the cookie"), ("refused", "session data refused with 503"),
        ("failed", "failed"), ("settled", "settled; primary"), ("replica", "replica; up"), ("unsettled", "unsettled; read-only"),
        ("away", "away (unavailable)"),
    )
)  # fmt: skip
