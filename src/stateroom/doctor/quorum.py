"""Judges the Sentinels as a group: whether they agree, whether they are enough, and how long their failover takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..plurals import counted
from .findings import Finding, fault, ok, warning
from .sentinels import Sentinel

if TYPE_CHECKING:
    from ..settings import Address, Settings
    from .aliases import Aliases

WHERE = "Sentinels"
ENOUGH = 3
SHORTEST_DOWN_AFTER_MS = 1000
"""Sentinel pings once a second, so a shorter limit makes a busy server look dead."""
LONGEST_DOWN_AFTER_MS = 30_000
SHORTEST_FAILOVER_MS = 10_000
MUST_BE_EQUAL = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")


def believed_primary(sentinels: Sequence[Sentinel]) -> Address | None:
    """The primary that the service would use: most of the Sentinels with the highest epoch name it."""
    if not sentinels:
        return None
    best = max(sentinel.epoch for sentinel in sentinels)
    votes = Counter(sentinel.primary for sentinel in sentinels if sentinel.epoch == best)
    return max(votes, key=lambda primary: votes[primary])


def judge_quorum(sentinels: Sequence[Sentinel], settings: Settings, aliases: Aliases = frozenset()) -> list[Finding]:
    """Judge the Sentinels that answered. `aliases`: addresses that lead to the same server."""
    if not sentinels:
        what = "no Sentinel names a primary, so the service cannot reach Redis and knows sessions from their cookies only"
        return [fault("no-sentinel", WHERE, what, "correct the faults of the Sentinels above")]
    first = sentinels[0]
    findings = [
        *_votes(sentinels, len(settings.redis_sentinels), aliases),
        *_membership(sentinels, settings),
        *_differences(sentinels),
        *_quorum(sentinels),
        *_times(first, settings),
    ]
    agreed = (
        f"{len(sentinels)} of {first.count} agree; quorum {first.number('quorum')}, "
        f"down-after {first.number('down-after-milliseconds')} ms, failover-timeout {first.number('failover-timeout')} ms"
    )
    return findings or [ok(WHERE, agreed)]


def _votes(sentinels: Sequence[Sentinel], configured: int, aliases: Aliases) -> Iterator[Finding]:
    needed = configured // 2 + 1
    primary = believed_primary(sentinels)
    epoch = max(sentinel.epoch for sentinel in sentinels)
    agreeing = [sentinel for sentinel in sentinels if sentinel.primary == primary and sentinel.epoch == epoch]
    if len(agreeing) < needed:
        yield fault(
            "no-majority",
            WHERE,
            f"{primary} has the votes of {len(agreeing)} of {configured} Sentinels in epoch {epoch}; the service trusts a primary "
            f"only with at least {counted(needed, 'vote')}",
            _agreeing(sentinels, configured),
        )
    for sentinel in sentinels:
        if sentinel.epoch == epoch and frozenset({sentinel.primary, primary}) in aliases:
            yield warning(
                "disagrees",
                sentinel.where,
                f"it names {sentinel.primary}, but most Sentinels name {primary}; that is the same server, and yet its vote does "
                "not count",
                "set `sentinel resolve-hostnames yes` and `sentinel announce-hostnames yes` on every Sentinel, or on none",
            )
        elif sentinel.primary != primary or sentinel.epoch != epoch:
            yield fault(
                "disagrees",
                sentinel.where,
                f"it names {sentinel.primary} in epoch {sentinel.epoch}, but most Sentinels with the highest epoch "
                f"({epoch}) name {primary}",
                "check that it and the other Sentinels and servers reach each other, and that its user on the servers may PUBLISH "
                "and SUBSCRIBE; if a failover just ended, run the doctor again",
            )


def _agreeing(sentinels: Sequence[Sentinel], configured: int) -> str:
    """How to get a majority of votes: start the Sentinels that do not reply, or let those that reply agree."""
    again = "if a failover just ended, run the doctor again"
    if len(sentinels) < configured:
        return f"start the other Sentinels; {again}"
    return (
        f"{again}; if not, find out which server is the real primary, and correct `sentinel monitor` on the Sentinels that name "
        "another one"
    )


def _membership(sentinels: Sequence[Sentinel], settings: Settings) -> Iterator[Finding]:
    """Each Sentinel must know every other, and the service must know all of them."""
    known = max(sentinel.count for sentinel in sentinels)
    for sentinel in sentinels:
        if sentinel.id and any(other is not sentinel and other.id == sentinel.id for other in sentinels):
            yield fault(
                "sentinel-twice",
                sentinel.where,
                "REDIS_SENTINELS names it twice, or two Sentinels have the same id, so its vote counts twice",
                "name each Sentinel once; if its configuration was copied, delete the line `sentinel myid` from the copy",
            )
    if known < ENOUGH:
        are = "is" if known == 1 else "are"
        yield fault(
            "few-sentinels",
            WHERE,
            f"there {are} {counted(known, 'Sentinel')}; if one fails, the others cannot decide on a failover",
            "run three Sentinels, each on its own machine",
        )
    elif known % 2 == 0:
        yield warning(
            "even-sentinels",
            WHERE,
            f"there are {known} Sentinels; they survive as many failures as {known - 1} do, and a network fault can split them "
            "into two halves without a majority",
            f"run {known + 1} Sentinels, or {known - 1}",
        )
    for sentinel in sentinels:
        if sentinel.count < known:
            yield fault(
                "knows-few",
                sentinel.where,
                f"it knows {counted(sentinel.count, 'Sentinel')}, including itself, but there are {known}",
                "check that its user may SUBSCRIBE to __sentinel__:hello on the primary, and that all watch the same primary",
            )
    yield from _unlisted(sentinels, len(settings.redis_sentinels))


def _unlisted(sentinels: Sequence[Sentinel], configured: int) -> Iterator[Finding]:
    """Sentinels that other Sentinels know and REDIS_SENTINELS does not name."""
    ours = {sentinel.id for sentinel in sentinels}
    unlisted = {other["runid"]: other for sentinel in sentinels for other in sentinel.others if other["runid"] not in ours}
    unreached = configured - len(sentinels)
    if len(unlisted) <= unreached:  # They may be the ones that did not answer, under other addresses.
        return
    for other in unlisted.values():
        address = f"{other['ip']}:{other['port']}"
        if "down" in other.get("flags", ""):
            yield warning(
                "sentinel-gone",
                WHERE,
                f"the Sentinels still count {address}, which does not answer; therefore more of the others must agree",
                "start it; if it is removed for good, run SENTINEL RESET on the other Sentinels, one after the other",
            )
        else:
            yield warning(
                "sentinel-unlisted",
                WHERE,
                f"{address} votes too, but REDIS_SENTINELS does not name it, so the service computes the majority wrongly",
                "name every Sentinel in REDIS_SENTINELS",
            )


def _differences(sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    differing = [name for name in MUST_BE_EQUAL if len({sentinel.state.get(name) for sentinel in sentinels}) > 1]
    if not differing:
        return
    values = "; ".join(f"{name} {', '.join(str(sentinel.state.get(name)) for sentinel in sentinels)}" for name in differing)
    yield warning(
        "sentinels-differ",
        WHERE,
        f"the configurations of the Sentinels differ: {values}",
        "give all Sentinels the same `sentinel` lines; SENTINEL SET changes them without a restart",
    )


def _quorum(sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    lacking = [sentinel for sentinel in sentinels if not sentinel.quorum.startswith("OK")]
    if len(lacking) == len(sentinels):
        what = f"the Sentinels cannot decide on a failover now: {_first_sentence(lacking[0].quorum)}"
        fix = "start the other Sentinels; the last number of `sentinel monitor` must not exceed the number of Sentinels"
        yield fault("quorum-lost", WHERE, what, fix)
    else:
        for sentinel in lacking:
            what = f"it reaches too few other Sentinels to take part in a failover: {_first_sentence(sentinel.quorum)}"
            yield fault("quorum-lost", sentinel.where, what, "check that it and the other Sentinels reach each other")
    first = sentinels[0]
    count, quorum = first.count, first.number("quorum")
    majority = count // 2 + 1
    if count >= ENOUGH and quorum != majority:
        low = "a Sentinel with a bad network can start failovers"
        fails = count - quorum + 1
        high = f"if {fails} {'fails' if fails == 1 else 'fail'}, there is no failover"
        yield warning(
            "quorum-odd",
            WHERE,
            f"the quorum is {quorum} of {count} Sentinels, so {low if quorum < majority else high}",
            f"run SENTINEL SET {first.state.get('name', 'mymaster')} quorum {majority} on each Sentinel",
        )


def _times(sentinel: Sentinel, settings: Settings) -> Iterator[Finding]:
    down_after, attempt = sentinel.number("down-after-milliseconds"), sentinel.number("failover-timeout")
    degraded = settings.degraded_max_age
    set_it = f"run SENTINEL SET {sentinel.state.get('name', 'mymaster')}"
    if not SHORTEST_DOWN_AFTER_MS <= down_after <= LONGEST_DOWN_AFTER_MS:
        is_short = down_after < SHORTEST_DOWN_AFTER_MS
        effect = "a busy primary counts as failed" if is_short else "a failed primary is not replaced for that long"
        what = f"down-after-milliseconds is {down_after}, so {effect}"
        yield warning("down-after", WHERE, what, f"{set_it} down-after-milliseconds 5000 on each Sentinel")
    effect = ""
    if attempt < SHORTEST_FAILOVER_MS:
        effect = "an attempt can be aborted before a replica has loaded its data"
    elif 0 < degraded * 1000 < down_after + 2 * attempt:
        effect = f"a second attempt begins {2 * attempt // 1000} s after the first, but DEGRADED_MAX_AGE ends after {degraded} s"
    if effect:
        what = f"failover-timeout is {attempt} ms, so {effect}"
        yield warning("failover-timeout", WHERE, what, f"{set_it} failover-timeout 30000 on each Sentinel")


def _first_sentence(text: str) -> str:
    return text.partition(".")[0]
