"""The Content-Security-Policy of the pages.

Chromium applies `form-action` also to every redirect after a form, without a word to the user: an application to which the sign-in
leads may redirect on to the next one. So the policy allows each host to which a sign-in may lead, on every page
(https://www.w3.org/TR/CSP3/#directive-form-action, https://github.com/w3c/webappsec-csp/issues/8).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..origins import DEFAULT_PORTS
from ..settings.return_hosts import policy_source

if TYPE_CHECKING:
    from .. import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
MOST_SOURCES_LENGTH = 2000
"""The policy is in the headers of every page, and proxies limit the headers of a response: nginx to 4 KiB by default."""
ANY_HOST = "http:"
"""Every address with http or https. It takes the place of a list that is too long, or that a policy cannot express."""


def policy(settings: Settings) -> str:
    """The policy of every page of this service."""
    return _policy(settings.own_origins, settings.return_hosts)


@lru_cache(maxsize=16)
def _policy(own_origins: tuple[str, ...], return_hosts: tuple[str, ...]) -> str:
    own = [each for each in own_origins if each.partition(":")[0] in DEFAULT_PORTS]
    sources = [None if "[" in each else each for each in own] + [policy_source(each) for each in return_hosts]
    named = [each for each in dict.fromkeys(sources) if each is not None]
    listed = " ".join(named)
    if None in sources or len(listed) > MOST_SOURCES_LENGTH:
        listed = ANY_HOST
    return f"{POLICY} {listed}" if listed else POLICY
