"""Judging what nodes of a Cluster say: many maps, without servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stateroom.backend.slot_map import (
    HOLD_SECONDS,
    NO_ADDRESS,
    NO_SLOTS,
    OLD_OWNERS,
    OTHER_CLUSTER,
    SlotMap,
)
from stateroom.backend.slot_refusals import FIXES, LASTS_SECONDS, RefusalLog
from stateroom.backend.slot_views import SLOT_COUNT, Range, View, covered, endpoint, read_view, slots_of
from stateroom.backend.standing import Standing
from stateroom.settings import Address

SHARDS = 4
BOUNDS = [(number * SLOT_COUNT // SHARDS, (number + 1) * SLOT_COUNT // SHARDS - 1) for number in range(SHARDS)]


def at(number: int) -> Address:
    return Address("10.0.0.1", 7000 + number)


def owned(shard: int, node: int, epoch: int | None) -> Range:
    low, high = BOUNDS[shard]
    return Range(low, high, at(node), (), f"n{node}", epoch)


def view(node: int, ranges: Sequence[Range], *, is_ok: bool | None = True, members: str = "") -> View:
    known = members.split() or [f"n{number}" for number in range(2 * SHARDS)]
    return View(at(node), tuple(ranges), 0, f"n{node}", frozenset(known), is_ok)


WHOLE = tuple(owned(shard, shard, shard + 1) for shard in range(SHARDS))
EVERYBODY = [view(node, WHOLE) for node in range(SHARDS)]


def owners(judged: SlotMap) -> list[Address]:
    """The owner of each shard's first slot."""
    return [next(each.primary for each in judged.ranges if each.low <= low <= each.high) for low, _ in BOUNDS]


def started() -> SlotMap:
    judged = SlotMap()
    assert judged.update(EVERYBODY, 0.0) == []
    assert owners(judged) == [at(node) for node in range(SHARDS)]
    return judged


def empty(node: int) -> View:
    return View(at(node), (), 0, f"reset{node}", frozenset({f"reset{node}"}), False)


def test_an_empty_view_is_refused_and_takes_nothing_away() -> None:
    fresh = SlotMap()
    assert [each.reason for each in fresh.update([empty(9), *EVERYBODY], 0.0)] == [NO_SLOTS]
    assert covered(fresh.ranges) == SLOT_COUNT
    judged = started()
    for now in range(100):
        assert [each.reason for each in judged.update([empty(9)], float(now))] == [NO_SLOTS]
    assert judged.ranges == started().ranges


def test_a_failover_is_followed_at_once_and_its_old_primary_is_not_followed_back() -> None:
    judged = started()
    promoted = (owned(0, 4, 9), *WHOLE[1:])
    judged.update([view(4, promoted), *EVERYBODY[1:]], 1.0)
    assert owners(judged)[0] == at(4)
    # The old primary runs again, and only it replies.
    [refusal] = judged.update([view(0, WHOLE)], 2.0)
    assert (refusal.reason, refusal.view.node) == (OLD_OWNERS, at(0))
    assert owners(judged)[0] == at(4)
    # It names itself, and the new primary replies too: the higher epoch counts.
    judged.update([view(0, WHOLE), view(4, promoted), *EVERYBODY[1:]], 3.0)
    assert owners(judged)[0] == at(4)


def test_an_owner_that_gave_its_slots_away_is_believed_about_itself() -> None:
    """A node may have got a higher epoch since. Others that have not heard of the move name it still."""
    judged = started()
    given = replace(owned(0, 1, 8), node_id="n1")
    moved = (given, owned(1, 1, 8), *WHOLE[2:])
    giver = view(0, moved)
    unaware = view(7, (owned(0, 0, 12), *WHOLE[1:]))
    judged.update([unaware, giver, view(1, moved)], 1.0)
    assert owners(judged)[0] == at(1)


def test_lower_epochs_are_believed_when_nothing_contradicts_them_for_long() -> None:
    judged = started()
    judged.update([view(4, (owned(0, 4, 9), *WHOLE[1:])), *EVERYBODY[1:]], 1.0)
    said = [view(node, WHOLE) for node in range(SHARDS)]
    judged.update(said, 2.0)
    assert owners(judged)[0] == at(4), "its successor may be alive"
    judged.update([*said, view(4, (owned(0, 4, 9), *WHOLE[1:]))], 2.0 + HOLD_SECONDS)
    assert owners(judged)[0] == at(4), "its successor replied"
    judged.update(said, 3.0 + HOLD_SECONDS)
    judged.update(said, 3.0 + 2 * HOLD_SECONDS)
    assert owners(judged)[0] == at(0)


