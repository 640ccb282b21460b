"""Notes that all drills have passed, in the session in which they did: pytest calls these hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


class PassNote:
    """Of the tests in one folder. `digest`: of what they touch; `note` is called with it when all have passed on it.

    `_tests`: the folder's tests in this session. `_passed`: those of them that have passed so far. `_is_whole`: none was
    left out by an option. `_touched`: the digest when the session began.
    """

    def __init__(self, folder: Path, digest: Callable[[], str], note: Callable[[str], None]) -> None:
        self._folder = folder
        self._digest = digest
        self._note = note
        self._touched = digest()
        self._tests: set[str] = set()
        self._passed: set[str] = set()
        self._is_whole = True

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        if any(self._is_ours(item) for item in items):
            self._is_whole = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        ours = [item for item in session.items if self._is_ours(item)]
        self._tests = {item.nodeid for item in ours}
        all_files = set(self._folder.glob("test_*.py"))
        begin = session.config.invocation_params.dir
        single = [begin / argument.split("::")[0] for argument in session.config.args if "::" in argument]
        if {item.path for item in ours} != all_files or any(path.is_relative_to(self._folder) for path in single):
            self._is_whole = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif not report.passed:  # failed or skipped, at whatever step
            self._is_whole = False if report.nodeid in self._tests else self._is_whole

    def pytest_sessionfinish(self) -> None:
        is_all = self._is_whole and bool(self._tests) and self._tests <= self._passed
        if is_all and self._digest() == self._touched:  # nobody has changed a file meanwhile
            self._note(self._touched)

    def _is_ours(self, item: pytest.Item) -> bool:
        return item.path.is_relative_to(self._folder)
