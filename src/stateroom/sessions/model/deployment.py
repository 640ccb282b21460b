"""The deployment that this worker belongs to.

All hosts of a deployment share one user database, one Redis and one set of cookie keys. A copy of the keys is not enough
to belong to it: whatever is sealed is bound to the deployment's id, which stands in the user database, and to its name.
So a cookie of a staging environment opens nothing in production, though both have the same keys.
"""

from __future__ import annotations


class Deployment:
    """What every sealed value of a deployment is bound to.

    `name`: the setting `DEPLOYMENT`. `id`: from the user database, or from Redis while the database is unavailable; None
    until one of them has told it. It changes once at most, from None.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.id: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether values can be sealed and opened."""
        return self.id is not None
