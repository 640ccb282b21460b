"""Compares what the Sentinels name with what the deployment's workers have agreed on. Rebuilt Sentinels have a lower epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .findings import Finding, warning
from .quorum import WHERE
from .sentinels import Sentinel

if TYPE_CHECKING:
    from ..sessions.model.deployment import SentinelRow
    from ..settings import Settings


def judge_rebuilt(row: SentinelRow | None, sentinels: Sequence[Sentinel], settings: Settings) -> list[Finding]:
    """`row`: what the workers have agreed on; None if that is unknown."""
    named = Counter((sentinel.epoch, str(sentinel.primary)) for sentinel in sentinels).most_common(1)
    if row is None or row.primary is None or not named:
        return []
    (epoch, primary), votes = named[0]
    is_behind = epoch < row.epoch or (epoch == row.epoch and primary != row.primary)
    if votes <= len(settings.redis_sentinels) // 2 or not is_behind:
        return []
    what = (
        f"they name {primary} in epoch {epoch}, but the workers have agreed on {row.primary} in epoch {row.epoch}; "
        "until that is accepted, sign-outs take a lease"
    )
    fix = "if the Sentinels were rebuilt and this primary is right, run `stateroom sentinels accept`"
    return [warning("sentinels-rebuilt", WHERE, what, fix)]
