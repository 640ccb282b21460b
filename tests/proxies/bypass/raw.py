"""Sends raw bytes to a proxy, as HTTP/1 or as frames of HTTP/2 (RFC 9113), and waits until they are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

ANSWER_SECONDS = 5
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 7, 9
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
"""RFC 7541, appendix A."""


async def send(port: int, raw: bytes, *, is_h2: bool, tunnelled: bytes = b"") -> int:
    """Send a request on a connection of its own. Returns the status, or 0 if there was none.

    `tunnelled`: what is sent if the answer is 101.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(raw)
                return await (_answered_h2(reader, writer) if is_h2 else _answered(reader, writer, tunnelled))
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError):
        return 0


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tunnelled: bytes) -> int:
    """Read one response of HTTP/1, and another one if there is a tunnel."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    if status == 101:
        writer.write(tunnelled)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
    elif "\r\ncontent-length: " in head:
        with contextlib.suppress(TimeoutError):  # HEAD has a length and no body.
            async with asyncio.timeout(0.05):
                await reader.readexactly(int(head.split("\r\ncontent-length: ", 1)[1].split("\r\n")[0]))
    elif "\r\ntransfer-encoding: chunked" in head:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.readuntil(b"\r\n0\r\n\r\n")
    return status


async def _answered_h2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    status = 0
    while True:
        header = await reader.readexactly(9)
        kind, flags = header[3], header[4]
        payload = await reader.readexactly(int.from_bytes(header[:3]))
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _HEADERS:
            status = _status(payload) or status
        elif kind in {_RESET, _GOAWAY}:
            return status
        if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
            return status


def h2(headers: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> bytes:
    """A connection with one request. The headers, `:path` and its like too, are sent exactly as they are."""
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)
    frames = [_frame(_HEADERS, _END_HEADERS | (0 if body else _END_STREAM), 1, block)]
    if body:
        frames.append(_frame(_DATA, _END_STREAM, 1, body))
    return _PREFACE + _frame(_SETTINGS, 0, 0, b"") + b"".join(frames)


def _string(value: bytes) -> bytes:
    """A string literal without Huffman coding (RFC 7541, section 5.2)."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + value


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _status(block: bytes) -> int:
    """The status of a response, which is the first of its headers. Digits may be Huffman-coded (RFC 7541, appendix B)."""
    while block and block[0] & 0xE0 == 0x20:  # a new size of the table
        block = block[1:]
    if block[0] & 0x80:
        return _STATIC_STATUS.get(block[0] & 0x7F, 0)
    length, value = block[1] & 0x7F, block[2 : 2 + (block[1] & 0x7F)]
    if not block[1] & 0x80:
        return int(value)
    bits, digits = "".join(f"{byte:08b}" for byte in value), ""
    while len(bits) >= 5 and len(digits) < 3 and length:
        size = 5 if bits[:5] in {"00000", "00001", "00010"} else 6
        code, bits = int(bits[:size], 2), bits[size:]
        digits += str(code if size == 5 else code - 0x19 + 3)
    return int(digits)
