"""Drills the running stack of `docker-compose.sentinel.yml`: breaks the primary's container while clients use nginx.

    python -m stateroom.drills.compose [SCENARIO ...]

The stack must already run, with docker or podman. Afterwards it is whole again. The judge is that of the other drills.
`down-after-milliseconds` is that of the stack, 5000.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StateroomError
from ..plurals import counted
from .conditions import conditions
from .containers import WORKERS, DrillError, Stack
from .judge import Verdict, judge
from .ledger import NAMES
from .load import Load
from .outcome import Outcome
from .report import write_json
from .stage import Mark
from .target import cookie_of

STEADY_SECONDS = 3.0
BROKEN_SECONDS = 4.0
"""How long the old primary stays broken after another has been promoted."""
WHOLE_SECONDS = 90.0
POLL_SECONDS = 0.3
# A password hash of full strength takes 0.25 s of a processor that all containers share.
SLOWEST_SECONDS = 2.0


@dataclass(frozen=True)
class ContainerScenario:
    """How to break the primary's container, and how to repair it. `says`: what happens, in words."""

    says: str
    breaks: Callable[[Stack, str], Awaitable[None]]
    repairs: Callable[[Stack, str], Awaitable[None]]


SCENARIOS = {
    "kill-primary": ContainerScenario("the primary's container is killed", Stack.kill, Stack.start),
    "pause-primary": ContainerScenario(
        "the primary's container is paused: connections stay open, and it answers nothing", Stack.pause, Stack.unpause
    ),
    "cut-off-primary": ContainerScenario("the primary's container loses its network", Stack.cut_off, Stack.reconnect),
}


@dataclass
class ContainerOutcome:
    """The outcome of one scenario on containers.

    `primaries`: the services that were primary before and after. `promoted_after`: seconds from the break until most
    Sentinels named another primary. `whole_after`: seconds from the repair until the stack was whole. `outcome`: for the
    report; None if the scenario did not end.
    """

    scenario: str
    primaries: tuple[str, str] = ("", "")
    promoted_after: float = 0.0
    whole_after: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)
    outcome: Outcome | None = None

    def summary(self) -> str:
        """The outcome in a few lines."""
        seen = self.verdict
        slowest = ", ".join(f"{NAMES[kind]} {seconds:.2f} s" for kind, seconds in sorted(seen.slowest.items()))
        requests = ", ".join(counted(count, NAMES[kind]) for kind, count in sorted(seen.requests.items()))
        back = len({id(each.session) for each in seen.back})
        return (
            f"{self.scenario}: {'FAILED: ' + '; '.join(self.faults) if self.faults else 'passed'}\n"
            f"  the primary moved from {' to '.join(self.primaries)} in {self.promoted_after:.1f} s; "
            f"the stack was complete {self.whole_after:.1f} s after the repair\n"
            f"  {requests}; slowest: {slowest}\n"
            f"  {counted(seen.degraded, 'response')} degraded; {counted(len(seen.refused), 'request')} refused; "
            f"{counted(len(seen.out), 'response')} told a signed-in user that nobody is signed in\n"
            f"  {counted(len(seen.lost), 'session')} lost; {counted(back, 'ended session')} accepted or stored again"
        )

    def figures(self) -> dict[str, object]:
        """The figures for a JSON file."""
        seen = self.verdict
        return {
            "scenario": self.scenario, "primary_before": self.primaries[0], "primary_after": self.primaries[1],
            "promoted_after": round(self.promoted_after, 2), "whole_after": round(self.whole_after, 2),
            "requests": dict(seen.requests), "degraded": seen.degraded, "refused": len(seen.refused), "out": len(seen.out),
            "lost": len(seen.lost), "back": len(seen.back),
            "slowest": {kind: round(seconds, 3) for kind, seconds in seen.slowest.items()}, "faults": self.faults,
        }  # fmt: skip


