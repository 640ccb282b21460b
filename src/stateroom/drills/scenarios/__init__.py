"""Finds scenarios: the built-in ones, in the order in which they are played, and those in a user's file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ...errors import StateroomError
from ..stage import Scenario
from .outage import all_redis_down, flush, full_restart_from_disk, journal_away
from .planned import manual_failover, rolling_restart
from .primary import hang_primary, kill_primary, lagging_replica, partition_primary
from .rebuilt import sentinels_rebuilt
from .restored import database_restored, database_restored_while_stopped
from .sentinels import sentinel_majority_down, sentinel_minority_down
from .slow_network import slow_network

SCENARIOS = {
    each.name: each
    for each in (
        kill_primary, hang_primary, partition_primary, rolling_restart, sentinel_minority_down, sentinel_majority_down,
        all_redis_down, full_restart_from_disk, lagging_replica, manual_failover, flush, journal_away,
        database_restored, database_restored_while_stopped, sentinels_rebuilt, slow_network,
    )
}  # fmt: skip


class UnknownScenario(StateroomError):
    """There is no scenario with this name, or a file has no scenario."""


def find(name: str) -> list[Scenario]:
    """The scenario with this name, or all scenarios of a Python file. Raises `UnknownScenario`."""
    if name in SCENARIOS:
        return [SCENARIOS[name]]
    path = Path(name)
    if path.suffix != ".py":
        raise UnknownScenario(f"there is no scenario {name}; the scenarios are {', '.join(SCENARIOS)}, and files that end in .py")
    spec = importlib.util.spec_from_file_location(f"stateroom_drill_{path.stem}", path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError:
        raise UnknownScenario(f"there is no file {name}; give the path of a file that exists") from None
    found = [each for each in vars(module).values() if isinstance(each, Scenario)]
    if not found:
        raise UnknownScenario(f"{name} has no scenario: decorate its steps with @scenario (docs/drills.md)")
    return found
