"""What a session notes of its client at sign-in, and when it is restored: address, user agent, device type, location."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from .proxies import Proxies

MAX_USER_AGENT_LENGTH = 256

_MOBILE_SYSTEMS = {"iOS", "Android", "Windows Phone", "KaiOS", "BlackBerry OS", "HarmonyOS"}
_DESKTOP_SYSTEMS = {"Windows", "Mac OS X", "Linux", "Ubuntu", "Fedora", "Debian", "Chrome OS", "FreeBSD", "OpenBSD"}


class ClientInfo:
    """Reads the client's facts from the requests of one application."""

    def __init__(self, proxies: Proxies, geoip_database: Path | None) -> None:
        self._proxies = proxies
        self._geoip_path = geoip_database
        self._geoip: Any = None

    async def start(self) -> None:
        """Read the user-agent rules and the location database, off the loop: the first use takes 0.1 s.

        Raises `SettingsError` for a `GEOIP_DATABASE` that cannot be read.
        """
        await asyncio.to_thread(device_type, "")
        if self._geoip_path is not None:
            self._geoip = await asyncio.to_thread(_open_geoip, self._geoip_path)

    def close(self) -> None:
        """Close the location database."""
        if self._geoip is not None:
            self._geoip.close()
            self._geoip = None

    def of(self, request: web.Request) -> dict[str, str]:
        """The known facts of this request's client. The location is that of the address in its kept form."""
        agent = "".join(c for c in request.headers.get("User-Agent", "")[:MAX_USER_AGENT_LENGTH] if c.isprintable())
        known = {
            "ip_address": self._proxies.kept_address(request),
            "user_agent": agent,
            "device_type": device_type(agent),
            "location": self._location(self._proxies.kept_address(request)),
        }
        return {name: fact for name, fact in known.items() if fact}

    def _location(self, address: str | None) -> str:
        """City and country as the database names them in English."""
        if self._geoip is None or not address:
            return ""
        try:
            found = self._geoip.get(address)
        except ValueError:
            return ""
        if not isinstance(found, dict):
            return ""
        names = (found.get(part, {}).get("names", {}).get("en", "") for part in ("city", "country"))
        return ", ".join(name for name in names if name)


@lru_cache(maxsize=1024)
def device_type(user_agent: str) -> str:
    """desktop, mobile, tablet, bot, or unknown."""
    from ua_parser import parse  # its rules are slow to read; `ClientInfo.start` does that off the loop

    found = parse(user_agent)
    device = found.device.family if found.device else ""
    system = found.os.family if found.os else ""
    if device == "Spider":
        return "bot"
    if "iPad" in device or "Tablet" in device or "Tab" in device or ("Android" in user_agent and "Mobile" not in user_agent):
        return "tablet"
    if system in _MOBILE_SYSTEMS:
        return "mobile"
    if system in _DESKTOP_SYSTEMS:
        return "desktop"
    return "unknown"


def _open_geoip(path: Path) -> Any:
    from ..errors import SettingsError

    try:
        import maxminddb
    except ImportError:
        raise SettingsError("GEOIP_DATABASE needs a package; pip install 'stateroom[geoip]'") from None
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise SettingsError(f"GEOIP_DATABASE: {path} is no MaxMind database: {error}; name an .mmdb file") from None
