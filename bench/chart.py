"""Draws a bar chart as one SVG without other files. It follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, LINE, BAR = 760, 240, 70, 64, 30, 16

STYLE = """
:root { --paper: #ffffff; --ink: #1f2328; --quiet: #59636e; --own: #0969da; --peer: #8c959f; --floor: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0d1117; --ink: #f0f6fc; --quiet: #9198a1; --own: #4493f8; --peer: #656c76; --floor: #b1bac4; }
}
.paper { fill: var(--paper); }
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.title { font-size: 15px; font-weight: 600; }
.quiet { fill: var(--quiet); font-size: 12px; }
.own { fill: var(--own); } .peer { fill: var(--peer); } .floor { fill: var(--floor); }
.spread { stroke: var(--ink); stroke-width: 1.5; }
"""


@dataclass(frozen=True)
class Bar:
    """A bar. `kind`: own, peer or floor. `least` and `most` are drawn as a line across the bar's end."""

    name: str
    value: float
    least: float
    most: float
    kind: str


def bars(title: str, caption: str, drawn: Sequence[Bar]) -> str:
    """Horizontal bars that begin at zero, in the given order, each with its value in words."""
    height = TOP + LINE * len(drawn) + 12
    scale = (WIDTH - LEFT - RIGHT) / max((max(bar.value, bar.most) for bar in drawn), default=1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_attribute(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
        f'<text class="quiet" x="16" y="46">{escape(caption)}</text>',
    ]
    for number, bar in enumerate(drawn):
        lines += _bar(bar, TOP + LINE * number, scale)
    return "\n".join([*lines, "</svg>", ""])


def _bar(bar: Bar, top: float, scale: float) -> list[str]:
    middle, end = top + LINE / 2, LEFT + bar.value * scale
    least, most = LEFT + bar.least * scale, LEFT + bar.most * scale
    lines = [
        f'<text x="{LEFT - 10}" y="{middle + 4.5:g}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{bar.kind}" x="{LEFT}" y="{middle - BAR / 2:g}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" rx="2"/>',
        f'<text x="{max(end, most) + 8:.1f}" y="{middle + 4.5:g}">{bar.value:,.0f}</text>',
    ]
    if most > least:
        lines.append(f'<line class="spread" x1="{least:.1f}" x2="{most:.1f}" y1="{middle:g}" y2="{middle:g}"/>')
    return lines


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