async def drill(stack: Stack, name: str, url: str, *, slowest: float = SLOWEST_SECONDS) -> ContainerOutcome:
    """Play one scenario. `slowest`: seconds that a response may take. Raises `DrillError` if the stack does not become whole."""
    scenario = SCENARIOS[name]
    outcome = ContainerOutcome(name)
    await _until(stack.is_whole, "before the drill, each Sentinel sees the primary and two linked replicas")
    before = await stack.primary()
    assert before is not None, "it is whole"
    domain = f"{name}-{os.getpid()}-{time.time_ns()}.example.com"
    cookie = await cookie_of(url, domain)
    marks = []
    async with Load([url], readers=12, reads=60, writers=0, signers=4, logins=1, cookie=cookie, domain=domain) as load:
        began_at = time.monotonic()
        async with load.steady():
            await asyncio.sleep(STEADY_SECONDS)
            broken_at = time.monotonic()
            marks.append(Mark(broken_at, "fault", f"{before}: {scenario.says}"))
            await scenario.breaks(stack, before)
            try:
                after = await _other_primary(stack, before)
                outcome.promoted_after = time.monotonic() - broken_at
                marks.append(Mark(time.monotonic(), "note", f"most Sentinels name {after}"))
                await asyncio.sleep(BROKEN_SECONDS)
            finally:
                repaired_at = time.monotonic()
                marks.append(Mark(repaired_at, "fix", f"{before} repaired"))
                await scenario.repairs(stack, before)
            await _until(stack.is_whole, "the old primary is a linked replica of the new one")
            outcome.whole_after = time.monotonic() - repaired_at
            await _until(stack.is_settled, "the workers report Redis as settled")
            await asyncio.sleep(STEADY_SECONDS)
        ended_at, ledger = time.monotonic(), load.ledger()
        # Ask about each session once per process, because nginx takes the processes in turn.
        outcome.verdict = await judge(ledger, [url] * len(WORKERS), cookie)
    outcome.primaries = (before, after)
    outcome.faults = outcome.verdict.faults(slowest=slowest, slowest_logout=slowest)
    if not outcome.verdict.degraded:
        outcome.faults.append("no response was degraded: the drill broke nothing")
    outcome.outcome = Outcome(
        name, scenario.says, "stateroom", began_at, ended_at, outcome.verdict, ledger, marks, faults=outcome.faults
    )  # fmt: skip
    return outcome


async def _other_primary(stack: Stack, before: str) -> str:
    named: list[str | None] = []

    async def is_named() -> bool:
        named[:] = [await stack.primary()]
        return named[0] not in {None, before}

    await _until(is_named, "the Sentinels name another primary")
    assert named[0] is not None, "one is named"
    return named[0]


async def _until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WHOLE_SECONDS
    while not await is_so():
        if time.monotonic() > deadline:
            raise DrillError(f"waited {WHOLE_SECONDS:g} s, but this did not happen: {what}")
        await asyncio.sleep(POLL_SECONDS)


def default_url() -> str:
    """The address of the stack's nginx."""
    return f"http://127.0.0.1:{os.environ.get('STACK_HTTP_PORT') or 8080}"


def default_project() -> str:
    """The name of the stack."""
    return os.environ.get("COMPOSE_PROJECT_NAME") or "stateroom"


def play(names: Sequence[str], url: str, project: str, slowest: float = SLOWEST_SECONDS) -> list[ContainerOutcome]:
    """Play these scenarios, one after the other. Raises `StateroomError` if one cannot be played."""
    try:
        return asyncio.run(_play(names, url, project, slowest))
    except* StateroomError as group:  # The clients' task group wraps the error.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _play(names: Sequence[str], url: str, project: str, slowest: float) -> list[ContainerOutcome]:
    stack = await Stack.find(project)
    outcomes = []
    for name in names:
        print(f"{name}: {SCENARIOS[name].says} ...", file=sys.stderr, flush=True)
        outcomes.append(await drill(stack, name, url, slowest=slowest))
        print(outcomes[-1].summary(), flush=True)
    return outcomes


def main() -> None:
    """Exit 0 if every scenario passes, 1 if one fails, 2 if one could not be played."""
    parser = argparse.ArgumentParser(prog="python -m stateroom.drills.compose", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(SCENARIOS)}; the default is all")
    parser.add_argument("--url", default=default_url(), help="address of nginx; the default is %(default)s")
    parser.add_argument("--project", default=default_project(), help="name of the stack; the default is %(default)s")
    parser.add_argument("--report", type=Path, help="write the figures to this file as JSON")
    parser.add_argument(
        "--slowest", type=float, default=SLOWEST_SECONDS, help="seconds that a response may take; the default is %(default)s"
    )
    given = parser.parse_args()
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]} for containers; the scenarios are {', '.join(SCENARIOS)}")
    made = conditions(target=given.url)
    try:
        outcomes = play(given.scenarios or list(SCENARIOS), given.url, given.project, given.slowest)
    except StateroomError as error:
        print(f"drill: {error}", file=sys.stderr)
        sys.exit(2)
    if given.report is not None:
        write_json(outcomes, made, given.report)
    sys.exit(1 if any(each.faults for each in outcomes) else 0)


if __name__ == "__main__":
    main()
