"""Draws one scenario for a README: session checks per second, of each service, on one time axis, as an SVG file.

The file needs no script, font or network. It is dark in dark mode. Its texts grow if it is shown narrow, for example on a
phone: in `<img>`, the width in a media query is that of the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .chart import rates, stacked
from .conditions import Conditions
from .ledger import Answer
from .outcome import Outcome
from .stage import Mark

STYLE = Path(__file__).with_name("picture.css")
KINDS = {"good": "good", "degraded": "answered from the cookie", "failed": "failed"}
"""The kinds of responses in the order of the stack, and their names in the legend."""

WIDTH, MARGIN, LEFT = 800, 24, 86
RIGHT = WIDTH - MARGIN
LEGEND_Y, NOTE_ROW, FOOTER_ROW = 106, 34, 31
FIRST_HEAD_Y, HEAD, PLOT = 154, 56, 140
STEPS = (10, 20, 50, 100, 200, 500, 1000)
"""Distances of the rates that the vertical axis names."""
WIDE_CHARACTER, NARROW_CHARACTER = 8.8, 14.8
"""The width of a character in the legend, if the picture is shown wide, and if it is shown narrow."""
BUCKET_SECONDS = 0.25
AFTER_SECONDS = 5.0
"""The drawing ends this long after the last trouble."""


def write(outcomes: Sequence[Outcome], made: Conditions, path: Path) -> None:
    """Write the picture of one scenario to this file. `outcomes`: one of each service, Stateroom's first."""
    path.write_text(draw(outcomes, made), encoding="utf-8")


def draw(outcomes: Sequence[Outcome], made: Conditions) -> str:
    """The picture as SVG."""
    return _Picture(outcomes, made).draw()


class _Picture:
    """The drawing. Its time axis counts from the first fault of each outcome."""

    def __init__(self, outcomes: Sequence[Outcome], made: Conditions) -> None:
        self._outcomes = outcomes
        self._made = made
        before = min(_zero(each) - each.began_at for each in outcomes)
        after = min(
            max(_end_of_trouble(each) for each in outcomes) + AFTER_SECONDS, *(each.ended_at - _zero(each) for each in outcomes)
        )
        self._before = math.floor(before / BUCKET_SECONDS) * BUCKET_SECONDS
        self._count = max(1, math.floor((self._before + after) / BUCKET_SECONDS))
        self._rates = [
            rates(_checks(each), _zero(each) - self._before, BUCKET_SECONDS, self._count, tuple(KINDS)) for each in outcomes
        ]
        self._most = max(sum(bucket) for each in self._rates for bucket in each) or 1.0

    def draw(self) -> str:
        notes = max(len(_marked(each)) for each in self._outcomes) * NOTE_ROW
        first = FIRST_HEAD_Y + 12 + notes
        plots = [first + number * (PLOT + HEAD) for number in range(len(self._outcomes))]
        bottom = plots[-1] + PLOT
        footer = self._footer()
        height = bottom + 60 + FOOTER_ROW * len(footer)
        parts = [
            f'<rect class="card" width="{WIDTH}" height="{height}" rx="12"/>',
            f'<text class="title" x="{MARGIN}" y="44">Session checks per second</text>',
            f'<text class="soft wide" x="{MARGIN}" y="72">{escape(self._outcomes[0].says)}</text>',
            *self._legend(),
            *self._axis(plots, bottom),
        ]
        for outcome, bars, top in zip(self._outcomes, self._rates, plots, strict=True):
            parts += self._panel(outcome, bars, top)
        parts += self._notes(plots)
        for row, line in enumerate(footer):
            parts.append(f'<text class="soft" x="{MARGIN}" y="{bottom + 72 + FOOTER_ROW * row}">{escape(line)}</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
            f'aria-labelledby="title desc"><title id="title">{escape(self._title())}</title>'
            f'<desc id="desc">{escape(self._words())}</desc><style>{STYLE.read_text(encoding="utf-8")}</style>'
            '<defs><pattern id="stripes" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect class="failed" width="8" height="8"/><rect class="stripe" width="2.5" height="8"/></pattern></defs>\n'
            + "\n".join(parts)
            + "\n</svg>\n"
        )

    def _title(self) -> str:
        return f"Session checks per second in the drill {self._outcomes[0].scenario}"

    def _words(self) -> str:
        """What the picture shows, for readers who do not see it."""
        said = [self._outcomes[0].says]
        for outcome in self._outcomes:
            marks = " ".join(
                f"{_caption(outcome, mark).capitalize()} at {mark.at - _zero(outcome):.1f} s." for mark in _marked(outcome)
            )
            good, degraded, failed = self._counts(outcome)
            said.append(f"{_name(outcome)}: {good} good, {degraded} answered from the cookie, {failed} failed. {marks}")
        return " ".join(said)

    def _footer(self) -> list[str]:
        made = self._made
        return [
            f"stateroom drill {self._outcomes[0].scenario}, {made.started:%Y-%m-%d}",
            ", ".join(
                [
                    f"Stateroom {made.stateroom.split()[0]}",
                    *([made.peer] if len(self._outcomes) > 1 else []),
                    *([made.server] if made.server else []),
                ]
            ),
        ]

    def _x(self, seconds: float) -> float:
        """The place of a moment, in seconds since the fault."""
        return LEFT + (seconds + self._before) / (self._count * BUCKET_SECONDS) * (RIGHT - LEFT)

    def _legend(self) -> Iterable[str]:
        """Each entry is a swatch with a name. Its place depends on the size of the text."""
        wide = narrow = float(MARGIN)
        for kind, words in KINDS.items():
            yield (
                f'<g class="entry" style="--wide:{wide:.0f}px;--narrow:{narrow:.0f}px">'
                f'<rect {_paint(kind)} y="{LEGEND_Y - 18}" width="22" height="22" rx="3"/>'
                f'<text x="32" y="{LEGEND_Y}">{escape(words)}</text></g>'
            )
            wide += 58 + WIDE_CHARACTER * len(words)
            narrow += 58 + NARROW_CHARACTER * len(words)

    def _axis(self, plots: Sequence[int], bottom: int) -> Iterable[str]:
        end = self._count * BUCKET_SECONDS - self._before
        for second in range(math.ceil(-self._before), math.floor(end) + 1):
            x = self._x(second)
            name = f"{second} s" if second == 0 or second % 2 == 0 else ""
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 6}"/>'
            if name:
                yield f'<text class="soft" x="{x:.1f}" y="{bottom + 32}" text-anchor="middle">{name}</text>'
        step = next((each for each in STEPS if self._most / each <= 3), STEPS[-1])
        for top in plots:
            for rate in range(0, math.floor(self._most) + 1, step):
                y = top + PLOT * (1 - rate / self._most)
                yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                yield f'<text class="soft" x="{LEFT - 10}" y="{y + 7:.1f}" text-anchor="end">{rate}</text>'

    def _panel(self, outcome: Outcome, bars: Sequence[Sequence[float]], top: int) -> Iterable[str]:
        failed, checks = self._counts(outcome)[-1], sum(self._counts(outcome))
        wide = (RIGHT - LEFT) / self._count
        paths = dict.fromkeys(KINDS, "")
        for bar in stacked(bars, tuple(KINDS), self._most, (LEFT, top + PLOT), (wide, PLOT)):
            # One path for all bars of a kind, which overlap a little. Otherwise the background would show between them.
            right = bar.width + 0.5
            paths[bar.kind] += f"M{bar.x:.1f} {bar.y:.1f}h{right:.1f}v{bar.height:.1f}h-{right:.1f}z"
        yield from (f'<path {_paint(kind)} d="{path}"/>' for kind, path in paths.items() if path)
        y = FIRST_HEAD_Y if outcome is self._outcomes[0] else top - 16
        yield f'<text class="name" x="{MARGIN}" y="{y}">{escape(_name(outcome))}</text>'
        yield (
            f'<text class="name {"bad" if failed else "well"}" x="{RIGHT}" y="{y}" text-anchor="end">'
            f"{failed:,} of {checks:,} failed</text>"
        )

    def _notes(self, plots: Sequence[int]) -> Iterable[str]:
        """A line for each mark. Above the first plot it begins with the mark's words."""
        for outcome, top in zip(self._outcomes, plots, strict=True):
            for number, mark in enumerate(_marked(outcome)):
                x, y = self._x(mark.at - _zero(outcome)), FIRST_HEAD_Y + NOTE_ROW * (number + 1)
                is_first = outcome is self._outcomes[0]
                yield f'<line class="{mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 18 if is_first else top}" y2="{top + PLOT}"/>'
                if is_first:
                    is_right = x > WIDTH / 2
                    anchor = ' text-anchor="end"' if is_right else ""
                    yield f'<text x="{x + (-9 if is_right else 9):.1f}" y="{y}"{anchor}>{escape(_caption(outcome, mark))}</text>'

    def _counts(self, outcome: Outcome) -> tuple[int, ...]:
        """How many checks of each kind the drawing shows."""
        drawn = self._rates[list(self._outcomes).index(outcome)]
        return tuple(round(sum(bucket[number] for bucket in drawn) * BUCKET_SECONDS) for number in range(len(KINDS)))


