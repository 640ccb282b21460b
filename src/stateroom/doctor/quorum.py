"""The Sentinels taken together: do they agree, are they enough, and how long does a failover by them take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .findings import Finding, fault, ok, warning
from .sentinels import Sentinel

if TYPE_CHECKING:
    from ..settings import Address, Settings

WHERE = "Sentinels"
ENOUGH = 3
SHORTEST_DOWN_AFTER_MS = 1000
"""Sentinel's own pings go out once a second."""
LONGEST_DOWN_AFTER_MS = 30_000
SHORTEST_FAILOVER_MS = 10_000
ALIKE = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")


def believed_primary(sentinels: Sequence[Sentinel]) -> Address | None:
    """The primary that the service would take: of the highest epoch, named by the most."""
    if not sentinels:
        return None
    best = max(sentinel.epoch for sentinel in sentinels)
    votes = Counter(sentinel.primary for sentinel in sentinels if sentinel.epoch == best)
    return max(votes, key=lambda primary: votes[primary])


def judge_council(sentinels: Sequence[Sentinel], settings: Settings) -> list[Finding]:
    """`sentinels`: those that answered."""
    if not sentinels:
        what = "not one of them names a primary: the service runs on cookies alone, as if Redis were away"
        return [fault("no-sentinel", WHERE, what, "mend what is said of each above")]
    first = sentinels[0]
    findings = [
        *_votes(sentinels, len(settings.redis_sentinels)),
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


def _votes(sentinels: Sequence[Sentinel], configured: int) -> Iterator[Finding]:
    needed = configured // 2 + 1
    primary = believed_primary(sentinels)
    epoch = max(sentinel.epoch for sentinel in sentinels)
    agreeing = [sentinel for sentinel in sentinels if sentinel.primary == primary and sentinel.epoch == epoch]
    if len(agreeing) < needed:
        yield fault(
            "no-majority",
            WHERE,
            f"{len(agreeing)} of {configured} name {primary} in epoch {epoch}; it takes {needed} to believe it",
            "bring the others back; in the seconds after a failover ask again",
        )
    for sentinel in sentinels:
        if sentinel.primary != primary or sentinel.epoch != epoch:
            yield fault(
                "disagrees",
                sentinel.where,
                f"it names {sentinel.primary} in epoch {sentinel.epoch}; the highest is {primary} in {epoch}",
                "see that it reaches the others and the servers, both ways, and that its user on the servers may PUBLISH and "
                "SUBSCRIBE; in the seconds after a failover ask again",
            )


def _membership(sentinels: Sequence[Sentinel], settings: Settings) -> Iterator[Finding]:
    """Who votes: each Sentinel must know every other, and the service all of them."""
    known = max(sentinel.count for sentinel in sentinels)
    for sentinel in sentinels:
        if sentinel.id and any(other is not sentinel and other.id == sentinel.id for other in sentinels):
            yield fault(
                "sentinel-twice",
                sentinel.where,
                "REDIS_SENTINELS names it twice, or two share one id: it counts double",
                "name each Sentinel once; where a configuration was copied, delete its `sentinel myid` line",
            )
    if known < ENOUGH:
        yield fault(
            "few-sentinels",
            WHERE,
            f"there are {known}: with one away the others cannot elect who leads a failover",
            "run three, each on a machine of its own",
        )
    elif known % 2 == 0:
        yield warning(
            "even-sentinels",
            WHERE,
            f"there are {known}: that bears no more losses than {known - 1}, and can part in halves",
            f"run {known + 1}, or {known - 1}",
        )
    for sentinel in sentinels:
        if sentinel.count < known:
            yield fault(
                "knows-few",
                sentinel.where,
                f"it knows {sentinel.count} Sentinels with itself; there are {known}",
                "see that it may SUBSCRIBE to __sentinel__:hello on the primary, and that all watch the same one",
            )
    yield from _strangers(sentinels, len(settings.redis_sentinels))


def _strangers(sentinels: Sequence[Sentinel], configured: int) -> Iterator[Finding]:
    """Sentinels that others know of and we were not told of."""
    ours = {sentinel.id for sentinel in sentinels}
    strangers = {other["runid"]: other for sentinel in sentinels for other in sentinel.others if other["runid"] not in ours}
    unreached = configured - len(sentinels)
    if len(strangers) <= unreached:  # they are those, by other names
        return
    for other in strangers.values():
        address = f"{other['ip']}:{other['port']}"
        if "down" in other.get("flags", ""):
            yield warning(
                "sentinel-gone",
                WHERE,
                f"they still count {address}, which is silent: an election needs a majority with it",
                "start it; where it is gone for good, SENTINEL RESET on the others, one after the other",
            )
        else:
            yield warning(
                "sentinel-unlisted",
                WHERE,
                f"{address} votes too, but REDIS_SENTINELS has it not: our majority is not theirs",
                "name every Sentinel in REDIS_SENTINELS",
            )


def _differences(sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    differing = [name for name in ALIKE if len({sentinel.state.get(name) for sentinel in sentinels}) > 1]
    if not differing:
        return
    said = "; ".join(f"{name} {', '.join(str(sentinel.state.get(name)) for sentinel in sentinels)}" for name in differing)
    yield warning(
        "sentinels-differ",
        WHERE,
        f"they are not configured alike: {said}",
        "the same `sentinel` lines on all; SENTINEL SET changes them while they run",
    )


def _quorum(sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    lacking = [sentinel for sentinel in sentinels if not sentinel.quorum.startswith("OK")]
    if len(lacking) == len(sentinels):
        what = f"no failover can be decided now: {_first_sentence(lacking[0].quorum)}"
        mend = "bring the other Sentinels back; the last number of `sentinel monitor` must not be more than there are"
        yield fault("quorum-lost", WHERE, what, mend)
    else:
        for sentinel in lacking:
            what = f"it reaches too few of the others to have a part in a failover: {_first_sentence(sentinel.quorum)}"
            yield fault("quorum-lost", sentinel.where, what, "see that it reaches the other Sentinels, both ways")
    first = sentinels[0]
    count, quorum = first.count, first.number("quorum")
    majority = count // 2 + 1
    if count >= ENOUGH and quorum != majority:
        low = "one with a bad network starts failovers"
        high = f"with {count - quorum + 1} away nothing is failed over"
        yield warning(
            "quorum-odd",
            WHERE,
            f"quorum is {quorum} of {count}: {low if quorum < majority else high}",
            f"SENTINEL SET {first.state.get('name', 'mymaster')} quorum {majority} on each",
        )


def _times(sentinel: Sentinel, settings: Settings) -> Iterator[Finding]:
    down_after, attempt = sentinel.number("down-after-milliseconds"), sentinel.number("failover-timeout")
    carried = settings.degraded_max_age
    set_it = f"SENTINEL SET {sentinel.state.get('name', 'mymaster')}"
    if not SHORTEST_DOWN_AFTER_MS <= down_after <= LONGEST_DOWN_AFTER_MS:
        is_short = down_after < SHORTEST_DOWN_AFTER_MS
        effect = "a busy primary is taken for dead" if is_short else "for so long nothing is done about a dead primary"
        what = f"down-after-milliseconds is {down_after}: {effect}"
        yield warning("down-after", WHERE, what, f"{set_it} down-after-milliseconds 5000 on each")
    effect = ""
    if attempt < SHORTEST_FAILOVER_MS:
        effect = "an attempt is given up before a replica has loaded"
    elif 0 < carried * 1000 < down_after + 2 * attempt:
        effect = (
            f"the attempt after a failed one begins {2 * attempt // 1000} s later; DEGRADED_MAX_AGE carries users for {carried} s"
        )
    if effect:
        what = f"failover-timeout is {attempt} ms: {effect}"
        yield warning("failover-timeout", WHERE, what, f"{set_it} failover-timeout 30000 on each")


def _first_sentence(text: str) -> str:
    return text.partition(".")[0]
