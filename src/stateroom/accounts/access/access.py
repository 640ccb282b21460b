"""The access rules of a process: from the settings, and from their file whenever it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ...errors import AccessDenied
from ..assertions import check_audience
from .model import Allow, Ruling
from .rules import Rules
from .rules_file import read_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...settings import Settings
    from .model import Asked

NOT_CONFIGURED = (
    "nobody has said who may enter; the operator sets ACCESS_RULES_FILE, or ACCESS_DEFAULT=signed-in for every signed-in user"
)


class Access:
    """Says who may enter which application.

    `rules`: those in use. They are replaced as a whole, so a request is never judged by half of a file.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the rules. Raises `SettingsError`."""
        self.is_configured = settings.access_rules_file is not None or "access_default" in settings.model_fields_set
        self.rules = _rules(settings)

    def read_again(self, settings: Settings) -> None:
        """Read the rules again. Raises `SettingsError` if the file is invalid; the rules in use then stay."""
        self.rules = _rules(settings)

    def rule_for(self, asked: Asked) -> Ruling:
        """The ruling for a request to an application. It does not depend on the user.

        Raises `AccessDenied` if nobody may enter: the request's method, host or path is missing, or none of the host's rules is for
        the request, or nothing is configured. Raises `BadInput` if the host or the path is invalid, or if applications may read the
        path in several ways and different rules are for them.
        """
        if not self.is_configured:
            raise AccessDenied(NOT_CONFIGURED)
        return self.rules.rule_for(asked)


def doors_for_strangers(settings: Settings) -> Sequence[str]:
    """Through what anybody may enter who registers: a setting, and rules by their names. Empty unless `REGISTRATION` is open.

    Raises `SettingsError` for an invalid file.
    """
    if settings.registration != "open":
        return ()
    doors = ["ACCESS_DEFAULT=signed-in"] if settings.access_default == "signed-in" else []
    return doors + [rule.name for rule in _rules(settings) if rule.allow.signed_in]


def hidden_rules(settings: Settings) -> Sequence[str]:
    """Each rule that decides about nothing, because an earlier one is for all requests to its hosts, in words with both lines.

    Raises `SettingsError` for an invalid file.
    """
    hidden = _rules(settings).hidden()
    return [f"{rule.name} (line {rule.line}) after {earlier.name} (line {earlier.line})" for rule, earlier in hidden]


def _rules(settings: Settings) -> Rules:
    file = settings.access_rules_file
    rules = Rules(() if file is None else read_rules(file), Allow(signed_in=settings.access_default == "signed-in"))
    check_audience(settings, rules.may_be_audience)
    return rules


ACCESS = web.AppKey("stateroom_access", Access)
