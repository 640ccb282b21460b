"""Shows a running drill: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .outcome import Outcome
from .recorder import Event, Recorder, Track
from .stage import Mark, Scenario, Stage

LOOKS_PER_SECOND = 4
RATE_SECONDS = 1.0
LINES = 8
WIDE = 120
NARROW = ("promote", "failed", "lost", "revived", "signed out", "degraded")
COLOURS = {
    "settled": "green", "primary": "green", "replica": "blue", "up": "green", "unsettled": "yellow", "read_only": "yellow",
    "away": "red", "none": "red",
}  # fmt: skip
MARKS = {"fault": "bold red", "fix": "green", "note": "dim"}


class View:
    """The output while scenarios are played one after the other. `total`: how many there are."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0
        self._scenario: Scenario | None = None
        self._service = ""
        self._stage: Stage | None = None
        self._recorder: Recorder | None = None
        self._began_at = 0.0
        self._lines: deque[Text] = deque(maxlen=LINES)

    @contextlib.asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Keep the live view on a terminal up to date inside this context."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, get_renderable=self._picture, refresh_per_second=LOOKS_PER_SECOND, transient=True):
            yield

    def begin(self, scenario: Scenario, service: str) -> None:
        """The next scenario begins; its stack starts."""
        self._number += 1
        self._scenario, self._service, self._stage, self._recorder = scenario, service, None, None
        self._began_at = time.monotonic()
        self._lines.clear()
        if not self._console.is_terminal:
            self._print(f"[{self._number}/{self._total}] {scenario.name} ({service}): {scenario.says}")

    def on_stage(self, stage: Stage, recorder: Recorder) -> None:
        """The stack runs; the scenario's steps begin."""
        self._stage, self._recorder = stage, recorder
        self._began_at = time.monotonic()
        stage.on_mark = self._on_mark
        recorder.on_event = self._on_event

    def end(self, outcome: Outcome) -> None:
        """The scenario is over. Prints its verdict."""
        verdict = Text("passed", "green") if outcome.has_passed else Text("FAILED: " + "; ".join(outcome.faults), "bold red")
        self._console.print(Text.assemble(f"{outcome.scenario} ({outcome.service}): ", verdict), soft_wrap=True)
        for line in outcome.evidence():
            self._print(f"    {line}")
        if outcome.faults and outcome.caution:
            self._print(f"    {outcome.caution}")

    def _on_mark(self, mark: Mark) -> None:
        self._add(mark.words, MARKS[mark.kind])

    def _on_event(self, event: Event) -> None:
        if event.is_of_primary or event.channel in {"+promoted-slave", "+switch-master"}:
            self._add(f"{event.sentinel}: {event.channel}", "cyan")

    def _add(self, words: str, style: str) -> None:
        line = Text(f"{time.monotonic() - self._began_at:6.1f} s  {words}", style)
        if self._console.is_terminal:
            self._lines.append(line)
        else:
            self._console.print(line, soft_wrap=True)

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _picture(self) -> RenderableType:
        if self._scenario is None:
            return Text("")
        head = Text.assemble((f"[{self._number}/{self._total}] {self._scenario.name} ", "bold"), (f"({self._service})", "dim"))
        parts: list[RenderableType] = [head, Text(self._scenario.says, "dim")]
        if self._stage is None or self._recorder is None:
            return Group(*parts, Text("  starting the servers, the Sentinels and the service ...", "dim"))
        table = Table.grid(padding=(0, 2))
        recorder = self._recorder
        table.add_row(Text("servers", "dim"), _states(recorder.servers))
        table.add_row(Text("Sentinels", "dim"), _states(recorder.sentinels))
        table.add_row(Text("Redis, as seen by", "dim"), _states(recorder.workers))
        table.add_row(Text("traffic", "dim"), self._traffic())
        return Group(*parts, table, *self._lines)

    def _traffic(self) -> Text:
        assert self._stage is not None, "it is called only when there is a stage"
        since = time.monotonic() - RATE_SECONDS
        answers = []
        for client in self._stage.load.clients:
            for answer in reversed(client.ledger.answers):
                if answer.asked_at < since:
                    break
                answers.append(answer)
        degraded, failed = sum(each.is_degraded for each in answers), sum(each.is_failed for each in answers)
        slowest = max((each.took for each in answers), default=0.0)
        return Text.assemble(
            f"{len(answers) / RATE_SECONDS:.0f} responses/s  ", (f"{degraded} degraded  ", "yellow" if degraded else "dim"),
            (f"{failed} failed  ", "red" if failed else "dim"), f"slowest {1000 * slowest:.0f} ms",
        )  # fmt: skip


def _states(tracks: Sequence[Track]) -> Text:
    return Text("  ").join(Text.assemble(f"{track.name} ", (track.now or "?", COLOURS.get(track.now, "dim"))) for track in tracks)


def table(outcomes: Sequence[Outcome], width: int) -> Table:
    """One row per scenario and service. A narrow terminal gets fewer columns."""
    made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    made.add_column("scenario", overflow="fold")
    made.add_column("verdict", no_wrap=True)
    columns = [name for name in FIGURES if width >= WIDE or name in NARROW]
    for name in columns:
        made.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for outcome in outcomes:
        name = outcome.scenario if outcome.service == "stateroom" else f"  {outcome.service}"
        verdict = Text("passed", "green") if outcome.has_passed else Text("FAILED", "bold red")
        made.add_row(name, verdict, *(FIGURES[each](outcome) for each in columns))
    return made


def seconds(value: float | None) -> str:
    """Seconds, or "-" for None."""
    return "-" if value is None else f"{value:.2f} s"


FIGURES: dict[str, Callable[[Outcome], str]] = {
    "detect": lambda outcome: seconds(outcome.detected_after),
    "promote": lambda outcome: seconds(outcome.promoted_after),
    "first write": lambda outcome: seconds(outcome.written_after),
    "requests": lambda outcome: str(sum(outcome.verdict.requests.values())),
    "failed": lambda outcome: str(len(outcome.verdict.refused)),
    "lost": lambda outcome: str(len(outcome.verdict.lost)),
    "revived": lambda outcome: str(outcome.back),
    "signed out": lambda outcome: str(len(outcome.verdict.out)),
    "other user": lambda outcome: str(outcome.strangers),
    "degraded": lambda outcome: str(outcome.verdict.degraded),
    "slowest": lambda outcome: seconds(max(outcome.verdict.slowest.values(), default=None)),
}
"""The figure in each column, by the column's name."""
