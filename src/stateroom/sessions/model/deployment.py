"""The deployment that this worker belongs to.

All hosts of a deployment share one user database, one Redis and one set of cookie keys. A copy of the keys is not enough
to belong to it: whatever is sealed is bound to the deployment's id, which stands in the user database, and to its name.
So a cookie of a staging environment opens nothing in production, though both have the same keys.

An *epoch* is a random word that the deployment's sessions carry. "Everybody out" changes it, and ends in one step every
session that carries another one. The first epoch is the empty word.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import DatabaseUnavailable, StoreUnavailable


class Deployment:
    """What every sealed value of a deployment is bound to, and the epoch of its new sessions.

    `name`: the setting `DEPLOYMENT`. `id`: from the user database, or from Redis while the database is unavailable; None
    until one of them has told it. It changes once at most, from None.
    `epoch`: as the journal's tail last read it, or Redis while the database is unavailable.
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
            raise StoreUnavailable("Redis has not told yet which deployment this is")
        if self.id is None:
            raise DatabaseUnavailable("neither the user database nor Redis has told yet which deployment this is")
        return self.id


class DeploymentRow(NamedTuple):
    """What the user database says of the deployment, as each read of the journal returns it.

    `name`, `lease_ms`: None until the first worker has started.
    `restored`: a random word since the database was found to be an older copy of itself; None once that is cleared up.
    """

    id: str
    name: str | None
    lease_ms: int | None
    epoch: str
    restored: str | None


class Current(NamedTuple):
    """What a new session of a user carries: the user's generation and the deployment's epoch."""

    generation: int
    epoch: str
