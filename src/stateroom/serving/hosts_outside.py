"""Warns at startup if a sign-in may lead to a host that the session cookie does not reach.

There the user would be signed out, and forward auth would redirect back to the sign-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..logs import get_logger
from ..settings.return_hosts import is_within, split_entry

if TYPE_CHECKING:
    from ..settings import Settings

log = get_logger(__name__)


def warn_of_hosts_outside(settings: Settings) -> None:
    """Log one warning that names the entries of `RETURN_HOSTS` to which browsers do not send the cookie."""
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
