"""Makes a TLS handshake alone, to learn what an ordinary connection does not show."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from ..backend.dial import Tls

if TYPE_CHECKING:
    from ..settings import Address, Settings

HANDSHAKE_SECONDS = 1.0


async def alert_after_handshake(address: Address, tls: Tls) -> ssl.SSLError | None:
    """The TLS alert that the server sends during or after the handshake; None if it sends none.

    Nothing is written, because a server that has closed the connection resets it for a write, and a reset loses the alert.
    """
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            try:
                reader, writer = await asyncio.open_connection(
                    address.host, address.port, ssl=tls.context, server_hostname=tls.server_name or address.host
                )
                try:
                    await reader.read(1)
                finally:
                    writer.close()
            except ssl.SSLError as alert:
                return alert
    return None


async def names_in_certificate(address: Address, kind: str, settings: Settings) -> list[str]:
    """The names in the certificate, if the configured authority signed it. `kind`: the prefix of the settings' names."""
    ca, cert, key = (getattr(settings, f"{kind.lower()}_tls_{part}") for part in ("ca", "cert", "key"))
    tls = Tls.of(f"{kind}_TLS", ca, cert, key, None)
    tls.context.check_hostname = False
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=tls.context)
            certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
            writer.close()
            return [str(name) for _, name in certificate.get("subjectAltName", ())]
    return []
