"""What all calls of the session manager work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..wiring import Parts


class OnParts:
    """Calls on the parts of one application's sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
