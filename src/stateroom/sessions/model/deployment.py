"""The deployment that this worker belongs to.

All hosts of a deployment share one user database, one Redis and one set of cookie keys. A copy of the keys is not enough
to belong to it: every sealed value is bound to the deployment's id, which is in the user database, and to its name. So a
cookie of a staging environment opens nothing in production, although both have the same keys.

An *epoch* is a random word that the deployment's sessions carry. "Everybody out" changes it, which ends in one step every
session with another epoch. The first epoch is the empty word.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import DatabaseUnavailable, StoreUnavailable

FOREIGN_REDIS_FIX = (
    "check REDIS_URL, REDIS_SENTINELS or REDIS_CLUSTER_NODES, and where each name in it leads: the server belongs to another "
    "deployment; if this host belongs to that deployment, set the DATABASE_URL of its other hosts; if two applications share this "
    "server, set a REDIS_KEY_PREFIX of its own; only if the user database was replaced, run `stateroom db adopt`, which ends every "
    "session in this Redis"
)
"""What to do if Redis holds another deployment's id. `db adopt` takes the server over, so it comes last."""
FOREIGN_PRIMARY_FIX = (
    "check REDIS_SENTINELS, REDIS_MASTER_NAME and where each name leads: the server belongs to another deployment; correct "
    "`sentinel monitor` on each Sentinel; only if the user database was replaced, stop every worker and run `stateroom db adopt`, "
    "which takes this server over and ends every session in it"
)
"""What to do if a primary that rebuilt Sentinels name, or that they failed over to, holds another deployment's id."""
EMPTY_PRIMARY_FIX = (
    "check REDIS_SENTINELS, REDIS_MASTER_NAME and where each name leads: the server may be a wrong one; if it is, correct "
    "`sentinel monitor` on each Sentinel; only if it is the right server and its data is lost, stop every worker, run "
    "`stateroom db adopt`, which ends every session, start the workers, and run `stateroom sentinels accept`"
)
"""What to do if rebuilt Sentinels name a primary without an id, which `sentinels accept` refuses."""


class Deployment:
    """The id and name that every sealed value of a deployment is bound to, and the epoch of its new sessions.

    `name`: the setting `DEPLOYMENT`. `id`: from the user database, or from Redis while the database is unavailable; None
    until one of them has been read. It changes at most once, from None.
    `epoch`: as the tail last read it from the journal, or from Redis while the database is unavailable.
    """

    def __init__(self, name: str = "", *, has_database: bool = True) -> None:
        self.name = name
        self._has_database = has_database
        self.id: str | None = None
        self.epoch = ""

    @property
    def is_known(self) -> bool:
        """Whether values can be sealed and opened."""
        return self.id is not None

    def known_id(self) -> str:
        """The id. While it is unknown this raises `DatabaseUnavailable`, or without a database `StoreUnavailable`."""
        if self.id is None and not self._has_database:
            raise StoreUnavailable("the deployment id is not known yet: Redis has not replied")
        if self.id is None:
            raise DatabaseUnavailable("the deployment id is not known yet: neither the user database nor Redis has replied")
        return self.id


class SentinelRow(NamedTuple):
    """What the deployment's workers have agreed on about the primary that Sentinels name. `backend/agreement.py` says why.

    `base`: how often an administrator accepted rebuilt Sentinels. `epoch`: the highest config epoch in this base; -1 before
    the first. `primary`: the server that has it; None before the first.
    """

    base: int = 0
    epoch: int = -1
    primary: str | None = None

    def is_before(self, other: SentinelRow) -> bool:
        """Whether this is an older state than the other one."""
        return (self.base, self.epoch) < (other.base, other.epoch)


class DeploymentRow(NamedTuple):
    """The deployment's row in the user database. Each read of the journal returns it.

    `name`, `lease_ms`: None until the first worker has started.
    `restored`: a random word from the time when the database was found to be an older copy; None after the cleaning up.
    """

    id: str
    name: str | None
    lease_ms: int | None
    epoch: str
    restored: str | None
    sentinels: SentinelRow = SentinelRow()


class Current(NamedTuple):
    """The user's generation and the deployment's epoch, as a session carries them."""

    generation: int
    epoch: str