def foreign() -> list[View]:
    ranges = [replace(each, node_id=f"f{each.node_id}", epoch=1000) for each in WHOLE]
    ids = frozenset(each.node_id for each in ranges)
    return [View(at(node), tuple(ranges), 0, f"fn{node}", ids, True) for node in range(SHARDS)]


def test_another_cluster_is_believed_only_if_ours_is_silent_for_long() -> None:
    judged, ours = started(), started().ranges
    for now in (1.0, 1.0 + HOLD_SECONDS, 2.0 + 3 * HOLD_SECONDS):
        refused = judged.update([*foreign(), view(9, WHOLE[:1])], now)
        assert {each.reason for each in refused} == {OTHER_CLUSTER}
        assert judged.ranges == ours
    began = 5 * HOLD_SECONDS
    judged.update(foreign(), began)
    assert judged.ranges == ours
    assert all(judged.is_stranger(each) for each in foreign())
    assert judged.update(foreign(), began + HOLD_SECONDS) == []
    assert not any(judged.is_stranger(each) for each in foreign())
    assert covered(judged.ranges) == SLOT_COUNT


def test_a_removed_node_that_joined_another_cluster_does_not_bring_it_in() -> None:
    judged = started()
    without = [View(each.node, each.ranges, 0, each.node_id, each.members - {"n7"}, True) for each in EVERYBODY]
    judged.update(without, 1.0)
    taken = [replace(each, members=each.members | {"n7"}) for each in foreign()]
    judged.update([*taken, *[replace(each, node=at(50 + number)) for number, each in enumerate(without)]], 2.0)
    assert {each.node_id for each in judged.ranges} == {f"n{node}" for node in range(SHARDS)}


def test_slots_without_an_address_keep_their_owner() -> None:
    judged = started()
    lost = View(at(0), WHOLE[:1], 12288, "n0", EVERYBODY[0].members, False)
    assert [each.reason for each in judged.update([lost], 1.0)] == [NO_ADDRESS]
    assert judged.ranges == started().ranges


def test_without_epochs_most_nodes_decide() -> None:
    def said(node: int, ranges: Sequence[Range]) -> View:
        return View(
            at(node), tuple(replace(each, epoch=None) for each in ranges), 0, "", frozenset(f"n{n}" for n in range(8)), None
        )

    judged = SlotMap()
    promoted = (owned(0, 4, None), *WHOLE[1:])
    judged.update([said(5, WHOLE), said(6, promoted), said(7, promoted)], 0.0)
    assert owners(judged)[0] == at(4)


def test_partial_views_together_make_a_whole_map() -> None:
    judged = SlotMap()
    judged.update([view(node, WHOLE[node : node + 1]) for node in range(SHARDS)], 0.0)
    assert covered(judged.ranges) == SLOT_COUNT


@st.composite
def views(draw: st.DrawFn) -> View:
    """A node's view: whole, partial, empty, of the past, after a failover, or of a node with another id."""
    node = draw(st.integers(0, 2 * SHARDS - 1))
    kind = draw(st.sampled_from(["reset", "shards", "failed over"]))
    if kind == "reset":
        return empty(node)
    ranges = []
    for shard in draw(st.sets(st.integers(0, SHARDS - 1))):
        is_promoted = draw(st.booleans())
        ranges.append(owned(shard, shard + SHARDS if is_promoted else shard, 10 + shard if is_promoted else shard + 1))
    return view(node, ranges, is_ok=draw(st.booleans()))


@settings(deadline=None)
@given(st.lists(st.lists(views(), max_size=5, unique_by=lambda each: each.node), max_size=12))
def test_no_mix_of_views_makes_slots_unknown_or_brings_an_old_owner_back(rounds: list[list[View]]) -> None:
    judged = started()
    epochs = [1 + shard for shard in range(SHARDS)]
    for number, each in enumerate(rounds):
        replied = {said.node_id for said in each}
        before = judged.ranges
        judged.update(each, 0.1 * number)  # all of it within the time that a contradiction must last
        assert covered(judged.ranges) == SLOT_COUNT
        assert sum(held.high - held.low + 1 for held in judged.ranges) == SLOT_COUNT, "ranges overlap"
        for shard, (low, _) in enumerate(BOUNDS):
            held = next(held for held in judged.ranges if held.low <= low <= held.high)
            assert held.epoch is not None
            was = next(was for was in before if was.low <= low <= was.high)
            if was.node_id not in replied:
                assert held.epoch >= epochs[shard], "an owner that did not reply was replaced by an older one"
            epochs[shard] = held.epoch


