"""What a service warns of at startup: settings that are valid, and may do what the operator does not want."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..accounts.access import doors_for_strangers, hidden_rules
from ..errors import SettingsError
from ..logs import get_logger
from ..settings.return_hosts import is_within, split_entry

if TYPE_CHECKING:
    from ..settings import Settings

log = get_logger(__name__)


def warn_at_startup(settings: Settings) -> None:
    """Log each warning that these settings deserve. To be called once in a service, not in each worker."""
    _warn_of_hosts_outside(settings)
    with contextlib.suppress(SettingsError):  # an invalid file of access rules: it stops the startup with its own message
        _warn_of_open_doors(settings)
        _warn_of_hidden_rules(settings)


def _warn_of_hosts_outside(settings: Settings) -> None:
    """Name the entries of `RETURN_HOSTS` to which browsers do not send the session cookie.

    There the user would be signed out, and forward auth would redirect back to the sign-in.
    """
    domain = (settings.cookie_domain or "").removeprefix(".").lower()
    outside = [each for each in settings.return_hosts if not _is_reached(settings, each, domain)]
    if outside:
        where = f"outside {domain}" if domain else "other hosts, and the cookie is for one host only"
        log.warning(
            "return_hosts_without_cookie",
            hosts=outside,
            cookie_domain=domain,
            fix=f"RETURN_HOSTS: these are {where}; set COOKIE_DOMAIN to a domain that contains them and the sign-in page",
        )


def _is_reached(settings: Settings, entry: str, domain: str) -> bool:
    if domain:
        return is_within(entry, domain)
    own = {urlsplit(each).hostname for each in settings.own_origins}
    name = split_entry(entry)[0]
    return not name.startswith("*.") and (not own or name.strip("[]") in own)


def _warn_of_open_doors(settings: Settings) -> None:
    """Name what admits everybody who registers to applications behind forward auth. Raises `SettingsError` for a wrong file."""
    if doors := doors_for_strangers(settings):
        fix = "set REGISTRATION=invited, or let the rules name groups or addresses"
        log.warning("anybody_may_enter", through=doors, fix=fix)


def _warn_of_hidden_rules(settings: Settings) -> None:
    """Name the access rules that an earlier rule keeps from deciding. Raises `SettingsError` for a wrong file."""
    if hidden := hidden_rules(settings):
        fix = "the first rule that is for a request decides; move these rules before the ones that are for every path"
        log.warning("access_rules_without_effect", rules=hidden, fix=fix)
