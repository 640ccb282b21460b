"""Where a sign-in may lead back to: our own pages, and the hosts of `RETURN_HOSTS`. Anything else is no redirect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .. import Settings

# What browsers read otherwise than it looks is refused before it is read: they drop tabs and line ends, take a
# backslash for a slash, and have ideas of their own about what is not ASCII
# (https://url.spec.whatwg.org/#url-parsing).
_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")


def safe_return(settings: Settings, value: str, *, own_origin: str = "") -> str | None:
    """`value`, where it is a path of ours or a URL of a host that we may send people to; else None.

    `own_origin`: `scheme://host[:port]` that the client uses us under.
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
    if f"{parts.scheme}://{parts.netloc}".lower() in {own_origin, *settings.public_origins}:
        return value
    host = f"[{host}]" if ":" in host else host
    named = host if port is None else f"{host}:{port}"
    return value if any(_is_named(each, host, named) for each in settings.return_hosts) else None


def _is_named(entry: str, host: str, host_and_port: str) -> bool:
    """`app.example.com`, with a port or any; `*.example.com` for every name below it."""
    if entry.startswith(("*.", ".")):
        return host.endswith(entry.removeprefix("*")) and not host.startswith(".")
    return entry in {host, host_and_port}
