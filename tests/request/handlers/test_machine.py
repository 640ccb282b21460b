"""What handlers do to sessions holds, in every order of steps and requests (machine.py)."""

from __future__ import annotations

import pytest

from . import machine
from .world import World


@pytest.mark.timeout(60 + machine.EXAMPLES)
def test_what_a_handler_does_holds(started_world: World) -> None:
    machine.run(started_world)
