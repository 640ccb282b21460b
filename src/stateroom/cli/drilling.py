"""`stateroom drill`: plays failovers and prints what clients noticed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..drills import compose, live, picture, report, target
from ..drills.conditions import Conditions, conditions
from ..drills.node import server_binary
from ..drills.outcome import Outcome
from ..drills.run import PEER, has_peer, play_all, run
from ..drills.scenarios import SCENARIOS, UnknownScenario, find
from ..drills.stage import Scenario
from ..errors import SettingsError
from .commands.arguments import confirm

INTERRUPTED = 130


def names() -> str:
    """Every scenario, one line each."""
    width = max(map(len, SCENARIOS))
    return "\n".join(f"{each.name:{width}}  {each.says}" for each in SCENARIOS.values())


def chosen(given: Sequence[str]) -> list[Scenario]:
    """The scenarios with the given names; all if none is given. Raises `UnknownScenario`."""
    return [each for name in given for each in find(name)] if given else list(SCENARIOS.values())


@dataclass(frozen=True, slots=True)
class Results:
    """Where a drill's results are written. `folder`: of the report. `file`: of the figures. `picture`: of one scenario."""

    folder: Path | None = None
    file: Path | None = None
    picture: Path | None = None

    def check(self) -> None:
        """Check, before minutes of drills, that the results can be written. Raises `SettingsError`."""
        if self.folder is not None:
            _check_folder(self.folder)
        for option, file in (("--json", self.file), ("--picture", self.picture)):
            if file is not None:
                _check_file(option, file)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"--report: cannot write to {folder}: {error.strerror}; give another folder") from None


def _check_file(option: str, file: Path) -> None:
    try:
        is_new = not file.exists()
        file.open("a").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise SettingsError(f"{option}: cannot write {file}: {error.strerror}; give another file") from None


def on_this_machine(given: Sequence[str], results: Results, *, peer: bool | None, is_dry: bool) -> int:
    """Start a stack on this machine and drill it. Returns the exit status."""
    scenarios = chosen(given)
    if results.picture is not None and len(scenarios) != 1:
        raise SettingsError(f"--picture draws one scenario, not {len(scenarios)}; give one, for example kill-primary")
    is_with_peer = has_peer() if peer is None else peer
    if is_with_peer and not has_peer():
        raise SettingsError(f"--peer: {PEER} is not installed; run pip install {PEER}")
    binary = server_binary()
    if is_dry:
        print(f"This would start 3 servers and 3 Sentinels ({binary}) and 2 workers on loopback, and play:")
        print("\n".join(f"  {each.name}: {each.says}" for each in scenarios))
        return 0
    console = Console()
    with_peer = [each for each in scenarios if is_with_peer and each.is_for_peers]
    made = conditions(peer=PEER if with_peer else "")
    count = len(scenarios) + len(with_peer)
    try:
        outcomes, logs = run(play_all(scenarios, live.View(console, count), peer=is_with_peer))
    except KeyboardInterrupt:
        console.print("interrupted: the drill has stopped every process that it started")
        return INTERRUPTED
    if logs is not None:
        console.print(f"logs of the failed scenarios: {logs}", soft_wrap=True)
    if not is_with_peer and peer is None:
        console.print(f"To compare with {PEER}, run pip install {PEER} and drill again.", soft_wrap=True)
    return _tell(outcomes, made, console, results)


def on_target(
    given: Sequence[str],
    url: str,
    sentinels: str,
    name: str,
    results: Results,
    *,
    is_dry: bool,
    is_sure: bool,
) -> int:
    """Drill a stack that already runs. Returns the exit status."""
    from ..backend.dial import Dialer
    from ..settings import parse_address

    if list(given) not in ([], ["manual-failover"]):
        raise UnknownScenario(
            "with --target you can play only manual-failover, because the other scenarios need access to the servers' processes"
        )
    try:
        addresses = [parse_address(part.strip()) for part in sentinels.split(",")]
    except ValueError as error:
        raise SettingsError(f"--sentinels: {error}") from None
    dialer = Dialer(
        2.0, 5.0, username=os.environ.get("REDIS_SENTINEL_USERNAME"), password=os.environ.get("REDIS_SENTINEL_PASSWORD")
    )
    stack = target.Target(url, addresses, name, dialer)
    primary = run(stack.primary())
    print(f"Twelve clients register at {url} and send requests for about ten seconds. Their accounts (@….drill.invalid) stay.")
    print(f"The drill tells the Sentinels of {name} to promote another server in place of {primary}.")
    print("During the failover, writes are refused for about a second, and data that is not yet replicated can be lost.")
    if is_dry:
        print("The drill did nothing, because of --dry-run.")
        return 0
    if not is_sure:
        confirm("Start the drill?")
    made = conditions(target=url)
    try:
        outcome = run(target.drill(stack, SCENARIOS["manual-failover"]))
    except KeyboardInterrupt:
        return INTERRUPTED
    console = Console()
    live.View(console, 1).end(outcome)
    return _tell([outcome], made, console, results)


def on_containers(given: Sequence[str], results: Results, *, is_dry: bool, slowest: float | None = None) -> int:
    """Drill the stack of `docker-compose.sentinel.yml`. `slowest`: seconds that a response may take. Returns the exit status."""
    unknown = [each for each in given if each not in compose.SCENARIOS]
    if unknown:
        raise UnknownScenario(f"there is no scenario {unknown[0]} for containers; the scenarios are {', '.join(compose.SCENARIOS)}")
    scenarios = list(given) or list(compose.SCENARIOS)
    url, project = compose.default_url(), compose.default_project()
    if is_dry:
        print(f"This would break containers of the stack {project} while clients send requests to {url}, and play:")
        print("\n".join(f"  {each}: {compose.SCENARIOS[each].says}" for each in scenarios))
        return 0
    made = conditions(target=url)
    outcomes = compose.play(scenarios, url, project, compose.SLOWEST_SECONDS if slowest is None else slowest)
    if results.file is not None:
        report.write_json(outcomes, made, results.file)
    if results.folder is not None:
        played = [each.outcome for each in outcomes if each.outcome is not None]
        print(f"report: {report.write(played, made, results.folder)}")
    return 1 if any(each.faults for each in outcomes) else 0


def _tell(outcomes: Sequence[Outcome], made: Conditions, console: Console, results: Results) -> int:
    for name, text in made.rows():
        console.print(f"{name}: {text}", soft_wrap=True, markup=False, highlight=False)
    console.print(live.table(outcomes, console.width))
    console.print(report.verdict(outcomes))
    if results.folder is not None:
        console.print(f"report: {report.write(outcomes, made, results.folder)}", soft_wrap=True)
    if results.file is not None:
        report.write_json(outcomes, made, results.file)
    if results.picture is not None:
        picture.write(outcomes, made, results.picture)
        console.print(f"picture: {results.picture}", soft_wrap=True)
    return 0 if all(each.has_passed for each in outcomes if each.service == "stateroom") else 1
