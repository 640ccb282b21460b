"""Generates requests that may confuse a proxy, the access rules or the application: each one from a number alone.

Every request begins as a good one to a path of `AREAS`, and then gets none to four of the tricks below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from .plain import NUMBER
from .raw import h2

AREAS = ("/open/a", "/read/a", "/group/a", "/denied/a", "/elsewhere/a")
HOSTS = ("app.test", "staff.test", "unknown.test")
IDENTITY = ("Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "Remote-Session-Degraded", "Remote-Assertion")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
ADDRESSES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Path")
HOST_CLAIMS = ("X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded", "X-Forwarded-Server")
METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get", "GETS", "PURGE",
    "M-SEARCH", "PRI", "X",
)  # fmt: skip
FOLDED = "-_.~!#$%&'*+^`|"
"""The characters of a header's name (RFC 9110, section 5.6.2) that some server reads as a hyphen."""
DOTS = (
    "..",
    ".",
    "%2e%2e",
    ".%2E",
    "%2e.",
    "%252e%252e",
    "..;",
    "..;a=b",
    "..%00",
    "..%20",
    "%2e%2e;",
    "...",
    "%c0%ae%c0%ae",
    "..%09",
)
SLASHES = ("/", "//", "///", "/./", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", "/;/", ";/", "/%20/", "%00/", "/%2e/", "%ef%bc%8f")
CUTS = (
    "?",
    "#",
    "%3f",
    "%23",
    ";",
    "%3b",
    "%00",
    "%0a",
    "%0d%0a",
    "%20",
    "%09",
    "&",
    ":",
    "@",
    "*",
    "|",
    "\t",
    "\x00",
    "\x7f",
    "\xe9",
)
FORGED_VALUES = ("1", "2", "staff", "admin", "root@example.com", "true", "")


@dataclass
class Draft:
    """A request while it is made. `lines`: header lines of HTTP/1 that are no header of HTTP/2."""

    number: int
    random: Random
    method: str = "GET"
    path: str = "/"
    host: str = HOSTS[0]
    version: str = "1.1"
    form: str = "{path}"
    headers: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    hosts: list[str] | None = None
    body: bytes = b""
    tunnelled: bytes = b""
    tricks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attempt:
    """A request to send. `senders`: whose credentials it has; nobody's if it is empty."""

    number: int
    is_h2: bool
    raw: bytes
    tunnelled: bytes
    senders: frozenset[str]
    tricks: tuple[str, ...]


def attempt(seed: int, number: int, credentials: Mapping[str, Sequence[tuple[str, str]]]) -> Attempt:
    """The attempt with this number. `credentials`: by the name of each user, the headers of which each one signs him in."""
    random = Random(f"{seed}/{number}")
    draft = Draft(number, random, path=random.choice(AREAS), host=random.choices(HOSTS, (8, 2, 1))[0])
    draft.version = random.choices(("1.1", "1.0", "2"), (6, 1, 3))[0]
    draft.headers.append(("Accept", random.choice(("text/html,*/*;q=0.8", "*/*"))))
    if random.random() < 0.3:
        draft.headers.append(("Sec-Fetch-Mode", "navigate"))
    senders = set()
    for user in random.choice(([], [], *[[user] for user in credentials], [*credentials][:2] if random.random() < 0.2 else [])):
        senders.add(user)
        draft.headers.append(random.choice(credentials[user]))
    for trick in random.choices(TRICKS, k=random.choices((0, 1, 2, 3, 4), (1, 3, 3, 2, 1))[0]):
        trick(draft)
        draft.tricks.append(trick.__name__)
    raw = _as_h2(draft) if draft.version == "2" else _as_h1(draft)
    return Attempt(number, draft.version == "2", raw, draft.tunnelled, frozenset(senders), tuple(draft.tricks))


def _target(draft: Draft) -> str:
    return draft.form.format(path=draft.path, host=draft.host)


def _as_h1(draft: Draft) -> bytes:
    hosts = [draft.host] if draft.hosts is None else draft.hosts
    lines = [f"{draft.method} {_target(draft)} HTTP/{draft.version}", *(f"Host: {host}" for host in hosts)]
    lines += [f"{NUMBER}: {draft.number}", *(f"{name}: {value}" for name, value in draft.headers), *draft.lines]
    if draft.body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in draft.lines):
        lines.append(f"Content-Length: {len(draft.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + draft.body


def _as_h2(draft: Draft) -> bytes:
    pseudo = [(":method", draft.method), (":scheme", "http"), (":path", _target(draft)), (":authority", draft.host)]
    headers = [*pseudo, *(("host", host) for host in draft.hosts or []), (NUMBER, str(draft.number)), *draft.headers]
    sent = [(name if draft.random.random() < 0.02 else name.lower(), value) for name, value in headers]
    return h2([(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent], draft.body)


# The tricks.


def climbs(draft: Draft) -> None:
    """From one area into another: `/open/../denied/a`, spelled in some way."""
    random = draft.random
    start, to = random.choice(AREAS).removesuffix("/a"), random.choice(AREAS).removeprefix("/")
    steps = random.choice(SLASHES) + random.choice(DOTS) + random.choice(SLASHES)
    deeper = random.choice(("", "/x", "/x/y" + random.choice(SLASHES) + random.choice(DOTS)))
    draft.path = start + deeper + (steps if random.random() < 0.8 else steps * 2) + to


def begins_oddly(draft: Draft) -> None:
    draft.path = draft.random.choice((*SLASHES, "/.", "/x/..", "/;a=b", "//app.test", "/%2e", "")) + draft.path.removeprefix("/")


def is_cut(draft: Draft) -> None:
    """An application may cut a path where a rule does not."""
    start, to = draft.random.choice(AREAS), draft.random.choice(AREAS)
    draft.path = draft.random.choice((f"{start}{{}}{to}", f"{start}{{}}/..{to}", f"{start}/..{to}{{}}", f"{to}{{}}")).format(
        draft.random.choice(CUTS) + draft.random.choice(("", "a=b", "/../.."))
    )


def is_encoded(draft: Draft) -> None:
    """Percent-encode some characters, once or twice."""
    often = draft.random.choice((0.1, 0.5, 1))
    encode = draft.random.choice(("%{:02x}", "%{:02X}", "%25{:02x}", "%u00{:02x}"))
    keep = draft.path[:1] if draft.random.random() < 0.8 else ""
    rest = draft.path[len(keep) :]
    draft.path = keep + "".join(encode.format(ord(each)) if draft.random.random() < often else each for each in rest)


def is_in_another_case(draft: Draft) -> None:
    change = draft.random.choice((str.upper, str.title, str.swapcase))
    draft.path = "/".join(change(part) if draft.random.random() < 0.7 else part for part in draft.path.split("/"))


def has_an_odd_character(draft: Draft) -> None:
    at = draft.random.randrange(len(draft.path) + 1)
    draft.path = draft.path[:at] + draft.random.choice((*CUTS, *SLASHES, *DOTS)) + draft.path[at:]


def goes_to_stateroom(draft: Draft) -> None:
    """By a path that the proxy may send to Stateroom, and the application may read as its own."""
    own = draft.random.choice(
        ("/.stateroom", "/.stateroom/login", "/.STATEROOM", "/%2estateroom", "/.stateroom;x", "/auth/forward")
    )
    steps = draft.random.choice(SLASHES) + draft.random.choice(DOTS) + draft.random.choice(SLASHES)
    draft.path = own + steps * draft.random.choice((0, 1, 2)) + draft.random.choice(AREAS).removeprefix("/")


def has_an_absolute_target(draft: Draft) -> None:
    draft.form = draft.random.choice(
        ("http://{host}{path}", "HTTP://{host}{path}", "https://{host}{path}", "http://staff.test{path}", "http://unknown.test{path}",
         "http://{host}@staff.test{path}", "http://x@{host}{path}", "http://{host}:80{path}", "//{host}{path}", "http:{path}",
         "http:/{path}", "*", "{host}:80", "http://{host}?{path}", "http://{host}#{path}", "ftp://{host}{path}", "http://[::1]{path}",
         "http:////{path}", "{path} {path}", "{path}\t", " {path}", "http://{host}\\{path}"),
    )  # fmt: skip


def has_a_query(draft: Draft) -> None:
    draft.path += draft.random.choice(
        ("?", "?a=1,2", "??", "?/../../denied/a", "?x=%00", "?_method=DELETE", "?a=b#c", "?%0d%0aRemote-User:1")
    )


def has_odd_hosts(draft: Draft) -> None:
    random = draft.random
    odd = ("APP.test", "app.test.", "app.test:8000", "app.test:", "app.test..", "x@app.test", "app.test/x", "app.test#", "app.test?",
           "app.test,staff.test", "app.test staff.test", " app.test", "", "127.0.0.1", "staff.test", "unknown.test", "app.test\x00",
           "app.test/open/", "staff.test/../app.test", "[::1]", "app%2etest", "app_test", "app.test:80:80")  # fmt: skip
    draft.hosts = random.choices((*odd, *HOSTS), k=random.choices((0, 1, 2), (1, 4, 2))[0])
    if random.random() < 0.3:
        draft.host = random.choice(odd)


def has_an_odd_method(draft: Draft) -> None:
    draft.method = draft.random.choice(METHODS)
    if draft.random.random() < 0.3 and draft.method not in {"GET", "HEAD", "CONNECT"}:
        draft.body = b"x=1"


def overrides_the_method(draft: Draft) -> None:
    draft.headers.append((_spelled(draft.random, draft.random.choice(OVERRIDES)), draft.random.choice(METHODS)))
    if draft.random.random() < 0.5:
        draft.path = "/read/a"


def claims_another_address(draft: Draft) -> None:
    for _ in range(draft.random.choice((1, 1, 2, 4))):
        claimed = draft.random.choice(("{path}", "http://app.test{path}", "http://staff.test{path}")).format(
            path=draft.random.choice(AREAS)
        )
        draft.headers.append((_spelled(draft.random, draft.random.choice(ADDRESSES)), claimed))


def claims_another_host(draft: Draft) -> None:
    name = draft.random.choice(HOST_CLAIMS)
    host = draft.random.choice(HOSTS)
    draft.headers.append((_spelled(draft.random, name), f"host={host};proto=https" if name == "Forwarded" else host))


def claims_another_method(draft: Draft) -> None:
    draft.headers.append((draft.random.choice(("X-Original-Method", "X-Forwarded-Method")), draft.random.choice(METHODS)))


def claims_another_sender(draft: Draft) -> None:
    draft.headers.append((draft.random.choice(("X-Real-IP", "X-Forwarded-For", "X_Forwarded_For")), "127.0.0.1"))


def forges_an_identity(draft: Draft) -> None:
    for _ in range(draft.random.choice((1, 2, 3, 8))):
        draft.headers.append((_spelled(draft.random, draft.random.choice(IDENTITY)), draft.random.choice(FORGED_VALUES)))
    if draft.random.random() < 0.3:
        draft.random.shuffle(draft.headers)


def forges_on_an_odd_line(draft: Draft) -> None:
    """HTTP/2 has no lines. There, the value or the name has their end."""
    name = _spelled(draft.random, draft.random.choice(IDENTITY))
    draft.lines.append(
        draft.random.choice(
            (f"{name} : 1", f" {name}: 1", f"\t{name}: 1", f"X: a\n{name}: 1", f"X: a\r{name}: 1", f"X: a\x00\r\n{name}: 1", f"{name}\t: 1",
             f"{name}\x00: 1", f"{name}:\r\n 1", f"X: a\r\n {name}: 1", f"{name}", f"\x0b{name}: 1", f"X:\r\n{name}: 1", f": {name}: 1",
             f"X\r{name}: 1", f"{name}\xa0: 1", f"{name}:1\r\n\r\n{name}: 2")
        )
    )  # fmt: skip
    if draft.version == "2":
        draft.headers.append(
            draft.random.choice(
                (("x", f"a\r\n{name}: 1"), (f"x: a\r\n{name}", "1"), (f"{name} ", "1"), (f":{name}", "1"), ("x", f"a\n{name}: 1"))
            )
        )


def names_hops(draft: Draft) -> None:
    """Proxies remove the headers that `Connection` names (RFC 9110, section 7.6.1)."""
    named = draft.random.sample((*IDENTITY, "Cookie", "Authorization", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "Host",
                                 "X-Original-URL", "Content-Length", "X-Forwarded-For", "Connection", "TE", "close", "keep-alive"), k=3)  # fmt: skip
    draft.headers.append((draft.random.choice(("Connection", "Proxy-Connection", "Connection")), ", ".join(named)))


def upgrades(draft: Draft) -> None:
    """A tunnel to the application would pass by the rules."""
    draft.method = draft.random.choice(("GET", draft.method))
    tokens = draft.random.choice(
        (["h2c"], ["websocket"], ["websocket", "h2c"], ["h2c", "websocket"], ["websocket, h2c"], ["H2C"], ["h2c\t"])
    )
    draft.headers += [
        ("Connection", draft.random.choice(("Upgrade", "Upgrade, HTTP2-Settings", "upgrade, close"))),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ]
    draft.headers += [("Upgrade", token) for token in tokens]
    draft.headers += [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    draft.tunnelled = _smuggled(draft)


def smuggles(draft: Draft) -> None:
    """A second request, where proxy and application disagree about the end of the first one."""
    inner = _smuggled(draft)
    draft.method = draft.random.choice(("POST", "POST", "GET", "PUT"))
    length = f"Content-Length: {draft.random.choice((0, 3, len(inner) + 5, len(inner)))}"
    chunked = draft.random.choice(
        ("Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding:\tchunked",
         "Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked, identity", "Transfer_Encoding: chunked", "transfer-encoding: CHUNKED",
         "Transfer-Encoding: \x0bchunked", "X: x\nTransfer-Encoding: chunked", " Transfer-Encoding: chunked", 'Transfer-Encoding: "chunked"')
    )  # fmt: skip
    draft.lines += draft.random.choice(
        ([length, chunked], [chunked, length], [length], [chunked], [length, "Content-Length: 3"], ["Content-Length: +0"])
    )
    draft.body = draft.random.choice(
        (b"0\r\n\r\n" + inner, inner, b"3\r\nabc\r\n0\r\n\r\n" + inner, b"0;x\n\n" + inner, b"0\r\nRemote-User: 1\r\n\r\n" + inner)
    )
    if draft.version == "2":
        draft.headers += [("content-length", "0")] * draft.random.choice((0, 1)) + [
            ("transfer-encoding", "chunked")
        ] * draft.random.choice((0, 1))


def _smuggled(draft: Draft) -> bytes:
    to, host = draft.random.choice(AREAS), draft.random.choice(HOSTS[:2])
    return f"GET {to} HTTP/1.1\r\nHost: {host}\r\n{NUMBER}: {draft.number}\r\nRemote-User: 1\r\n\r\n".encode()


def _spelled(random: Random, name: str) -> str:
    """A header's name as a client may spell it."""
    if random.random() < 0.6:
        with_ = random.choice((FOLDED, "_", ".", "-"))
        name = "".join(random.choice(with_) if each == "-" else each for each in name)
    return random.choice((str, str.upper, str.lower, str.swapcase))(name)


Trick = Callable[[Draft], None]
TRICKS: Sequence[Trick] = (
    climbs, climbs, climbs, begins_oddly, is_cut, is_cut, is_encoded, is_in_another_case, has_an_odd_character, goes_to_stateroom,
    has_an_absolute_target, has_a_query, has_odd_hosts, has_an_odd_method, overrides_the_method, claims_another_address, claims_another_host,
    claims_another_method, claims_another_sender, forges_an_identity, forges_an_identity, forges_on_an_odd_line, names_hops, upgrades, smuggles,
)  # fmt: skip
