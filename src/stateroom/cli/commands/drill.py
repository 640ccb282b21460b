"""`stateroom drill`: its options, and which of them exclude each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import SettingsError


def drill(  # noqa: PLR0917 (options have names)
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="Names of scenarios, or .py files. Default: all scenarios.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write drill.html and drill.json to this folder.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures to this file as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw one scenario to this SVG file, for a README.")] = None,
    peer: Annotated[
        bool | None,
        typer.Option("--peer/--no-peer", help="Drill aiohttp-session too, to compare. Default: yes, if it is installed."),
    ] = None,
    compose: Annotated[
        bool,
        typer.Option("--compose", help="Drill the running containers of docker-compose.sentinel.yml. It stops some of them."),
    ] = False,
    slowest: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="With --compose: how long a response may take. Default: 2."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Run manual-failover on your running service: its Sentinels promote another server."),
    ] = None,
    sentinels: Annotated[str | None, typer.Option(metavar="HOST:PORT,...", help="The Sentinels of the --target.")] = None,
    master_name: Annotated[
        str, typer.Option(help="With --target: NAME in `sentinel monitor NAME ...` of the Sentinels.")
    ] = "mymaster",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the drill would do, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --target: start without a question.")] = False,
) -> None:
    """Start a Redis with Sentinels on this machine, break it, and measure what clients notice.

    Your own servers stay untouched, except with --compose or --target. Exit status 0: every scenario passed.
    """
    from .. import drilling

    if list_:
        print(drilling.names())
        return
    if (target is None) != (sentinels is None):
        raise SettingsError("--target and --sentinels work only together; give both or neither")
    if compose and target is not None:
        raise SettingsError("--compose and --target cannot be used together; give only one of them")
    if picture is not None and (compose or target is not None):
        raise SettingsError("--picture works only without --compose and --target; leave them out")
    if slowest is not None and not compose:
        raise SettingsError("--slowest works only with --compose; leave it out")
    results = drilling.Results(report, json, picture)
    if not dry_run:
        results.check()
    given = scenarios or []
    if compose:
        status = drilling.on_containers(given, results, is_dry=dry_run, slowest=slowest)
    elif target is not None and sentinels is not None:
        status = drilling.on_target(given, target, sentinels, master_name, results, is_dry=dry_run, is_sure=yes)
    else:
        status = drilling.on_this_machine(given, results, peer=peer, is_dry=dry_run)
    raise typer.Exit(status)
