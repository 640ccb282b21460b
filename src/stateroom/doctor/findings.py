"""The findings that the doctor reports. Each is about one thing, and has a level and a fix."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad a finding is. Only `FAULT` makes the exit status 1.

    `UNSEEN`: the service's user has no right to look, and the fix says how to look.
    """

    OK = "ok"
    UNSEEN = "unseen"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report, and its JSON.

    `where`: what was examined. `what`: what was found. `fix`: what to do. `check`: the name of the finding in
    docs/doctor.md. `check` and `fix` are empty if all is well.
    """

    level: Level
    check: str
    where: str
    what: str
    fix: str = ""


def ok(where: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, "", where, what)


def unseen(check: str, where: str, what: str, fix: str) -> Finding:
    """Our user has no right to look."""
    return Finding(Level.UNSEEN, check, where, what, fix)


def warning(check: str, where: str, what: str, fix: str) -> Finding:
    """A failover will be slower or less certain than necessary, or a limit is near."""
    return Finding(Level.WARNING, check, where, what, fix)


def fault(check: str, where: str, what: str, fix: str) -> Finding:
    """A failover will fail or lose data, or the service cannot work now."""
    return Finding(Level.FAULT, check, where, what, fix)
