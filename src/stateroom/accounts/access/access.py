"""The access rules of a process, as its settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ...errors import AccessDenied
from .model import Allow, Ruling

if TYPE_CHECKING:
    from ...settings import Settings
    from .model import Asked

NOT_CONFIGURED = "nobody has said who may enter: set ACCESS_RULES_FILE, or ACCESS_DEFAULT=signed-in to admit every signed-in user"


class Access:
    """Says who may enter which application."""

    def __init__(self, settings: Settings) -> None:
        """Read the rules. Raises `SettingsError`."""
        self._default = Allow(signed_in=settings.access_default == "signed-in")
        self._is_configured = settings.access_rules_file is not None or "access_default" in settings.model_fields_set

    def rule_for(self, asked: Asked) -> Ruling:
        """The ruling for a request to an application. It does not depend on the user.

        Raises `AccessDenied` if the rules admit nobody: the request's method, host or path is missing, or no rule of the host
        fits, or no rules are configured. Raises `BadInput` if applications may read the path in ways that different rules are for.
        """
        if not self._is_configured:
            raise AccessDenied(NOT_CONFIGURED)
        if not (asked.method and asked.origin and asked.path):
            raise AccessDenied
        return Ruling(self._default, asked.origin)


ACCESS = web.AppKey("stateroom_access", Access)
