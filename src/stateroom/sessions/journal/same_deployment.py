"""Whether the journal that answered is this deployment's, and whether this worker has the deployment's lease and name.

Each read of the journal returns the deployment's row. If it is another deployment's, or there is none, the journal counts as
unavailable: a host name that leads to another database for a while must not end any session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import DatabaseUnavailable
from ...logs import get_logger

if TYPE_CHECKING:
    from ..model.deployment import Deployment, DeploymentRow

log = get_logger(__name__)


class SameDeployment:
    """`_is_foreign`: the last row was another deployment's, and a log line said so.

    `_does_differ`: the deployment has another lease or name than this worker, and a log line said so.
    """

    def __init__(self, deployment: Deployment, *, lease_ms: int) -> None:
        self._deployment = deployment
        self._lease_ms = lease_ms
        self._is_foreign = self._does_differ = False

    def check(self, row: DeploymentRow | None) -> DeploymentRow:
        """The row that a read returned. Raises `DatabaseUnavailable` if it is not ours, or differs in lease or name.

        If our own id was unknown, this row tells it.
        """
        own_row = self._check_whose(row)
        self._check_agreed(own_row)
        return own_row

    def _check_whose(self, row: DeploymentRow | None) -> DeploymentRow:
        own, found = self._deployment.id, None if row is None else row.id
        if row is not None and own is None:  # neither store had answered before
            self._deployment.id = own = row.id
        if row is not None and found == own:
            self._is_foreign = False
            return row
        if not self._is_foreign:
            self._is_foreign = True
            log.error("foreign_database", ours=own, found=found, fix="check that DATABASE_URL leads to this deployment's database")
        raise DatabaseUnavailable("the user database is another deployment's")

    def _check_agreed(self, row: DeploymentRow) -> None:
        """Compare lease and name. A worker may have started without the journal, or may run while a command changes them.

        Raises `DatabaseUnavailable`, and logs it once.
        """
        has_lease, has_name = row.lease_ms == self._lease_ms, row.name == self._deployment.name
        did_differ, self._does_differ = self._does_differ, not (has_lease and has_name)
        if not has_lease:
            if not did_differ:
                fix = "set the same JOURNAL_LEASE for every worker, and restart this worker"
                log.error("lease_differs", ours_ms=self._lease_ms, deployment_ms=row.lease_ms, fix=fix)
            raise DatabaseUnavailable("the deployment has another lease")
        if not has_name:
            if not did_differ:
                fix = "set the same DEPLOYMENT for every worker, and restart this worker"
                log.error("deployment_differs", ours=self._deployment.name, deployment=row.name, fix=fix)
            raise DatabaseUnavailable("the deployment has another name")
