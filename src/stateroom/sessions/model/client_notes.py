"""Notes of the client at sign-in, as the session's hash holds them: deflated, in pieces that keep the hash compact.

Redis keeps a small hash in one block, a listpack, as long as no value is longer than 64 bytes
(`hash-max-listpack-value`). One longer value makes it a table, which takes a kilobyte more on Redis 7. A user agent
alone is longer. So the notes are deflated with a dictionary of the words in user agents, and cut into pieces if they are still
too long: `m`, `m1`, `m2`, … Notes that do not begin with the first byte of the deflated form are plain JSON. Plain JSON is
used if deflating makes the notes no shorter, and earlier releases wrote it.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from .fields import CLIENT_NOTES

PIECE_BYTES = 64
_LARGEST_NOTES = 16_384
_DEFLATED = b"\x01"
"""The first byte of notes deflated with `_WORDS`. Another list of words needs another byte: stored notes must stay readable."""

_WORDS = (
    b"okhttp/4.12.0 Dalvik/2.1.0 (Linux; U; Android curl/8. python-requests/2.32.3 Python/3.1 aiohttp/3.1 Go-http-client/2.0 "
    b"PostmanRuntime/7.43.0 Dart/3.5 (dart:io) CFNetwork/1568.200.51 Darwin/24.1.0 node-fetch/1.0 axios/1.7 Java/21.0.1 "
    b"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Googlebot/2.1; +http://www.google.com/bot.html) "
    b" [FBAN/FBIOS;FBAV/500.0.0.0.0;FBBV/600000000;FBDV/iPhone16,2;FBMD/iPhone;FBSN/iOS;FBSV/18.0;FBSS/3;FBCR/;FBID/phone;"
    b"FBLC/en_US;FBOP/80] Instagram 350.0.0.0.0 (iPhone16,2; iOS 18_0; en_US; en; scale=3.00; 1179x2556; 600000000) "
    b" [FB_IAB/FB4A;FBAV/500.0.0.0.0;IABMV/1;] ; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/ MicroMessenger/8.0 "
    b" Electron/33.0 YaBrowser/24 Vivaldi/7.0 DuckDuckGo/7 Brave/1 GSA/350.0 EdgiOS/141.0 EdgA/141.0.0.0 FxiOS/140.0 CriOS/141.0 "
    b"Mozilla/5.0 (Linux; Android 14; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 "
    b"Mobile Safari/537.36 Pixel 9 Build/AP1A.240505.004; Redmi Note 13 Pro moto g "
    b"Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"
    b"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0"
    b"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
    b"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 "
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15"
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/122.0.0.0"
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 "
    b'Edg/141.0.0.0","device_type":"unknown"","device_type":"bot"","device_type":"tablet"'
    b'{"ip_address":"2001:db8::","user_agent":"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) '
    b'Chrome/141.0.0.0 Mobile Safari/537.36","device_type":"mobile"","location":"'
    b'{"ip_address":"192.168.","user_agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 '
    b'(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1","device_type":"mobile"}'
    b'{"ip_address":"10.","user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) '
    b'Chrome/141.0.0.0 Safari/537.36","device_type":"desktop"}'
)
_WINDOW_BITS = -12  # raw, a window of 4 KiB: the words fit in
_MEMORY_LEVEL = 5


def pack(notes: Mapping[str, str]) -> dict[str, bytes]:
    """The fields that hold these notes."""
    plain = msgspec.json.encode(dict(notes))
    deflater = zlib.compressobj(9, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=_WORDS)
    packed = min(plain, _DEFLATED + deflater.compress(plain) + deflater.flush(), key=len)
    pieces = (packed[begin : begin + PIECE_BYTES] for begin in range(0, len(packed), PIECE_BYTES))
    name = CLIENT_NOTES.decode()
    return {f"{name}{number or ''}": piece for number, piece in enumerate(pieces)}


def unpack(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The notes in a session's fields; empty if they are missing or cannot be read."""
    packed = fields.get(CLIENT_NOTES, b"")
    for number in itertools.count(1):
        piece = fields.get(b"%b%d" % (CLIENT_NOTES, number))
        if piece is None:
            break
        packed += piece
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, zlib.error):
        if packed[:1] == _DEFLATED:
            packed = zlib.decompressobj(_WINDOW_BITS, zdict=_WORDS).decompress(packed[1:], _LARGEST_NOTES)
        found = msgspec.json.decode(packed)
        if isinstance(found, dict):
            return found
    return {}
