"""Rows that must still be in the journal. If one is missing or differs, the database was restored from a backup.

After a restore the last rows are missing, or other rows have their numbers. So each read and each lookup asks for the rows
that the last read brought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.rows import Row

Checked = Mapping[int, tuple[str | None, int]]
"""Rows that must still exist: by number the nonce, and when the row is due. The mapping never changes."""

LAST_CHECKED = 50
"""How many of the last rows each read checks."""


def last_of(rows: Sequence[Row]) -> Checked:
    """Of the rows that a read brought, those that the next reads check."""
    return {row.seq: (row.nonce, row.expires_at) for row in rows[-LAST_CHECKED:]}


def is_older(checked: Checked, nonces: Mapping[int, str | None], now_ms: int) -> bool:
    """Whether rows are missing that existed before. Rows that are due may have been pruned, but never the newest.

    `nonces`: by number, for the rows that exist now. `now_ms`: by the clock that rows are due by.
    """
    newest = max(checked, default=0)
    for seq, (nonce, due_at) in checked.items():
        if seq in nonces:
            if nonces[seq] != nonce:
                return True
        elif seq == newest or due_at > now_ms:
            return True
    return False
