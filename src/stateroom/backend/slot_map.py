"""Which primary has which slot of a Cluster, judged from what several nodes say.

One node's word is not enough: a node that was removed, or a primary that came back with an empty disk, knows no slots; a
primary that hung names owners of long ago; another Cluster may have taken over our addresses. The rules:

1. What a node says of itself counts. What others say of it counts only if it did not reply.
2. Of several claimants of a slot, the one with the highest config epoch owns it, as in the Cluster itself. Without epochs
   (an older users.acl), the one that most nodes name.
3. An owner is not replaced by one with a lower epoch while it may be alive, and not by nobody.
4. Nodes of another Cluster (no node id in common) count only if no node of ours replies.

A Cluster that was built anew at the old addresses breaks rules 3 and 4. It is believed once nothing has contradicted it
for `HOLD_SECONDS`. Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .slot_views import SLOT_COUNT, Range, View, covered

HOLD_SECONDS = 10.0

NO_SLOTS = "it knows no slots, so it is not a member of this Cluster, or its disk is empty"
OTHER_CLUSTER = "it belongs to another Cluster"
OLD_OWNERS = "it names owners of slots that have been replaced"
NO_ADDRESS = "it names owners of slots without an address"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A view that was not believed, or only in part, and why: one of the texts above."""

    view: View
    reason: str


class SlotMap:
    """The believed map, and what it takes to change it."""

    def __init__(self) -> None:
        # Disjoint, in the order of the slots. Nothing that was believed is dropped without a successor.
        self.ranges: tuple[Range, ...] = ()
        # The ids of the nodes of our Cluster: those of the last views of it, and the believed owners.
        self._members: set[str] = set()
        # Since when only other Clusters reply, or owners with a lower epoch than the believed ones; infinite if they do not.
        self._others_since = self._lower_since = math.inf

    def update(self, views: Iterable[View], now: float) -> list[Refusal]:
        """Judge the views of one round of questions, and change the map. Returns which views were refused."""
        answered = list(views)
        refused = [Refusal(view, NO_ADDRESS) for view in answered if view.unreachable]
        refused += [Refusal(view, NO_SLOTS) for view in answered if not view.ranges and not view.unreachable]
        groups = _clusters(answered)
        ours, others = self._ours(groups)
        if groups and not ours:
            self._others_since = min(self._others_since, now)
            if now - self._others_since >= HOLD_SECONDS:
                self.ranges, self._members = (), set()
                ours, others = self._ours(groups)
        refused += [Refusal(view, OTHER_CLUSTER) for view in others]
        if ours:
            self._others_since = math.inf
            refused += self._merge(ours, answered, now)
            # Not the ids of earlier views too: a node that was removed may be in another Cluster now.
            self._members = {each.node_id for each in self.ranges}.union(*(view.members for view in ours))
        return refused

    def is_stranger(self, view: View) -> bool:
        """Whether this is another node than the believed owner at its address."""
        return bool(view.node_id) and any(each.primary == view.node and each.node_id != view.node_id for each in self.ranges)

    def _ours(self, groups: Sequence[list[View]]) -> tuple[list[View], list[View]]:
        """The views of our Cluster, and the views of others. If none is known yet: the one that covers most is ours."""
        if self._members:
            ours = [view for group in groups if any(self._members & view.members for view in group) for view in group]
        else:
            ours = max(groups, key=_weight, default=[])
        return ours, [view for group in groups for view in group if view not in ours]

    def _merge(self, ours: Sequence[View], answered: Sequence[View], now: float) -> list[Refusal]:
        claims = _claims(ours, answered)
        present = {view.node_id for view in answered if view.node_id}
        believed, lower = [], False
        may_lower = now - self._lower_since >= HOLD_SECONDS
        for low, high, old, new in _side_by_side(self.ranges, claims):
            is_lower = old is not None and new is not None and _is_lower(new, old) and old.node_id not in present
            lower |= is_lower
            chosen = old if new is None or (is_lower and not may_lower) else new
            if chosen is not None:
                believed.append(replace(chosen, low=low, high=high))
        self._lower_since = min(self._lower_since, now) if lower and not may_lower else math.inf
        self.ranges = tuple(_joined(believed))
        return [Refusal(view, OLD_OWNERS) for view in ours if self._names_old_owners(view)]

    def _names_old_owners(self, view: View) -> bool:
        return any(
            old is not None and new is not None and _is_lower(new, old)
            for _, _, old, new in _side_by_side(self.ranges, view.ranges)
        )


