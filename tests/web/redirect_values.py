"""500 values for `rd`, from a grammar of what browsers and servers read differently, and a judge that reads them as browsers do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import NamedTuple

from ..conftest import require_tool

RETURN_HOSTS = "app.example.com, *.apps.example.com, local.example.com:8443, *.ports.example.com:8443, a_b.example.com, [::1]:9000"

# Each part of an address: as in a good one, and as in one of which somebody hopes that it is read in two ways.
_SCHEME = (["http:", "https:", "https:", "HTTPS:"], ["", "javascript:", "data:", "ftp:", "ht\ttps:", "https", "blob:https:", "ws:"])
_SLASHES = (["//"], ["", "/", "///", "/\\", "\\\\", "\\/", "/\t/", "/\n/", "%2f%2f", "//\\", "/./", "/..//", "/%5c", "/%09/"])
_USER = ([""], ["user@", "app.example.com@", "app.example.com:80@", ":@", "app.example.com%40", "app.example.com\\@", "a@b@"])
_HOST = (
    [
        "app.example.com", "APP.example.com", "one.apps.example.com", "local.example.com:8443", "x.ports.example.com:8443",
        "a_b.example.com", "[::1]:9000", "[0:0::1]:9000", "b.a.apps.example.com:80",
    ],
    [
        "evil.example", "app.example.com.evil.example", "evil.example%2eapp.example.com", "app.example.com\u3002evil.example",
        "evil\uff0eexample", "\uff41pp.example.com", "app.exampl\u0435.com", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]",
        "xn--80ak6aa92e.com",
        "app.example.com.", ".apps.example.com", "evil.example#.apps.example.com", "evil.example?.apps.example.com",
        "evil.example\\.apps.example.com", "evil.example/.apps.example.com", "evil.example:443#@app.example.com",
        "evilapps.example.com", "app.example.com\u00adevil.example", "evil.example\u200b.apps.example.com", "b\u00fccher.example",
        "local.example.com:8444", "evil.example&.apps.example.com", "evil.example;.apps.example.com",
        "evil.example%00.apps.example.com", "", "*.apps.example.com",
    ],
)  # fmt: skip
_PORT = ([""], [":", ":80", ":443", ":8443", ":08443", ":99999", ":-1", ":\u0663", ":80:80"])
_PATH = (
    ["", "/", "/a/b", "/caf\u00e9", "/ /x"],
    [
        "/a/../..//evil.example", "/.//evil.example", "//evil.example", "/\\evil.example", "/@evil.example", "/%2e%2e//e", "\\a",
        "/;/x", "/.evil.example",
    ],
)  # fmt: skip
_QUERY = (["", "?a=1", "?\u00fc"], ["?x=\\y", "?next=https://evil.example/", "?a@evil.example"])
_FRAGMENT = (["", "#top"], ["#\\x", "#@evil.example/", "#//evil.example"])
_URL = [_SCHEME, _SLASHES, _USER, _HOST, _PORT, _PATH, _QUERY, _FRAGMENT]
_ODD = ["\t", "\n", "\r", "\x00", "\x1b", "\x7f", " ", "\u200b", "\ufeff", "\u2028", "\x85", "\xa0", "\\", "/", "@", ":", "%", "."]


def redirect_values(count: int = 500) -> list[str]:
    """That many different values, always the same."""
    chance = random.Random(22)
    found = dict[str, None]()
    while len(found) < count:
        parts = _URL if chance.random() < 0.75 else [(["/"], ["//", "/\\"]), *_URL[5:]]
        value = "".join(chance.choice(part[chance.random() < 0.25]) for part in parts)
        if chance.random() < 0.25:
            at = chance.randint(0, min(len(value), 30))
            value = value[:at] + chance.choice(_ODD) + value[at:]
        found[value] = None
    return list(found)


class Read(NamedTuple):
    """A location as a browser reads it."""

    scheme: str
    host: str
    port: str

    def is_elsewhere(self, own: str) -> bool:
        """Whether this is neither our own origin nor a host of `RETURN_HOSTS`."""
        port = int(self.port or {"http": 80, "https": 443}.get(self.scheme, 0))
        is_named = (
            self.host in {"app.example.com", "a_b.example.com"}
            or self.host.endswith(".apps.example.com")
            or (self.host == "local.example.com" and port == 8443)
            or (self.host.endswith(".ports.example.com") and port == 8443)
            or (self.host == "[::1]" and port == 9000)
        )
        is_own = f"{self.scheme}://{self.host}:{port}" == own
        return self.scheme not in {"http", "https"} or not (is_own or is_named)


_SCRIPT = """
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const [base, locations] = JSON.parse(Buffer.concat(chunks).toString());
const read = (location) => { const url = new URL(location, base); return [url.protocol.slice(0, -1), url.hostname, url.port]; };
const tried = (location) => { try { return read(location); } catch { return ["nowhere", "", ""]; } };
console.log(JSON.stringify(locations.map(tried)));
"""


async def read_as_browsers_do(base: str, locations: Sequence[str]) -> list[Read]:
    """Read locations on the page `base`, by the URL standard that browsers follow (https://url.spec.whatwg.org), as Node has it."""
    process = await asyncio.create_subprocess_exec(
        require_tool("node"), "--input-type=module", "-e", _SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answered, _ = await process.communicate(json.dumps([base, list(locations)]).encode())
    return [Read(*each) for each in json.loads(answered)]
