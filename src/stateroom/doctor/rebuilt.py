"""Compares what the Sentinels name with what the deployment's workers have agreed on. Rebuilt Sentinels have a lower epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..sessions.model.deployment import EMPTY_PRIMARY_FIX, FOREIGN_PRIMARY_FIX
from .findings import Finding, warning
from .quorum import WHERE
from .sentinels import Sentinel

if TYPE_CHECKING:
    from ..settings import Settings
    from .database import DatabaseFindings


def judge_rebuilt(
    looked: DatabaseFindings, sentinels: Sequence[Sentinel], held: Mapping[str, object], settings: Settings
) -> list[Finding]:
    """`held`: the deployment's id that each primary holds, by server (`Stores.fleets`)."""
    row = looked.sentinels
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
    return [warning("sentinels-rebuilt", WHERE, what, _fix(primary, looked, held))]


def _fix(primary: str, looked: DatabaseFindings, held: Mapping[str, object]) -> str:
    """`stateroom sentinels accept` refuses a server that does not hold the deployment's id."""
    where = f"Primary {primary}"
    is_read = where in held and not isinstance(held[where], Exception)
    if is_read and held[where] is None:
        return f"{primary} holds no deployment's id, so `stateroom sentinels accept` refuses it; {EMPTY_PRIMARY_FIX}"
    if is_read and held[where] != (looked.fleet_id or "").encode():
        return f"`stateroom sentinels accept` refuses {primary}; {FOREIGN_PRIMARY_FIX}"
    return "if the Sentinels were rebuilt and this primary is right, run `stateroom sentinels accept`"
