"""Draws the course of a scenario as SVG, on one time axis, without scripts.

The drawing uses classes whose colours the page defines, so that it can be dark or light. The page also describes the drawing
in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

from .ledger import Answer
from .outcome import Outcome
from .recorder import Event, Track

TOLD = {
    "+sdown": "down (one Sentinel)", "+odown": "down (quorum)", "+try-failover": "failover begins", "+promoted-slave": "promoted",
    "+switch-master": "announced",
}  # fmt: skip
"""The Sentinel events that are drawn, and their names in the drawing."""

KINDS = ("good", "degraded", "refused", "failed")
"""The kinds of responses, in the order of the stack. `refused`: 503 to a write of session data."""

LABEL, GAP = 15, 12
BAND = 13
PLOT = 56
TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60)

Row = tuple[str, float, Callable[[float], Iterable[str]]]
"""A row: its title, its height, and a function that draws it, given its upper edge."""


class Chart:
    """The drawing of one outcome, `width` pixels wide. `number`: of the drawing on its page."""

    def __init__(self, outcome: Outcome, width: int, number: str) -> None:
        self._outcome = outcome
        self._width = width
        self._number = number
        self._span = max(outcome.ended_at - outcome.began_at, 0.1)
        self._bucket = self._span / (width / 6)

    def draw(self) -> str:
        """The SVG element."""
        rows = list(self._rows())
        height = sum(LABEL + size + GAP for _, size, _ in rows) + 34
        parts: list[str] = []
        top = 20.0
        bottom = height - 18.0
        parts += self._axis(top, bottom)
        for title, size, drawn in rows:
            parts.append(f'<text class="label" x="0" y="{top + 11:.1f}">{escape(title)}</text>')
            parts += drawn(top + LABEL)
            top += LABEL + size + GAP
        parts += self._marks(bottom)
        words = f"{self._outcome.scenario} on {self._outcome.service}, over {self._span:.1f} seconds"
        return (
            f'<svg viewBox="0 0 {self._width} {height:.0f}" width="{self._width}" role="img" aria-label="{escape(words)}">'
            f"{''.join(parts)}</svg>"
        )

    def _rows(self) -> Iterable[Row]:
        answers = self._outcome.ledger.answers
        buckets = math.ceil(self._span / self._bucket) + 1
        found = rates(answers, self._outcome.began_at, self._bucket, buckets, KINDS)
        most = max((sum(each) for each in found), default=1.0) or 1.0
        slowest = max((each.took for each in answers), default=0.1)
        yield f"responses per second, up to {most:.0f}", PLOT, lambda top: self._stacked(found, most, top)
        yield f"slowest response, up to {1000 * slowest:.0f} ms", PLOT, lambda top: self._latency(answers, slowest, top)
        for track in self._outcome.workers:
            yield f"Redis, as {track.name} sees it", BAND, lambda top, track=track: self._band(track, top)  # type: ignore[misc]
        for track in self._outcome.servers:
            yield track.name, BAND, lambda top, track=track: self._band(track, top)  # type: ignore[misc]
        if self._outcome.sentinels:
            yield "Sentinels", 3 * (BAND + 3), self._sentinels
        if self._outcome.events:
            yield "Sentinels' messages about the primary", len(TOLD) * 12 + 2, self._said

    def _x(self, moment: float) -> float:
        return min(max((moment - self._outcome.began_at) / self._span, 0.0), 1.0) * self._width

    def _axis(self, top: float, bottom: float) -> Iterable[str]:
        step = next((each for each in TICKS if self._span / each <= self._width / 60), TICKS[-1])
        for number in range(math.floor(self._span / step) + 1):
            x = number * step / self._span * self._width
            anchor = "start" if number == 0 else "end" if x > self._width - 20 else "middle"
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{bottom:.0f}"/>'
            yield f'<text class="tick" x="{x:.1f}" y="{bottom + 13:.0f}" text-anchor="{anchor}">{number * step:g} s</text>'

    def _marks(self, bottom: float) -> Iterable[str]:
        """One vertical line per mark, with the mark's number in the list beside the drawing."""
        last = -math.inf
        level = 0
        for number, mark in enumerate(self._outcome.marks, 1):
            x = min(max(self._x(mark.at), 7.0), self._width - 7.0)
            level = (level + 1) % 2 if x - last < 15 else 0
            last = x
            yield f'<line class="mark {mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{8 + 9 * level}" y2="{bottom:.0f}"/>'
            yield f'<circle class="mark {mark.kind}" cx="{x:.1f}" cy="{8 + 9 * level}" r="7"/>'
            yield f'<text class="number" x="{x:.1f}" y="{11.5 + 9 * level}" text-anchor="middle">{number}</text>'

    def _stacked(self, counts: Sequence[Sequence[float]], most: float, top: float) -> Iterable[str]:
        size = self._bucket / self._span * self._width, PLOT
        for bar in stacked(counts, KINDS, most, (0.0, top + PLOT), size):
            yield f'<rect class="{bar.kind}" x="{bar.x:.1f}" y="{bar.y:.1f}" width="{bar.width:.1f}" height="{bar.height:.1f}"/>'

    def _latency(self, answers: Sequence[Answer], slowest: float, top: float) -> Iterable[str]:
        longest: dict[int, float] = {}
        for answer in answers:
            at = int((answer.asked_at - self._outcome.began_at + answer.took) / self._bucket)
            longest[at] = max(longest.get(at, 0.0), answer.took)
        wide = self._bucket / self._span * self._width
        points = " ".join(
            f"{(at + 0.5) * wide:.1f},{top + PLOT - took / slowest * PLOT:.1f}" for at, took in sorted(longest.items()) if at >= 0
        )
        yield f'<polyline class="latency" points="{points}"/>'

    def _band(self, track: Track, top: float) -> Iterable[str]:
        ends = [at for at, _ in track.changes[1:]] + [self._outcome.ended_at]
        for (at, value), end in zip(track.changes, ends, strict=True):
            x, wide = self._x(at), self._x(end) - self._x(at)
            if wide <= 0:
                continue
            yield f'<rect class="{escape(value)}" x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{BAND}"/>'
            word = value.replace("_", "-")
            if wide > 7 * len(word):
                yield f'<text class="state" x="{x + 4:.1f}" y="{top + 10:.1f}">{escape(word)}</text>'

    def _sentinels(self, top: float) -> Iterable[str]:
        for number, track in enumerate(self._outcome.sentinels):
            yield from self._band(track, top + number * (BAND + 3))

    def _said(self, top: float) -> Iterable[str]:
        for row, (channel, words) in enumerate(TOLD.items()):
            said = [event for event in self._outcome.events if event.channel == channel and _is_told(event)]
            y = top + row * 12 + 6
            for event in said:
                yield f'<circle class="event" cx="{self._x(event.at):.1f}" cy="{y:.1f}" r="3"/>'
            if said:
                x = self._x(said[-1].at)
                is_right = x > self._width - 100
                yield (
                    f'<text class="tick" x="{x + (-6 if is_right else 6):.1f}" y="{y + 4:.1f}" '
                    f'text-anchor="{"end" if is_right else "start"}">{words}</text>'
                )


