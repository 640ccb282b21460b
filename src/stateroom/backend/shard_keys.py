"""Keys that lie on a certain shard of a Cluster: each shard has its own copy of what concerns the whole deployment."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis.crc import key_slot

from .slot_views import SLOT_COUNT

if TYPE_CHECKING:
    from ..settings import Address


def shard_keys(owners: Sequence[Address | None], count: int) -> dict[Address, str]:
    """For each of `count` primaries one key that it holds. The key stays the same while the slots do. `owners`: by slot."""
    keys: dict[Address, str] = {}
    for number, slot in enumerate(_slots_of_numbers()):
        owner = owners[slot]
        if owner is not None:
            keys.setdefault(owner, str(number))
        if len(keys) == count:
            break
    return keys


@functools.cache
def _slots_of_numbers() -> tuple[int, ...]:
    """The slots of the keys "0", "1", "2", …"""
    return tuple(key_slot(str(number).encode()) for number in range(SLOT_COUNT))
