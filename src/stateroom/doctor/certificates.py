"""Reads the names in a server's certificate, to say which name would be right."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ..backend.dial import Tls
from ..network.sockets import OPENER

if TYPE_CHECKING:
    from ..settings import Address, Settings

HANDSHAKE_SECONDS = 1.0


async def names_in_certificate(address: Address, kind: str, settings: Settings) -> list[str]:
    """The names in the certificate, if the configured authority signed it. `kind`: the prefix of the settings' names."""
    ca, cert, key = (getattr(settings, f"{kind.lower()}_tls_{part}") for part in ("ca", "cert", "key"))
    tls = Tls.of(f"{kind}_TLS", ca, cert, key, None)
    tls.context.check_hostname = False
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            sock = await OPENER.open(address.host, address.port, timeout=HANDSHAKE_SECONDS)
            _, writer = await asyncio.open_connection(sock=sock, ssl=tls.context, server_hostname=address.host)
            certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
            writer.close()
            return [str(name) for _, name in certificate.get("subjectAltName", ())]
    return []