def _clusters(views: Sequence[View]) -> list[list[View]]:
    """The views that name an owner of any slot, grouped by Cluster: nodes of one Cluster know each other's ids."""
    groups: list[tuple[set[str], list[View]]] = []
    for view in views:
        if not view.ranges:
            continue
        ids, group = set(view.members), [view]
        for known in [each for each in groups if each[0] & ids]:
            groups.remove(known)
            ids |= known[0]
            group = [*known[1], *group]
        groups.append((ids, group))
    return [group for _, group in groups]


def _weight(group: list[View]) -> tuple[bool, int, int]:
    return any(view.is_ok is not False for view in group), covered(each for view in group for each in view.ranges), len(group)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A range that a node holds, and how many nodes name it. `votes`: at least 1."""

    held: Range
    votes: int

    @property
    def rank(self) -> tuple[int, int, str]:
        epoch = self.held.epoch
        return -1 if epoch is None else epoch, self.votes, str(self.held.primary)


def _claims(ours: Sequence[View], answered: Sequence[View]) -> list[Range]:
    """Who owns which slots according to these views alone: disjoint ranges, in the order of the slots."""
    present = {view.node_id: view.node for view in answered if view.node_id}
    addresses = {view.node for view in answered}
    epochs: dict[str, int] = {}
    for view in ours:
        for each in view.ranges:
            if each.epoch is not None:
                epochs[each.node_id] = max(each.epoch, epochs.get(each.node_id, 0))
    votes: Counter[Range] = Counter()
    for view in ours:
        for each in view.ranges:
            is_own = each.node_id == view.node_id if view.node_id else each.primary == view.node
            if not is_own and (each.node_id in present or each.primary in addresses):
                continue  # rule 1: that node has replied for itself
            epoch = each.epoch if each.epoch is not None else epochs.get(each.node_id)
            votes[replace(each, replicas=(), epoch=epoch)] += 1
    return _strongest([_Claim(each, count) for each, count in votes.items()])


def _strongest(claims: Sequence[_Claim]) -> list[Range]:
    """Rule 2: for each slot the strongest claim."""
    begins: dict[int, list[_Claim]] = {}
    ends: dict[int, list[_Claim]] = {}
    for claim in claims:
        begins.setdefault(claim.held.low, []).append(claim)
        ends.setdefault(claim.held.high + 1, []).append(claim)
    points = sorted({*begins, *ends})
    active: dict[_Claim, None] = {}
    strongest = []
    for point, following in itertools.pairwise(points):
        for claim in ends.get(point, ()):
            del active[claim]
        active |= dict.fromkeys(begins.get(point, ()))
        if active:
            best = max(active, key=lambda claim: claim.rank)
            strongest.append(replace(best.held, low=point, high=following - 1))
    return list(_joined(strongest))


def _joined(ranges: Iterable[Range]) -> Iterable[Range]:
    """Join neighbouring ranges of one owner into one range."""
    last: Range | None = None
    for each in ranges:
        if last is not None and each.low == last.high + 1 and each == replace(last, low=each.low, high=each.high):
            last = replace(last, high=each.high)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _side_by_side(old: Sequence[Range], new: Sequence[Range]) -> Iterable[tuple[int, int, Range | None, Range | None]]:
    """Both maps, cut at the bounds of either: low, high, the range of the old map and that of the new map."""
    points = sorted({0, SLOT_COUNT, *(point for each in (*old, *new) for point in (each.low, each.high + 1))})
    before, after = iter(sorted(old, key=_low)), iter(sorted(new, key=_low))
    left, right = next(before, None), next(after, None)
    for low, following in itertools.pairwise(points):
        while left is not None and left.high < low:
            left = next(before, None)
        while right is not None and right.high < low:
            right = next(after, None)
        here = left if left is not None and left.low <= low else None
        there = right if right is not None and right.low <= low else None
        yield low, following - 1, here, there


def _low(each: Range) -> int:
    return each.low


def _is_lower(new: Range, old: Range) -> bool:
    if new.node_id == old.node_id or new.epoch is None or old.epoch is None:
        return False
    return new.epoch < old.epoch
