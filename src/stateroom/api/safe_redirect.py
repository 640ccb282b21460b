"""Decides where a sign-in may redirect to: to our own pages and to the hosts of `RETURN_HOSTS`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..origins import DEFAULT_PORTS, origin_of

if TYPE_CHECKING:
    from .. import Settings

# Browsers drop tabs and line ends, read a backslash as a slash, and convert characters that are not ASCII
# (https://url.spec.whatwg.org/#url-parsing). So such values are refused before they are parsed.
_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")


def safe_return(settings: Settings, value: str, *, own_origin: str = "") -> str | None:
    """Return `value` if it is a path of ours, or a URL of a host that we may redirect to. Else return None.

    `own_origin`: the `scheme://host[:port]` at which the client uses us.
    """
    if not _PLAIN.fullmatch(value):
        return None
    if value.startswith("/"):
        return None if value.startswith("//") else value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        return None
    if parts.username is not None or parts.password is not None or not value.lower().startswith(f"{parts.scheme}://"):
        return None
    if origin_of(parts.scheme, parts.netloc) in {own_origin, *settings.public_origins}:
        return value
    host = f"[{host}]" if ":" in host else host
    named = f"{host}:{DEFAULT_PORTS[parts.scheme] if port is None else port}"
    return value if any(_is_named(each, host, named) for each in settings.return_hosts) else None


def _is_named(entry: str, host: str, host_and_port: str) -> bool:
    """Whether an entry of `RETURN_HOSTS` names this host. An entry without a port allows all ports.

    `*.example.com` names every host below `example.com`.
    """
    if entry.startswith(("*.", ".")):
        return host.endswith(entry.removeprefix("*")) and not host.startswith(".")
    return entry in {host, host_and_port}
