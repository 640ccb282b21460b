"""Finds the cause of a fault that an error does not tell, by a second connection.

After a time-out it measures whether the server only answers too late. If the server closes a connection at once, it hears what
the server says without being asked.

A server in protected mode, or with too many clients, sends an error and closes. With TLS 1.3 the alert about a client
certificate comes after the client's handshake (RFC 8446, section 4.4.2.4). If we write at the same moment, the server's
kernel resets the connection, and a reset loses what was sent before. So this writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from .diagnosis import Diagnosis, closed, diagnose, too_slow
from .slow_links import measure

if TYPE_CHECKING:
    from ..settings import Address
    from .dial import Dialer

LISTEN_SECONDS = 1.0
_LONGEST_LINE = 4096


async def explain(error: BaseException, dialer: Dialer, address: Address | None) -> Diagnosis:
    """`diagnose`, but after a time-out or if the server closes the connection, connect once more to learn why.

    `address`: None if unknown.
    """
    found = diagnose(error, dialer, address)
    if address is None or dialer.unix_path is not None or found.cause not in {"silent", "closed"}:
        return found
    if found.cause == "silent":
        link = await measure(dialer, address)
        return found if link is None or not link.is_too_slow_for(dialer) else too_slow(link, dialer)
    heard = await _hear(dialer, address)
    if heard is not None:
        return diagnose(heard, dialer, address)
    return closed(dialer, has_tls=dialer.tls is not None)


async def _hear(dialer: Dialer, address: Address) -> Exception | None:
    """The TLS alert or the error that the server sends by itself, or why it is not there any more; None if it sends none."""
    tls = dialer.tls
    options: dict[str, Any] = {} if tls is None else {"ssl": tls.context, "server_hostname": tls.server_name or address.host}
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LISTEN_SECONDS):
            try:
                sock = await dialer.opener.open(address.host, address.port, timeout=LISTEN_SECONDS)
                reader, writer = await asyncio.open_connection(sock=sock, **options)
                try:
                    line = await reader.read(_LONGEST_LINE)
                finally:
                    writer.close()
            except (ssl.SSLError, ConnectionRefusedError) as error:  # an alert, or the server has ended meanwhile
                return error
            if line.startswith(b"-"):
                return ResponseError(line[1:].partition(b"\r\n")[0].decode(errors="replace"))
    return None
