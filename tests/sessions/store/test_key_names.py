from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from stateroom.sessions.model.identity import SessionRef, handle_of, user_key
from stateroom.sessions.store.key_names import TAG_COUNT, TAGS, KeyNames


def test_tags_share_the_slots_of_a_cluster_evenly() -> None:
    slots = sorted(key_slot(tag.encode()) for tag in TAGS)
    assert len(set(TAGS)) == TAG_COUNT
    assert [slot // 16 for slot in slots] == list(range(TAG_COUNT))


@pytest.mark.parametrize("user_of", [str, lambda number: str(uuid.UUID(int=number * 2**64 + number)), lambda number: number])
def test_users_spread_evenly_over_tags_and_over_any_number_of_shards(user_of: Callable[[int], str | int]) -> None:
    users, keys = 200_000, KeyNames("session")
    tags = Counter(keys.of_user(user_key(user_of(number)))[1].removesuffix(":x") for number in range(1, users + 1))
    assert len(tags) == TAG_COUNT
    assert max(tags.values()) < 1.5 * users / TAG_COUNT, "a hot key"
    slots = {stem: key_slot(stem.encode()) for stem in tags}
    for shards in (3, 6, 10, 32):
        loads = Counter[int]()
        for stem, count in tags.items():
            loads[slots[stem] * shards // 16384] += count
        assert max(loads.values()) < 1.1 * users / shards
        assert min(loads.values()) > 0.9 * users / shards


@given(
    user=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    handles=st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=5),
)
def test_all_of_a_user_is_in_one_slot(user: str, handles: list[bytes]) -> None:
    keys = KeyNames("session")
    names = {name for token in handles for name in keys.of_session(SessionRef(user_key(user), handle_of(token)))}
    names.update(keys.of_user(user_key(user)))
    assert len({key_slot(name.encode()) for name in names}) == 1


def test_a_handle_does_not_hold_the_token() -> None:
    token = b"abcdefgh" * 4
    handle = handle_of(token)
    assert len(handle) == 22
    assert "abcdefgh" not in handle
