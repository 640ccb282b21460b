"""The outcome of a scenario: its faults, its figures, and the ledger's entries that prove a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..plurals import counted
from .judge import Verdict
from .ledger import NAMES, Answer, Ledger, SignedIn
from .load import PROBER
from .recorder import Event, Track
from .stage import Mark, Scenario, Span

LINES = 5
BUSY = 2.0
"""From this many processes per core on, the times of a drill mean little."""
LONG_SECONDS = 0.25
"""From a standstill of the drill's process this long on, the times of a drill mean little."""
DETECTING = ("+sdown", "+odown", "+try-failover")


@dataclass
class Outcome:
    """The outcome of one scenario on one service.

    `scenario`, `says`: its name and its purpose. `began_at`, `ended_at`: of the monotonic clock, in seconds,
    `began_at <= ended_at`; the report counts from `began_at`. `marks`, `events` and the tracks are in order of time.
    `faults`: empty if the scenario passed. `bounds`: the longest allowed wait in seconds, by kind of request.
    `imperfect`: failed or degraded responses inside a span that must be perfect.
    """

    scenario: str
    says: str
    service: str
    began_at: float
    ended_at: float
    verdict: Verdict = field(default_factory=Verdict)
    ledger: Ledger = field(default_factory=Ledger)
    marks: Sequence[Mark] = ()
    events: Sequence[Event] = ()
    workers: Sequence[Track] = ()
    servers: Sequence[Track] = ()
    sentinels: Sequence[Track] = ()
    faults: list[str] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)
    imperfect: list[Answer] = field(default_factory=list)
    load_per_core: float = 0.0
    """The machine's load average of the last minute, per core. Above about 1, processes wait for each other."""
    stood_still: float = 0.0
    """The longest standstill of the drill's process, in seconds. Clients' times do not include it, Redis' times do."""

    @property
    def caution(self) -> str:
        """Why a wait over its bound may not be the service's fault; empty if the machine was not busy."""
        if self.stood_still > LONG_SECONDS:
            still = f"{self.stood_still:.1f} s"
            return f"the machine was busy: the drill's own process got no processor time for {still}, so times mean little"
        if self.load_per_core < BUSY:
            return ""
        return f"the machine was busy: {self.load_per_core:.1f} processes wanted each core, so times mean little"

    @property
    def has_passed(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    @property
    def broken_at(self) -> float | None:
        """When the scenario broke the stack: its last fault before a promotion, or its first fault if there was no promotion."""
        faults = [mark.at for mark in self.marks if mark.kind == "fault"]
        promotion = self._event("+promoted-slave", after=0.0)
        before = [at for at in faults if promotion is None or at < promotion]
        return (before[-1] if promotion is not None else before[0]) if before else None

    @property
    def detected_after(self) -> float | None:
        """Seconds from the fault until a Sentinel reported the primary as down, or began a failover."""
        return self._after(lambda event: event.channel in DETECTING and event.is_of_primary)

    @property
    def promoted_after(self) -> float | None:
        """Seconds from the fault until a Sentinel reported the promotion."""
        return self._after(lambda event: event.channel == "+promoted-slave")

    @property
    def written_after(self) -> float | None:
        """Seconds from the fault until session data could be stored again; None if no write was refused."""
        broken_at = self.broken_at
        if broken_at is None:
            return None
        probes = [each for each in self.ledger.answers if each.who.startswith(PROBER) and each.kind == "write"]
        refused = [each.asked_at for each in probes if each.asked_at + each.took >= broken_at and each.is_failed]
        stored = [each for each in probes if refused and each.asked_at > refused[0] and each.status == 200]
        first = min(stored, key=lambda answer: answer.asked_at, default=None)
        return None if first is None else first.asked_at + first.took - broken_at

    @property
    def refused_writes(self) -> int:
        """How many writes of session data failed."""
        return sum(each.kind == "write" and each.is_failed for each in self.ledger.answers)

    @property
    def failed_answers(self) -> int:
        """How many requests got a 5xx status or no response, writes of session data included."""
        return sum(each.is_failed for each in self.ledger.answers)

    @property
    def back(self) -> int:
        """How many ended sessions were accepted or stored again."""
        return len({id(each.session) for each in self.verdict.back})

    @property
    def strangers(self) -> int:
        """How many responses and sessions named another user."""
        return len(self.verdict.others) + len(self.verdict.strange)

    def figures(self) -> dict[str, object]:
        """The figures for `drill.json`. Seconds are rounded to milliseconds."""
        seen = self.verdict
        return {
            "scenario": self.scenario, "service": self.service, "passed": self.has_passed, "faults": self.faults,
            "seconds": _round(self.ended_at - self.began_at),
            "detected_after": _round(self.detected_after), "promoted_after": _round(self.promoted_after),
            "first_write_after": _round(self.written_after),
            "requests": sum(seen.requests.values()), "requests_by_kind": dict(seen.requests),
            "failed": len(seen.refused), "data_refused": self.refused_writes, "data_lost": len(seen.lost_writes),
            "data_stored": seen.writes, "sessions": len(self.ledger.sessions), "sessions_lost": len(seen.lost),
            "sessions_back": self.back, "told_signed_out": len(seen.out), "refusals_allowed": len(seen.excused),
            "named_another_user": self.strangers, "ids_given_twice": len(seen.shared), "unknown_users_in": len(seen.ghosts),
            "degraded": seen.degraded,
            "load_per_core": round(self.load_per_core, 2), "stood_still": _round(self.stood_still),
            "slowest": {kind: _round(seconds) for kind, seconds in seen.slowest.items()},
            "marks": [{"at": _round(each.at - self.began_at), "kind": each.kind, "what": each.words} for each in self.marks],
            "evidence": self.evidence(),
        }  # fmt: skip

    def evidence(self) -> list[str]:
        """Entries of the ledger that prove the faults, at most `LINES` of each kind."""
        seen = self.verdict
        slow = [each for each in self.ledger.answers if each.waited > self.bounds.get(each.kind, float("inf"))]
        return [
            *_some(seen.refused, self._line), *_some(seen.out, self._line), *_some(self.imperfect, self._line),
            *_some(seen.others, self._line),
            *_some(seen.strange, lambda session: f"{self._session(session)}: a worker says that it belongs to another user"),
            *_some(seen.shared.items(), lambda found: f"user id {found[0]} was given to {' and to '.join(found[1])}"),
            *_some(seen.ghosts, lambda session: f"{self._session(session)} is accepted although the user has no account"),
            *_some(sorted(slow, key=lambda answer: -answer.waited), self._line),
            *_some(seen.lost, lambda session: f"{self._session(session)} is lost"),
            *_some(
                {id(each.session): each for each in seen.back}.values(),
                lambda revived: f"{self._session(revived.session)} is accepted or stored again on worker-{revived.worker}"
                + (f", {revived.after_seconds:.3f} s after its end" if revived.after_seconds >= 0 else ", found after the drill"),
            ),
        ] if self.faults else []  # fmt: skip

    def _line(self, answer: Answer) -> str:
        status = answer.status or "no response"
        said = (
            " naming another user"
            if answer.is_another
            else " saying that nobody is signed in"
            if answer.is_out
            else " degraded"
            if answer.is_degraded
            else ""
        )
        words = f" ({answer.words})" if answer.words else ""
        at = answer.asked_at - self.began_at
        asked = f"{at:7.3f} s  {answer.who} on worker-{answer.worker}: {NAMES[answer.kind]}"
        return f"{asked} -> {status}{said} in {answer.waited:.3f} s{words}"

    def _session(self, session: SignedIn) -> str:
        end = "" if session.ended_at is None else f", ended at {session.ended_at - self.began_at:.3f} s"
        kind = "degraded sign-in" if session.is_degraded else "sign-in"
        return f"{session.since - self.began_at:7.3f} s  {session.email}: {kind} {session.handle or session.cookie[:12]}{end}"

    def _event(self, channel: str, *, after: float) -> float | None:
        return min((each.at for each in self.events if each.channel == channel and each.at >= after), default=None)

    def _after(self, is_it: Callable[[Event], bool]) -> float | None:
        broken_at = self.broken_at
        if broken_at is None:
            return None
        found = min((event.at for event in self.events if event.at >= broken_at and is_it(event)), default=None)
        return None if found is None else found - broken_at


T = TypeVar("T")


def weigh_outcome(outcome: Outcome, scenario: Scenario, spans: Sequence[Span], missed: Sequence[str]) -> None:
    """Set the outcome's faults, by what the scenario expects.

    Moves from `verdict.refused` to `verdict.excused` what a span allows to be refused.
    `missed`: expectations that were not met, in words.
    """
    verdict = outcome.verdict
    verdict.excused = [answer for answer in verdict.refused if any(span.excuses(answer) for span in spans)]
    verdict.refused = [answer for answer in verdict.refused if answer not in verdict.excused]
    outcome.bounds = {
        "read": scenario.slowest, "write": scenario.slowest, "login": scenario.slowest_login, "logout": scenario.slowest_logout,
    }  # fmt: skip
    said = verdict.faults(slowest=scenario.slowest, slowest_login=scenario.slowest_login, slowest_logout=scenario.slowest_logout)
    for span in spans:
        if span.must_be_perfect:
            found = [each for each in outcome.ledger.answers if span.has_whole(each) and (each.is_failed or each.is_degraded)]
            outcome.imperfect += found
            if found:
                said.append(
                    f"{span.words}: {counted(len(found), 'response')} failed or {'was' if len(found) == 1 else 'were'} degraded"
                )
    if scenario.keeps_data and verdict.lost_writes:
        said.append(f"{counted(len(verdict.lost_writes), 'acknowledged value')} lost")
    if scenario.degrades and outcome.service == "stateroom" and not verdict.degraded and not said:
        said.append("no response was degraded: the drill broke nothing")
    outcome.faults = [*said, *missed]


def _some(found: Iterable[T], line: Callable[[T], str]) -> list[str]:
    several = list(found)
    lines = [line(each) for each in several[:LINES]]
    return [*lines, f"... and {len(several) - LINES} more of these"] if len(several) > LINES else lines


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