@settings(deadline=None)
@given(st.lists(views(), max_size=6, unique_by=lambda each: each.node), st.randoms())
def test_the_order_of_the_replies_does_not_matter(said: list[View], random: Random) -> None:
    one, other = SlotMap(), SlotMap()
    shuffled = list(said)
    random.shuffle(shuffled)
    one.update(said, 0.0)
    other.update(shuffled, 0.0)
    assert one.ranges == other.ranges


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (b"10.0.0.2", 7001, Address("10.0.0.2", 7001)),
        (b"", 7001, at(0)._replace(port=7001)),
        (None, 7001, at(0)._replace(port=7001)),
        ("", 7001, at(0)._replace(port=7001)),
        (b"?", 7001, None),
        (b"", 0, None),
    ],
)
def test_how_a_node_is_reached(host: bytes | str | None, port: int, expected: Address | None) -> None:
    assert endpoint(host, port, at(0)) == expected


def test_the_slots_of_each_primary_are_bits() -> None:
    ranges = [Range(0, 0, at(1)), Range(1, 3, at(2)), Range(5, 5, at(1)), Range(SLOT_COUNT - 1, SLOT_COUNT - 1, at(2))]
    assert slots_of(ranges) == {at(1): 0b100001, at(2): 0b1110 | 1 << (SLOT_COUNT - 1)}
    assert slots_of([]) == {}


def test_other_slots_make_what_was_seen_of_a_primary_doubtful() -> None:
    standing = Standing()
    standing.holds(0b1)
    assert standing.connection_epoch == 0
    standing.connected()
    first = standing.glimpse
    assert (first.connection_epoch, first.slots) == (1, 0b1)
    standing.holds(0b1)
    assert standing.glimpse is first
    standing.holds(0b11)
    assert not first.still_holds()
    assert (standing.connection_epoch, standing.glimpse.slots) == (2, 0b11)
    standing.lost()
    standing.connected()
    assert (standing.connection_epoch, standing.glimpse.slots) == (3, 0b11)


NODES = b"""\
aaa 10.0.0.1:7000@17000,,tls-port=0,shard-id=1 myself,master - 0 0 7 connected 0-99 101 [100->-bbb]
bbb 10.0.0.2:7000@17000 master,fail? - 0 1 3 disconnected 100
ccc :0@0 slave,noaddr aaa 0 1 7 disconnected
ddd 10.0.0.9:7000@17000 handshake - 0 0 0 connected
"""


def test_a_view_is_read_from_the_three_replies() -> None:
    slots = [
        [0, 99, [b"10.0.0.1", 7000, b"aaa", []], [b"", 0, b"ccc", []]],
        [100, 100, [b"", 0, b"bbb", []]],
    ]
    read = read_view(at(5), [slots, NODES, b"cluster_state:ok\r\ncluster_slots_assigned:101\r\n"])
    assert read == View(
        at(5), (Range(0, 99, Address("10.0.0.1", 7000), (), "aaa", 7),), 1, "aaa", frozenset({"aaa", "bbb", "ccc"}), True
    )


def test_a_refusal_is_logged_once_when_it_has_lasted(caplog: pytest.LogCaptureFixture) -> None:
    judged, told = started(), RefusalLog()

    def round_at(now: float, said: View) -> int:
        told.update([said.node], judged.update([said], now), now)
        return len([each for each in caplog.records if "cluster_map_refused" in each.getMessage()])

    assert round_at(0.0, empty(1)) == 0
    assert round_at(LASTS_SECONDS, empty(1)) == 1
    assert round_at(100.0, empty(1)) == 1
    assert round_at(101.0, view(1, WHOLE)) == 1
    assert round_at(102.0, empty(1)) == 1
    assert round_at(102.0 + LASTS_SECONDS, empty(1)) == 2


def test_every_reason_has_a_fix() -> None:
    assert FIXES.keys() == {NO_SLOTS, OTHER_CLUSTER, OLD_OWNERS, NO_ADDRESS}
