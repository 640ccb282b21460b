"""Explains why TLS failed: what is wrong with a server's certificate, and which name would be right.

`verify_code` is OpenSSL's X509_V_ERR_… number (https://docs.python.org/3/library/ssl.html).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from ..backend.dial import Tls
from ..network.sockets import OPENER

if TYPE_CHECKING:
    from ..settings import Address, Settings

HANDSHAKE_SECONDS = 1.0

_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})


def why_refused(error: ssl.SSLError) -> str:
    """The reason, as OpenSSL words it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or str(error)).replace("_", " ").lower()


async def certificate_fix(error: ssl.SSLError, address: Address | None, kind: str, settings: Settings) -> str:
    """How to fix a failed handshake. `kind` is the prefix of the settings' names: REDIS or REDIS_SENTINEL."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = error.reason or ""
        if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            return f"it requires a client certificate: set {kind}_TLS_CERT and {kind}_TLS_KEY"
        return f"check that this port uses TLS (tls-port); if it does not, set {kind}_TLS=false (or redis:// in REDIS_URL)"
    if error.verify_code in _OTHER_NAME:
        names = await _names(address, kind, settings)
        if not names:
            return f"set {kind}_TLS_SERVER_NAME to a name in its certificate"
        return f"its certificate is for {', '.join(names)}: set {kind}_TLS_SERVER_NAME to that"
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return f"set {kind}_TLS_CA to the PEM file of the authority that signed its certificate"
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        return "renew its certificate; if the certificate is valid, correct this host's clock"
    return f"check its certificate and {kind}_TLS_CA"


async def _names(address: Address | None, kind: str, settings: Settings) -> list[str]:
    """The names in the certificate, if the configured authority signed it. Only a handshake is made."""
    if address is None:
        return []
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
