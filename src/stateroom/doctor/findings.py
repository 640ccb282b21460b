"""What the doctor says: a line about one thing, how bad it is, and the mend."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """`UNSEEN`: these rights don't show it, and the mend says how to look. `FAULT` alone makes the exit status 1."""

    OK = "ok"
    UNSEEN = "unseen"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """`where` is what was looked at. `check` names the finding in docs/doctor.md; empty where all is well."""

    level: Level
    check: str
    where: str
    what: str
    mend: str = ""


def ok(where: str, what: str) -> Finding:
    return Finding(Level.OK, "", where, what)


def unseen(check: str, where: str, what: str, mend: str) -> Finding:
    return Finding(Level.UNSEEN, check, where, what, mend)


def warning(check: str, where: str, what: str, mend: str) -> Finding:
    return Finding(Level.WARNING, check, where, what, mend)


def fault(check: str, where: str, what: str, mend: str) -> Finding:
    return Finding(Level.FAULT, check, where, what, mend)
