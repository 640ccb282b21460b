"""Runs tests of other projects in a pytest process of its own, and says which failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .sdists import ROOT

TIMEOUT_SECONDS = 600

# The test's name, and why it fails.
Reasons = Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """`ran`: the names of all tests. `failed`: what pytest said of those that failed."""

    ran: frozenset[str]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class Suite:
    """The tests of one project. `plugins`: what pytest needs for them. `installed`: a folder with further packages.

    `ini`: pytest's configuration. `settings`: environment variables for our plugins.
    """

    folder: Path
    plugins: tuple[str, ...]
    installed: Path
    ini: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, work: Path, tests: Collection[str], *plugins: str) -> Outcome:
        """Run these files or tests. `plugins`: our own, by the names of their modules."""
        ini, report = work / "pytest.ini", work / "report.xml"
        ini.write_text(self.ini)
        loaded = [part for each in (*self.plugins, *plugins) for part in ("-p", each)]
        place = ["-c", str(ini), f"--rootdir={self.folder}", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *loaded, *place, f"--junitxml={report}", *tests],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}, done.stdout[-3000:] + done.stderr[-3000:]
        return _read(report)

    def _environment(self) -> dict[str, str]:
        """Settings come from the plugins. Only plugins that are named are loaded."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        environment["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, ROOT / "src", self.installed]))
        return environment | dict(self.settings)


def unexplained(suite: Suite, work: Path, outcome: Outcome, by_design: Reasons) -> dict[str, str]:
    """The failures that are not on the list, and do not happen without Stateroom."""
    more = {name: text for name, text in outcome.failed.items() if name not in by_design}
    if not more:
        return {}
    alone = suite.run(work, sorted(more))
    return {name: text for name, text in more.items() if name not in alone.failed}


def outdated(outcome: Outcome, by_design: Reasons) -> list[str]:
    """Names on the list whose tests pass, or are no longer there."""
    return sorted(set(by_design) - set(outcome.failed))


def _read(report: Path) -> Outcome:
    ran, failed = set(), {}
    for case in ET.parse(report).iter("testcase"):  # Our own pytest wrote it.
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        ran.add(name)
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                failed[name] = f"{found.attrib.get('message', '')}\n{(found.text or '')[-1500:]}"
    return Outcome(frozenset(ran), failed)
