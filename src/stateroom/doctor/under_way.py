"""Knows which steps of an examination have begun and not ended, so that a run that takes too long can name them.

Each wait of the doctor has a limit of its own. The limit of the whole run is for what these limits do not reach, such as a file
on a network drive that does not answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from .findings import Finding, fault

RUN_SECONDS = 60.0
"""The limit of a whole run. It is longer than all limits of single steps that can follow one another."""
END_SECONDS = 2.0
"""How long cancelled steps may take to end."""
WHERE = "Doctor"


@dataclass(slots=True)
class UnderWay:
    """The steps of one run. Any thread may read `names`."""

    _steps: dict[object, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What is being examined now, in words, each once."""
        return list(dict.fromkeys(self._steps.copy().values()))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """The run to which the steps of this task, and of the tasks that it makes, belong."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step with this name. Steps may run at the same time."""
        mark = object()
        self._steps[mark] = name
        try:
            yield
        finally:
            del self._steps[mark]


_CURRENT: ContextVar[UnderWay | None] = ContextVar("under_way", default=None)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """A step of the current run, if there is one."""
    run = _CURRENT.get()
    with contextlib.nullcontext() if run is None else run.step(name):
        yield


def unfinished(names: list[str]) -> Finding:
    """The finding of a run that was stopped. `names`: what was still being examined."""
    waited = f" It waited for: {', '.join(names)}." if names else ""
    what = f"the examination was stopped, because it did not end within {RUN_SECONDS:g} s.{waited} The report is incomplete"
    fix = "check that these servers and this host's name servers and network drives answer, then run the doctor again"
    return fault("unfinished", WHERE, what, fix)
