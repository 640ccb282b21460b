"""`stateroom drill`: plays failovers and prints what users noticed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from ..drills import compose, live, report, target
from ..drills.node import server_binary
from ..drills.outcome import Outcome
from ..drills.run import PEER, has_peer, play_all, run
from ..drills.scenarios import SCENARIOS, UnknownScenario, find
from ..drills.stage import Scenario
from ..errors import SettingsError

INTERRUPTED = 130


def names() -> str:
    """Every scenario, one line each."""
    width = max(map(len, SCENARIOS))
    return "\n".join(f"{each.name:{width}}  {each.says}" for each in SCENARIOS.values())


def chosen(given: Sequence[str]) -> list[Scenario]:
    """The scenarios with the given names; all if none is given. Raises `UnknownScenario`."""
    return [each for name in given for each in find(name)] if given else list(SCENARIOS.values())


def check_can_write(folder: Path | None, file: Path | None) -> None:
    """Check, before minutes of drills, that the report can be written. Raises `SettingsError`."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        if file is not None:
            is_new = not file.exists()
            file.open("a").close()
            if is_new:
                file.unlink()
    except OSError as error:
        option = "--report" if file is None or error.filename != str(file) else "--json"
        raise SettingsError(f"{option}: cannot write there: {error.strerror}; name another file or folder") from None


def on_this_machine(given: Sequence[str], *, folder: Path | None, file: Path | None, peer: bool | None, is_dry: bool) -> int:
    """Start a stack on this machine and drill it. Returns the exit status."""
    scenarios = chosen(given)
    is_with_peer = has_peer() if peer is None else peer
    if is_with_peer and not has_peer():
        raise SettingsError(f"the peer is not installed; pip install {PEER}")
    binary = server_binary()
    if is_dry:
        print(f"would start 3 servers and 3 Sentinels ({binary}) and 2 processes of the service on loopback, and play:")
        print("\n".join(f"  {each.name}: {each.says}" for each in scenarios))
        return 0
    console = Console()
    count = len(scenarios) + sum(is_with_peer and each.is_for_peers for each in scenarios)
    try:
        outcomes, logs = run(play_all(scenarios, live.View(console, count), peer=is_with_peer))
    except KeyboardInterrupt:
        console.print("interrupted; all started processes were stopped")
        return INTERRUPTED
    if logs is not None:
        console.print(f"the logs of failed scenarios are in {logs}", soft_wrap=True)
    if not is_with_peer and peer is None:
        console.print(f"to drill {PEER} too: pip install {PEER}", soft_wrap=True)
    return _tell(outcomes, console, folder, file)


def on_target(
    given: Sequence[str],
    url: str,
    sentinels: str,
    name: str,
    *,
    folder: Path | None,
    file: Path | None,
    is_dry: bool,
    is_sure: bool,
) -> int:
    """Drill a stack that already runs. Returns the exit status."""
    from ..backend.dial import Dialer
    from ..settings import parse_address

    if list(given) not in ([], ["manual-failover"]):
        raise UnknownScenario("with --target only manual-failover can be played: the others need access to the servers' processes")
    try:
        addresses = [parse_address(part.strip()) for part in sentinels.split(",")]
    except ValueError as error:
        raise SettingsError(f"--sentinels: {error}") from None
    dialer = Dialer(
        2.0, 5.0, username=os.environ.get("REDIS_SENTINEL_USERNAME"), password=os.environ.get("REDIS_SENTINEL_PASSWORD")
    )
    made = target.Target(url, addresses, name, dialer)
    primary = run(made.primary())
    print(f"{url}: a dozen clients register and send requests for ten seconds; their accounts stay (@….drill.invalid).")
    print(f"{name}: the Sentinels are told to promote another server in place of {primary}.")
    print("During the failover, writes are refused for about a second, and data that is not replicated yet may be lost.")
    if is_dry:
        print("nothing was done (--dry-run)")
        return 0
    if not is_sure and not typer.confirm("Do it?"):
        return 1
    try:
        outcome = run(target.drill(made, SCENARIOS["manual-failover"]))
    except KeyboardInterrupt:
        return INTERRUPTED
    console = Console()
    live.View(console, 1).end(outcome)
    return _tell([outcome], console, folder, file)


def on_containers(given: Sequence[str], *, folder: Path | None, file: Path | None, is_dry: bool) -> int:
    """Drill the stack of `docker-compose.sentinel.yml`. Returns the exit status."""
    unknown = [each for each in given if each not in compose.SCENARIOS]
    if unknown:
        raise UnknownScenario(f"there is no scenario {unknown[0]} on containers; the scenarios are {', '.join(compose.SCENARIOS)}")
    scenarios = list(given) or list(compose.SCENARIOS)
    url, project = compose.default_url(), compose.default_project()
    if is_dry:
        print(f"would break the containers of {project}, with clients at {url}:")
        print("\n".join(f"  {each}: {compose.SCENARIOS[each].says}" for each in scenarios))
        return 0
    outcomes = compose.play(scenarios, url, project)
    if file is not None:
        file.write_text(json.dumps([each.figures() for each in outcomes], indent=2) + "\n", encoding="utf-8")
    if folder is not None:
        print(f"report: {report.write([each.outcome for each in outcomes if each.outcome is not None], folder)}")
    return 1 if any(each.faults for each in outcomes) else 0


def _tell(outcomes: Sequence[Outcome], console: Console, folder: Path | None, file: Path | None) -> int:
    console.print(live.table(outcomes, console.width))
    if folder is not None:
        console.print(f"report: {report.write(outcomes, folder)}", soft_wrap=True)
    if file is not None:
        report.write_json(outcomes, file)
    return 0 if all(each.has_passed for each in outcomes if each.service == "stateroom") else 1
