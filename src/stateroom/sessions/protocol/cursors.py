"""The cursor of each primary in the store. In a Cluster also the slots for which it is right.

A slot can move to another primary with sessions of an older time, so each value of the slots has a stamp of its own. A
worker whose map of the slots is old moves no cursor that another worker has set back: the stored value is another one then.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ...backend.client import Script
from ...backend.own_keys import number_in, text_of, value_of
from ...errors import StoreUnavailable

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ..store.key_names import KeyNames

# Both keys change in one step, so that a replica has both or none, and no other worker writes between them.
_SET = Script.of(
    """
-- KEYS: cursor, slots. ARGV: the slots' value, the cursor.
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
_MOVE = Script.of(
    """
-- KEYS: cursor, slots. ARGV: the slots' value as it was read, the cursor. Returns 0 if the value is another one now.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)


class Cursors:
    """Reads and writes them. `shard`: a key that the primary holds. `slots`: bit `n` is set for slot `n`; 0 without a Cluster.

    Every method raises `StoreUnavailable`.
    """

    def __init__(self, client: RedisClient, key_names: KeyNames) -> None:
        self._client = client
        self._key_names = key_names

    async def read(self, shard: str) -> int | None:
        """The cursor; None if there is none. In a Cluster it is only right if `slots_value` was asked before.

        Whoever sets a cursor back stores new slots with it. So slots that are right were not stored after this cursor.
        """
        name = self._key_names.cursor(shard)
        return number_in(await value_of(self._client, name), name)

    async def row(self, shard: str) -> tuple[int, str] | None:
        """The last row that the cursor has passed: its number and its nonce; None if it is not known."""
        name = self._key_names.cursor_row(shard)
        number, _, nonce = (await value_of(self._client, name) or b"").decode(errors="replace").partition(":")
        seq = number_in(number.encode(), name) if number else None
        return None if seq is None else (seq, nonce)

    async def slots_value(self, shard: str, slots: int) -> str | None:
        """The stored value if the cursor is right for all these slots, else None.

        Slots that the primary does not have any more are taken from it, because they may come back with older sessions.
        """
        name = self._key_names.cursor_slots(shard)
        value = await text_of(self._client, name) or ""
        try:
            right = int(value.partition(":")[0] or "0", 16)
        except ValueError:
            return None
        if slots & ~right:
            return None
        if right != slots:
            value = _stamped(slots)
            await self._client.execute(name, "SET", name, value)
        return value

    async def set(self, shard: str, slots: int, to: int) -> str:
        """Set the cursor, whatever it was. It is right for these slots from now on. Returns the slots' stored value."""
        name = self._key_names.cursor(shard)
        if not slots:
            await self._client.execute(name, "SET", name, to)
            return ""
        value = _stamped(slots)
        await self._client.run(_SET, [name, self._key_names.cursor_slots(shard)], [value, to])
        return value

    async def move(self, shard: str, slots_value: str, to: int) -> None:
        """Set the cursor if the slots' value is still this one. Raises `StoreUnavailable` if it is not."""
        name = self._key_names.cursor(shard)
        if not slots_value:
            await self._client.execute(name, "SET", name, to)
        elif not await self._client.run(_MOVE, [name, self._key_names.cursor_slots(shard)], [slots_value, to]):
            raise StoreUnavailable("another worker has seen that the primary's slots changed")

    async def note_row(self, shard: str, seq: int, nonce: str | None) -> None:
        """Store the last row that the cursor is about to pass."""
        name = self._key_names.cursor_row(shard)
        await self._client.execute(name, "SET", name, f"{seq}:{nonce or ''}")


def _stamped(slots: int) -> str:
    return f"{slots:x}:{secrets.token_hex(8)}"
