"""What an application or its operator asks of the whole deployment, or of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .on_parts import OnParts

if TYPE_CHECKING:
    from ...backend.client import PoolFigures
    from ...database import Steps
    from ...settings import Settings
    from ..journal.own_database import OwnDatabase
    from ..model.clock import Clock
    from ..protocol.trust import StoreState


class OfDeployment(OnParts):
    """Settings, time, numbers, and the state of the stores."""

    @property
    def settings(self) -> Settings:
        """The application's settings."""
        return self._parts.settings

    @property
    def clock(self) -> Clock:
        """Redis' time, which sessions use: `now_ms()` is milliseconds since the epoch."""
        return self._parts.clock

    def deployment(self) -> tuple[str, str]:
        """The deployment's id and name. Raises `DatabaseUnavailable` while the id is unknown."""
        deployment = self._parts.deployment
        return deployment.known_id(), deployment.name

    async def count_active(self) -> int:
        """The number of live sessions of the deployment. Raises `StoreUnavailable`."""
        return await self._parts.store.count_active()

    async def sweep(self) -> int:
        """Clear expired sessions out of the indexes, and count them. Returns how many. Raises `StoreUnavailable`.

        The application does this by itself while it runs.
        """
        return await self._parts.sweeper.sweep()

    async def ping(self) -> None:
        """Raises `StoreUnavailable` if Redis does not answer."""
        client = self._parts.client
        for shard in client.shards():
            await client.execute(shard, "PING")

    def pool_figures(self) -> PoolFigures:
        """The connection pool now."""
        return self._parts.client.pool_figures()

    def store_state(self) -> StoreState:
        """The store as this process sees it: settled, unsettled, read_only or away."""
        return self._parts.trust.state(self._parts.client, self._parts.store)

    def renewal_horizon(self) -> int:
        """Sessions that were renewed before this time are due for renewal (milliseconds since the epoch)."""
        return self._parts.saver.renewal_horizon()

    def own(self, database: Steps) -> OwnDatabase:
        """The user database, for the application's tables. A step in another deployment's raises `DatabaseUnavailable`."""
        from ..journal.own_database import OwnDatabase

        return OwnDatabase(database, self._parts.deployment)
