"""What a client can do with the headers and the body of a request."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .draft import AREAS, HOSTS, Draft, Trick
from .plain import NUMBER
from .tricks_of_paths import METHODS

IDENTITY = ("Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "Remote-Session-Degraded", "Remote-Assertion")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
ADDRESSES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Path")
HOST_CLAIMS = ("X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded", "X-Forwarded-Server")
SEPARATORS = "-_.~!#$%&'*+^`|"
"""The characters of a header's name (RFC 9110, section 5.6.2) that some server reads as a hyphen."""
FORGED_VALUES = ("1", "2", "staff", "admin", "root@example.com", "true", "")
HOPS = (
    *IDENTITY, "Cookie", "Authorization", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "Host", "X-Original-URL",
    "Content-Length", "X-Forwarded-For", "Connection", "TE", "close", "keep-alive",
)  # fmt: skip
UPGRADES = (
    ["h2c"], ["websocket"], ["websocket", "h2c"], ["h2c", "websocket"], ["websocket, h2c"], ["H2C"], ["h2c\t"],
)  # fmt: skip
CHUNKED = (
    "Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked, identity", "Transfer_Encoding: chunked",
    "transfer-encoding: CHUNKED", "Transfer-Encoding: \x0bchunked", "X: x\nTransfer-Encoding: chunked",
    " Transfer-Encoding: chunked", 'Transfer-Encoding: "chunked"',
)  # fmt: skip
MISPLACES = (
    "Cookie: other=", "Cookie: Session_id=", "Cookie: a=b,session_id=", "X-Api-Key: ", "Proxy-Authorization: ",
    "Authentication: ", "Sec-WebSocket-Protocol: ", "Referer: ", "X_Session: ", "?token=", "/", ";jsessionid=",
)  # fmt: skip


def overrides_the_method(draft: Draft) -> None:
    draft.headers.append((_spelled(draft.random, draft.random.choice(OVERRIDES)), draft.random.choice(METHODS)))
    if draft.random.random() < 0.5:
        draft.path = "/read/a"


def claims_another_address(draft: Draft) -> None:
    choice = draft.random.choice
    for _ in range(choice((1, 1, 2, 4))):
        draft.headers.append(
            (_spelled(draft.random, choice(ADDRESSES)), choice(("", "http://app.test", "http://staff.test")) + choice(AREAS))
        )


def claims_another_host(draft: Draft) -> None:
    name, host = draft.random.choice(HOST_CLAIMS), draft.random.choice(HOSTS)
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
    """HTTP/2 has no lines. There, the value or the name contains the end of one."""
    name = _spelled(draft.random, draft.random.choice(IDENTITY))
    if draft.version == "2":
        headers = ("x", f"a\r\n{name}: 1"), ("x", f"a\n{name}: 1"), (f"x: a\r\n{name}", "1"), (f"{name} ", "1"), (f":{name}", "1")
        draft.headers.append(draft.random.choice(headers))
        return
    lines = (
        f"{name} : 1", f" {name}: 1", f"\t{name}: 1", f"X: a\n{name}: 1", f"X: a\r{name}: 1", f"X: a\x00\r\n{name}: 1",
        f"{name}\t: 1", f"{name}\x00: 1", f"{name}:\r\n 1", f"X: a\r\n {name}: 1", f"{name}", f"\x0b{name}: 1", f"X:\r\n{name}: 1",
        f": {name}: 1", f"X\r{name}: 1", f"{name}\xa0: 1", f"{name}:1\r\n\r\n{name}: 2",
    )  # fmt: skip
    draft.lines.append(draft.random.choice(lines))


def misplaces_a_credential(draft: Draft) -> None:
    """The sender's credential where nobody looks for it. The application must not get it there either."""
    name, colon, before = draft.random.choice(MISPLACES).partition(": ")
    if colon and draft.credential:
        draft.headers.append((name, before + draft.credential))
    elif draft.credential:
        draft.path += name + draft.credential


def names_hops(draft: Draft) -> None:
    """Proxies remove the headers that `Connection` names (RFC 9110, section 7.6.1)."""
    name = draft.random.choice(("Connection", "Proxy-Connection", "Connection"))
    draft.headers.append((name, ", ".join(draft.random.sample(HOPS, k=3))))


def upgrades(draft: Draft) -> None:
    """A tunnel to the application would pass by the rules."""
    draft.method = draft.random.choice(("GET", draft.method))
    draft.headers.append(("Connection", draft.random.choice(("Upgrade", "Upgrade, HTTP2-Settings", "upgrade, close"))))
    draft.headers += [("Upgrade", token) for token in draft.random.choice(UPGRADES)]
    draft.headers += [("HTTP2-Settings", "AAMAAABkAAQAAP__"), ("Sec-WebSocket-Version", "13")]
    draft.headers.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    draft.tunnelled = _smuggled(draft)


def smuggles(draft: Draft) -> None:
    """A second request, where the proxy and the application may disagree about the end of the first one."""
    choice, inner = draft.random.choice, _smuggled(draft)
    draft.method = choice(("POST", "POST", "GET", "PUT"))
    length, chunked = f"Content-Length: {choice((0, 3, len(inner) + 5, len(inner)))}", choice(CHUNKED)
    draft.lines += choice(
        ([length, chunked], [chunked, length], [length], [chunked], [length, "Content-Length: 3"], ["Content-Length: +0"])
    )
    draft.body = choice((b"0\r\n\r\n", b"", b"3\r\nabc\r\n0\r\n\r\n", b"0;x\n\n", b"0\r\nRemote-User: 1\r\n\r\n")) + inner
    if draft.version == "2":
        draft.headers += choice(([("content-length", "0")], [("transfer-encoding", "chunked")], []))


def _smuggled(draft: Draft) -> bytes:
    to, host = draft.random.choice(AREAS), draft.random.choice(HOSTS[:2])
    return f"GET {to} HTTP/1.1\r\nHost: {host}\r\n{NUMBER}: {draft.number}\r\nRemote-User: 1\r\n\r\n".encode()


def _spelled(random: Random, name: str) -> str:
    """A header's name as a client may spell it."""
    if random.random() < 0.6:
        separators = random.choice((SEPARATORS, "_", ".", "-"))
        name = "".join(random.choice(separators) if each == "-" else each for each in name)
    return random.choice((str, str.upper, str.lower, str.swapcase))(name)


TRICKS: Sequence[Trick] = (
    overrides_the_method, claims_another_address, claims_another_host, claims_another_method, claims_another_sender,
    forges_an_identity, forges_an_identity, forges_on_an_odd_line, misplaces_a_credential, names_hops, upgrades, smuggles,
)  # fmt: skip
