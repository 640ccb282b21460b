"""`stateroom doctor`: prints each finding and its fix."""

from __future__ import annotations

import asyncio
import dataclasses
import getpass
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..doctor.examine import Report, examine
from ..doctor.findings import Finding, Level
from ..doctor.stores import Administrator
from ..doctor.under_way import END_SECONDS, RUN_SECONDS, UnderWay, unfinished
from ..errors import SettingsError
from ..network.loops import OwnSockets
from ..plurals import counted
from ..settings import Settings
from .named_stores import NamedStores, check_anything_exists

_STYLES = {Level.OK: "green", Level.UNSEEN: "cyan", Level.WARNING: "yellow", Level.FAULT: "bold red"}
_COUNTED = {
    Level.FAULT: ("fault", "faults"),
    Level.WARNING: ("warning", "warnings"),
    Level.UNSEEN: ("unseen", "unseen"),
    Level.OK: ("ok", "ok"),
}
_LABEL_WIDTH = max(len(level) for level in Level)


def run(*, as_json: bool, admin: str | None, password_file: Path | None) -> bool:
    """Examine Redis and the user database, and print the report. Returns whether there is no fault.

    Raises `SettingsError`.
    """
    settings = Settings.load()
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")  # So that a finding tells of DNS, and not of a time-out.
    administrator = _administrator(admin, password_file)
    check_anything_exists(settings)
    stores = NamedStores.of(settings)
    report, thread = _examined(settings, administrator)
    if as_json:
        print(json.dumps({**stores.document(), **_document(report)}, indent=2, ensure_ascii=False))
    else:
        _print(report, stores)
    thread.join(END_SECONDS)
    if thread.is_alive():  # At its end Python would wait for threads that may hang.
        sys.stdout.flush()
        os._exit(0 if report.is_good else 1)
    return report.is_good


class _Loop(OwnSockets, asyncio.SelectorEventLoop):  # type: ignore[misc] # its create_connection has overloads
    """asyncio's loop, with look-ups of names in our own threads. Its own threads would delay the end by minutes."""


def _examined(settings: Settings, administrator: Administrator | None) -> tuple[Report, threading.Thread]:
    """The report, and the thread that examines. The report comes in time, even if that thread hangs. Raises `SettingsError`."""
    under_way, began = UnderWay(), time.monotonic()
    outcome: queue.SimpleQueue[Report | BaseException] = queue.SimpleQueue()

    def examine_all() -> None:
        try:
            with asyncio.Runner(loop_factory=_Loop) as runner:
                outcome.put(runner.run(examine(settings, administrator, under_way)))
        except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
            outcome.put(error)

    thread = threading.Thread(target=examine_all, name="examination", daemon=True)
    thread.start()
    try:
        found = outcome.get(timeout=RUN_SECONDS + 2 * END_SECONDS)
    except queue.Empty:
        found = Report(settings.redis_mode, [unfinished(under_way.names)], time.monotonic() - began)
    if isinstance(found, BaseException):
        raise found
    return found, thread


def _administrator(name: str | None, password_file: Path | None) -> Administrator | None:
    if name is None:
        if password_file is not None:
            raise SettingsError("--admin-password-file is given without --admin; give the name of that user with --admin")
        return None
    if password_file is None:
        if not sys.stdin.isatty():
            raise SettingsError(
                "--admin cannot ask for the password, because there is no terminal; name a file with --admin-password-file"
            )
        return Administrator(name, getpass.getpass(f"Password of {name}: "))
    try:
        return Administrator(name, password_file.read_text(encoding="utf-8").strip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"--admin-password-file: {password_file} cannot be read: {reason}; name a readable file") from None


def _document(report: Report) -> dict[str, object]:
    return {
        "mode": report.mode,
        "good": report.is_good,
        "seconds": round(report.seconds, 3),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }


def _print(report: Report, stores: NamedStores) -> None:
    """Print the findings, grouped by what was examined. On a terminal, wrap lines and use colours."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(Text(f"sessions: {stores.store}\nuser database: {stores.database}"))
    groups: dict[str, list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault(finding.where, []).append(finding)
    for where, findings in groups.items():
        console.print(Text(where, style="bold"))
        for finding in findings:
            for label, text in _lines(finding):
                if console.is_terminal:
                    console.print(_row(label, text))
                else:
                    console.print(Text(f"  {label.plain:<{_LABEL_WIDTH}}  {text}"))
    counts = ", ".join(counted(report.count(level), *words) for level, words in _COUNTED.items())
    console.print(f"\n{counts} ({report.mode}, {report.seconds:.1f} s)")


def _lines(finding: Finding) -> list[tuple[Text, str]]:
    name = f" [{finding.check}]" if finding.check else ""
    lines = [(Text(finding.level, style=_STYLES[finding.level]), f"{finding.what}{name}")]
    if finding.fix:
        lines.append((Text("fix", style="dim"), finding.fix))
    return lines


def _row(label: Text, text: str) -> Table:
    """A label and a text beside it. The text wraps within its column."""
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=_LABEL_WIDTH + 2)
    row.add_column(overflow="fold")
    row.add_row(Text("  ") + label, Text(text))
    return row
