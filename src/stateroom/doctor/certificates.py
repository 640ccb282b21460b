"""What is wrong with a server's certificate, and which name would be right.

https://docs.python.org/3/library/ssl.html: `verify_code` is OpenSSL's X509_V_ERR_… number.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from ..backend.dial import Tls

if TYPE_CHECKING:
    from ..settings import Address, Settings

HANDSHAKE_SECONDS = 1.0

_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})


def why_refused(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or str(error)).replace("_", " ").lower()


async def certificate_mend(error: ssl.SSLError, address: Address | None, kind: str, settings: Settings) -> str:
    """`kind` is how the settings' names begin: REDIS or REDIS_SENTINEL."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = error.reason or ""
        if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            return f"it asks for a certificate of ours: set {kind}_TLS_CERT and {kind}_TLS_KEY"
        return f"see that this port has TLS (tls-port); if it has none, set {kind}_TLS=false (or redis:// in REDIS_URL)"
    if error.verify_code in _OTHER_NAME:
        names = await _names(address, kind, settings)
        if not names:
            return f"set {kind}_TLS_SERVER_NAME to a name that its certificate has"
        return f"its certificate is for {', '.join(names)}: set {kind}_TLS_SERVER_NAME to that"
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return f"set {kind}_TLS_CA to the PEM file of the authority that signed its certificate"
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        return "renew its certificate; if it is good, this host's clock is wrong"
    return f"see its certificate, and {kind}_TLS_CA"


async def _names(address: Address | None, kind: str, settings: Settings) -> list[str]:
    """The names that the certificate has, if our authority signed it. Nothing is sent but the handshake."""
    if address is None:
        return []
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
