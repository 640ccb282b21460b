"""Stands in for the access rules: ACCESS_DEFAULT alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...accounts.access import Need
from ...errors import AccessDenied

if TYPE_CHECKING:
    from aiohttp import web

    from ...accounts.access import Asked, Person


_NO_NEED = Need()


@dataclass(frozen=True)
class Ruling:
    audience: str
    is_open: bool = False
    need: Need = _NO_NEED

    def admits(self, person: Person) -> bool:
        return True


def rule_for(request: web.Request, asked: Asked) -> Ruling:
    from ... import SESSIONS

    if request.app[SESSIONS].settings.access_default == "nobody":
        raise AccessDenied
    return Ruling(asked.origin)
