"""Logs once that a node of a Cluster names other slots than the believed ones.

During a failover nodes disagree for a moment. Therefore a refusal is logged when it has lasted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..logs import get_logger
from ..settings import Address
from .slot_map import NO_ADDRESS, NO_SLOTS, OLD_OWNERS, OTHER_CLUSTER, Refusal

log = get_logger(__name__)

LASTS_SECONDS = 2.0

FIXES: Mapping[str, str] = {
    NO_SLOTS: (
        "if it left the Cluster, remove it from REDIS_CLUSTER_NODES, and name nodes of the Cluster; "
        "if it should be a member, let it join with CLUSTER MEET"
    ),
    OTHER_CLUSTER: "correct REDIS_CLUSTER_NODES, or the names in it that lead to the other Cluster",
    OLD_OWNERS: "check that it reaches the other nodes on their cluster bus ports",
    NO_ADDRESS: (
        "tell it the new address of the nodes with CLUSTER MEET; "
        "with cluster-preferred-endpoint-type hostname, set cluster-announce-hostname on every node"
    ),
}
"""What to do, by the reason of a refusal."""


class RefusalLog:
    """Which refusals last, and which are logged already. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._since: dict[tuple[Address, str], float] = {}
        self._logged: set[tuple[Address, str]] = set()

    def update(self, replied: Sequence[Address], refused: Sequence[Refusal], now: float) -> None:
        """`refused`: the refusals of one round. A node among `replied` without a refusal is believed again."""
        current = {(each.view.node, each.reason) for each in refused}
        for known in [known for known in self._since if known[0] in replied and known not in current]:
            del self._since[known]
            self._logged.discard(known)
        for node, reason in current:
            since = self._since.setdefault((node, reason), now)
            if now - since >= LASTS_SECONDS and (node, reason) not in self._logged:
                self._logged.add((node, reason))
                log.warning("cluster_map_refused", node=str(node), reason=reason, fix=FIXES[reason])
