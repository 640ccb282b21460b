"""Takes the present epoch of rebuilt Sentinels as the new base. An administrator asks for it: `stateroom sentinels accept`.

The command decides by what its own host sees. It changes the row only if the row is still the one that was shown. So of two
commands at once one commits, and the other one finds the same row or refuses.

Which Sentinels a worker has overruled is known only while it runs (agreement.py). So replaced Sentinels must be stopped first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Conflict
from ..model.deployment import SentinelRow

if TYPE_CHECKING:
    from ..journal.interface import EndsJournal


async def accept_epoch(journal: EndsJournal, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
    """Commit the next base with this epoch and primary. `seen`: the row as it was shown.

    Raises `Conflict` if the row has changed to something else meanwhile, and `DatabaseUnavailable`.
    """
    wanted = SentinelRow(seen.base + 1, epoch, primary)
    row = await journal.accept_sentinels(seen, epoch=epoch, primary=primary)
    if row != wanted:
        raise Conflict("the user database has changed meanwhile; run the command again")
    return row