class Bar(NamedTuple):
    """One part of a stacked bar. `x`, `y`: its upper left corner."""

    kind: str
    x: float
    y: float
    width: float
    height: float


def rates(answers: Iterable[Answer], since: float, bucket: float, count: int, kinds: Sequence[str]) -> list[list[float]]:
    """Responses of each kind per second, in `count` buckets of `bucket` seconds. `since`: when the first bucket begins."""
    counts = [[0] * len(kinds) for _ in range(count)]
    for answer in answers:
        at = (answer.asked_at - since + answer.took) / bucket
        if 0 <= at < len(counts):
            counts[int(at)][kinds.index(_kind(answer))] += 1
    return [[each / bucket for each in one] for one in counts]


def stacked(
    found: Sequence[Sequence[float]], kinds: Sequence[str], most: float, corner: tuple[float, float], size: tuple[float, float]
) -> Iterable[Bar]:
    """The bars of rates, from left to right, each from the bottom to the top.

    `corner`: the lower left corner of the first. `size`: the width of a bar, and its height at the rate `most`.
    """
    for number, rate in enumerate(found):
        base = corner[1]
        for kind, value in zip(kinds, rate, strict=True):
            if value:
                height = value / most * size[1]
                base -= height
                yield Bar(kind, corner[0] + number * size[0], base, size[0], height)


def _kind(answer: Answer) -> str:
    if answer.kind == "write" and answer.status == 503:
        return "refused"
    return "failed" if answer.is_failed else "degraded" if answer.is_degraded else "good"


def _is_told(event: Event) -> bool:
    return event.is_of_primary or event.channel in {"+promoted-slave", "+switch-master"}