def _paint(kind: str) -> str:
    """Stripes also tell failed responses apart where colours do not."""
    return 'fill="url(#stripes)"' if kind == "failed" else f'class="{kind}"'


def _checks(outcome: Outcome) -> list[Answer]:
    return [each for each in outcome.ledger.answers if each.kind == "read"]


def _zero(outcome: Outcome) -> float:
    """When the scenario's first fault began."""
    return next((mark.at for mark in outcome.marks if mark.kind == "fault"), outcome.began_at)


def _marked(outcome: Outcome) -> list[Mark]:
    """The first fault, and the first server that accepted writes after it."""
    faults = [mark for mark in outcome.marks if mark.kind == "fault"]
    return [*faults[:1], *[mark for mark in outcome.marks if mark.words.endswith("accepts writes")][:1]]


def _end_of_trouble(outcome: Outcome) -> float:
    """Seconds from the fault to the last mark that is drawn, or to the last check that failed or was degraded."""
    troubles = [each.asked_at + each.took for each in _checks(outcome) if each.is_failed or each.is_degraded]
    return max([*troubles, *(mark.at for mark in _marked(outcome)), _zero(outcome)]) - _zero(outcome)


def _caption(outcome: Outcome, mark: Mark) -> str:
    """The mark's words, with the server's role in place of its name."""
    name, _, rest = mark.words.partition(" ")
    for track in outcome.servers:
        if track.name == name:
            roles = [state for at, state in track.changes if at <= mark.at and state != "away"] or [name]
            return f"{roles[-1] if mark.kind == 'fault' else 'new primary'} {rest}"
    return mark.words


def _name(outcome: Outcome) -> str:
    return "Stateroom" if outcome.service == "stateroom" else outcome.service
