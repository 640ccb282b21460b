"""What the deployment's workers have agreed on about the primary that Sentinels name: one row in the user database.

Each read of the tail brings the row to the client's `Agreement` (backend/agreement.py), which says when it counts. If a majority
of the Sentinels names a new primary with a higher epoch, one task commits that, so that the worker may settle on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ...backend.agreement import Agreed, FollowsSentinels
from ...errors import Unavailable
from ...logs import get_logger
from ..model.deployment import SentinelRow

if TYPE_CHECKING:
    from ...backend.agreement import Agreement
    from ...backend.client import RedisClient
    from ..journal.interface import EndsJournal
    from ..journal.tail import Tail
    from ..model.deployment import Deployment
    from ..store.key_names import KeyNames
    from .membership import Membership

log = get_logger(__name__)

RETRY_SECONDS = 0.1
_WITHOUT_ID = (
    "if this server is right and has lost its data, run `stateroom sentinels accept`; if it is wrong, correct REDIS_SENTINELS "
    "or the Sentinels; until then sign-outs take a lease"
)


class SentinelKeeper:
    """Reads and commits the row for one worker. Without Sentinels it does nothing."""

    def __init__(
        self,
        *,
        client: RedisClient,
        journal: EndsJournal,
        tail: Tail,
        membership: Membership,
        deployment: Deployment,
        key_names: KeyNames,
    ) -> None:
        self._client = client
        self._journal = journal
        self._tail = tail
        self._membership = membership
        self._restarts = 0
        # What was refused last because its primary holds no id. It is logged once.
        self._refused: Agreed | None = None
        self._agreement: Agreement | None = None
        if isinstance(client, FollowsSentinels):
            self._agreement = agreement = client.agreement
            agreement.has_database = journal.has_journal
            agreement.is_away = lambda: tail.is_away
            agreement.identity = lambda: (key_names.fleet(""), deployment.id)
            tail.on_sentinels = self._read

    @property
    def has_sentinels(self) -> bool:
        """Whether the primary is found through Sentinels."""
        return self._agreement is not None

    async def run(self) -> None:
        """Commit what a majority of the Sentinels names, until cancelled."""
        assert self._agreement is not None, "there are no Sentinels"
        while True:
            await self._agreement.is_wanted.wait()
            with contextlib.suppress(Unavailable):
                await self.turn()
            await asyncio.sleep(RETRY_SECONDS)

    async def turn(self) -> None:
        """Commit the row that is wanted, if Redis belongs to this deployment. Raises `StoreUnavailable`, `DatabaseUnavailable`.

        Sentinels of another deployment must not raise the epoch: ours would count as rebuilt afterwards. A wrong name may lead to
        the Sentinels of an empty server. So the first primary gets our id at once, and each later one must hold it, as each
        replica does.
        """
        agreement = self._agreement
        if agreement is None or agreement.wanted is None or self._tail.is_away:
            return
        wanted, glimpse = agreement.wanted, self._client.standing("").glimpse
        is_first = agreement.known is None or agreement.known.primary is None
        found = await (self._membership.introduce("") if is_first else self._membership.look(""))
        if self._membership.is_foreign or not glimpse.still_holds() or agreement.wanted != wanted:
            return
        if found is None:
            if not is_first:
                self._refuse(wanted)
            return
        row = await self._journal.raise_sentinels(SentinelRow(*wanted))
        self._tail.remember_sentinels(row)
        agreement.committed(Agreed(*row))

    def _refuse(self, wanted: Agreed) -> None:
        if wanted != self._refused:
            self._refused = wanted
            log.warning("primary_without_id", primary=wanted.primary, epoch=wanted.epoch, fix=_WITHOUT_ID)

    def learn(self, row: SentinelRow) -> None:
        """Take the row as it was at startup, before the tail reads."""
        if self._agreement is not None:
            self._tail.remember_sentinels(row)
            self._agreement.committed(Agreed(*row))

    def _read(self, row: SentinelRow, began_at: float) -> None:
        assert self._agreement is not None
        if self._restarts != self._tail.restarts:
            self._restarts = self._tail.restarts
            self._agreement.doubt()
        self._agreement.read(Agreed(*row), began_at)
