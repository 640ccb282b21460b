"""What a proxy makes of a request: its method, its path, its size, its protocol, and the headers that say so."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict

from ..conftest import require_tool
from .bypass.raw import h2, send
from .cases import FETCH, PAGE, PASSWORD, VISIT, Answer, Door, folded

OF_THE_APPLICATION = (
    "/", "/login", "/LOGIN", "/loginhistory", "/accounts", "/account", "/register", "/static/app.css", "/docs", "/docs-internal",
    "/api/auth/login", "/api/sessions", "/api/openapi.json", "/auth/forward", "/auth/request", "/stateroom/login", "/.stateroomx",
    "/.STATEROOM/login", "/x/.stateroom/login", "/.well-known/jwks.json", "/metrics", "/readyz",
)  # fmt: skip
OVERRIDES = (
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override", "X-Original-Method", "X-Original-URL",
    "X-Rewrite-URL", "X-Forwarded-Prefix",
)  # fmt: skip
ODD_OVERRIDES = (
    "X_HTTP_METHOD_OVERRIDE",
    "X.HTTP.Method",
    "X_Method-Override",
    "X_Original_URL",
    "X_Rewrite_URL",
    "X.Original.URL",
)
"""Headers by which frameworks take another method or path than those of the request."""

CLAIMS = {
    "X-Original-URL": "http://evil.example/open/x", "X-Original-Method": "OPTIONS", "X-Forwarded-Method": "OPTIONS",
    "X-Forwarded-Uri": "/open/x", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.7",
    "Forwarded": "for=192.0.2.7;host=evil.example;proto=https",
}  # fmt: skip
"""What a client claims of its request. A proxy sets these headers itself, or removes them."""


async def sends_a_body(door: Door) -> str:
    answer = await door.ask("/x", "POST", {"value": "y" * 50_000}, headers=FETCH | {"Cookie": door.cookie})
    assert answer.told is not None, answer
    assert (answer.told["method"], len(answer.told["body"])) == ("POST", 50_013)
    assert (await door.ask("/x", "HEAD", headers={"Cookie": door.cookie})).headers["X-Application"] == "yes"
    return door.outcome(answer)


async def opens_a_websocket(door: Door) -> str:
    async with door.http.ws_connect(f"{door.url}/ws", headers={"Cookie": door.cookie}) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == f"{door.user_id}: hello"
    try:
        async with door.http.ws_connect(f"{door.url}/ws"):
            return "passes, for anybody"
    except aiohttp.WSServerHandshakeError as refusal:
        return "passes" if refusal.status == 401 else f"passes, and {refusal.status} for others"


async def asks_for_paths_of_the_application(door: Door) -> str:
    """The application's own paths that look like Stateroom's."""
    for path in OF_THE_APPLICATION:
        answer = await door.ask(path, headers=VISIT | {"Cookie": door.cookie})
        if door.outcome(answer) != "passes" or answer.told is None or answer.told["path"] != path:
            return f"{path}: {door.outcome(answer)} {answer.told}"
    return "passes"


async def reads_the_docs(door: Door) -> str:
    """The pages and their files are fetched without a request to the application."""
    shown = await door.own("/docs")
    assert shown.told is None
    links = [urljoin("/.stateroom/docs", link) for link in re.findall(r'(?:src|href)="(.*?)"', shown.text)]
    for path in {"/.stateroom/api/openapi.json", *links}:
        answer = await door.ask(path)
        if answer.status != 200 or answer.told is not None:
            return f"{path}: {door.outcome(answer)}"
    hidden = {path: (await door.own(path)).status for path in ("/auth/forward", "/auth/request", "/metrics", "/readyz", "/ask")}
    return "shown" if set(hidden.values()) == {404} else f"shown, also {hidden}"


async def names_another_method_or_path(door: Door) -> str:
    """A request with an odd spelling of such a name may be refused."""
    for names in (OVERRIDES, *([name] for name in ODD_OVERRIDES)):
        headers = [(name, "DELETE" if "ethod" in name.lower() else "/closed/x") for name in names]
        answer = await door.ask("/x", "POST", {"x": 1}, headers=[*headers, *FETCH.items(), ("Cookie", door.cookie)])
        if names is not OVERRIDES and answer.status in {400, 403}:
            continue
        assert answer.told is not None, answer
        assert (answer.told["method"], answer.told["path"], door.outcome(answer)) == ("POST", "/x", "passes")
        sent = {folded(name) for name in names}
        if seen := [name for name, value in answer.told["headers"] if folded(name) in sent and value not in {"POST", "/x", ""}]:
            return f"{seen} seen"
    return "not seen"


async def claims_another_request(door: Door) -> str:
    """The rules, the redirects and the check of forms go by the request itself."""
    assert door.outcome(await door.ask(headers=VISIT | CLAIMS)) == "302 to the sign-in"
    assert (await door.ask("/closed/x", headers=FETCH | CLAIMS)).status == 401
    denied = await door.ask("/closed/x", headers=FETCH | CLAIMS | {"Cookie": door.cookie})
    assert (denied.status, denied.told) == (403, None), denied
    page = await door.own("/login", headers=VISIT | CLAIMS)
    assert page.status == 200, page
    sign_in = {"email": door.email, "password": PASSWORD}
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await door.own("/api/auth/login", "POST", sign_in, headers=FETCH | CLAIMS | foreign)).status == 403
    answer = await door.ask(headers=FETCH | CLAIMS | {"Cookie": door.cookie})
    assert answer.told is not None, answer
    told = f"{page.text} {page.headers} {denied.text} {answer.told}"
    claimed = [each for each in ("evil", "192.0.2.7", "/open/x") if each in told]
    return f"{claimed} believed" if claimed else "ignored"


async def sends_large_headers(door: Door) -> str:
    """More than Stateroom reads is refused, and nobody counts as signed out."""
    for length in (9_000, 12_000):
        answer = await door.ask(headers=FETCH | {"Cookie": f"theme={'d' * length}; {door.cookie}"})
        assert door.outcome(answer) == "passes", f"{length}: {door.outcome(answer)} {answer.text[:200]}"
    answer = await door.ask(headers=VISIT | {"Cookie": f"theme={'d' * 20_000}; {door.cookie}"})
    assert "Set-Cookie" not in answer.headers, answer
    return door.outcome(answer)


async def visits_over_http_2(door: Door) -> str:
    """Without TLS, with prior knowledge (RFC 9113, section 3.3)."""
    visit = [word for name, value in VISIT.items() for word in ("--header", f"{name}: {value}")]
    answer = await _curl(door, PAGE, "--http2-prior-knowledge", *visit)
    assert (await _curl(door, PAGE, "--http2-prior-knowledge", "--header", f"Cookie: {door.cookie}")).status == 200
    return door.outcome(answer)


async def _curl(door: Door, path: str, *words: str) -> Answer:
    process = await asyncio.create_subprocess_exec(
        require_tool("curl"), "-sS", "--dump-header", "-", *words, f"{door.url}{path}", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"curl ended with {process.returncode}"
    head, _, text = output.decode().partition("\r\n\r\n")
    return _parsed(path, head, text)


async def asks_with_http_1_0(door: Door) -> str:
    """Without `Host`, so that nobody knows which application is meant. No redirect leads to an address of ours."""
    port = urlsplit(door.url).port
    outcomes = set()
    for path in (PAGE, "/.stateroom/login", "/.stateroom/logout"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nAccept: text/html\r\nCookie: {door.cookie}\r\n\r\n".encode())
            head, _, text = (await reader.read()).decode(errors="replace").partition("\r\n\r\n")
        finally:
            writer.close()
        answer = _parsed(path, head, text)
        assert "X-Application" not in answer.headers, answer
        location = answer.headers.get("Location", "")
        assert not urlsplit(location).netloc, location
        assert parse_qs(urlsplit(location).query).get("rd", ["/"])[0].startswith("/"), location
        if path == PAGE:
            outcomes.add("stopped" if answer.status < 500 else f"{answer.status}")
    return " or ".join(sorted(outcomes))


async def names_another_host(door: Door) -> str:
    """As a signed-in user, in every way in which a request names its host. Stateroom's pages are not there for others either."""
    port = urlsplit(door.url).port or 0
    outcomes = set()
    for path in (PAGE, "/.stateroom/login"):
        for host in ("other.example.com", "other.example.com:8000", "OTHER.example.com.", "127.0.0.1.example.com", "x127.0.0.1"):
            by_host, by_target = f"GET {path} HTTP/1.1\r\nHost: {host}", f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}"
            statuses = {await _status(door, f"{lines}\r\nCookie: {door.cookie}\r\n\r\n") for lines in (by_host, by_target)}
            pseudo = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", host), ("cookie", door.cookie)]
            statuses.add(await send(port, h2([(name.encode(), value.encode()) for name, value in pseudo]), is_h2=True))
            outcomes |= {str(status) for status in statuses}
    for own in (f"127.0.0.1:{port}", "127.0.0.1", f"LOCALHOST:{port}"):
        lines = f"GET {PAGE} HTTP/1.1\r\nHost: {own}\r\nCookie: {door.cookie}\r\n\r\n"
        assert await _status(door, lines) == (200 if "127" in own else 403), own  # The rules do not name localhost.
    return " or ".join(sorted(outcomes))


async def _status(door: Door, lines: str) -> int:
    return await send(urlsplit(door.url).port or 0, lines.encode(), is_h2=False)


def _parsed(path: str, head: str, text: str) -> Answer:
    first, *lines = head.split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    return Answer(path, int(first.split()[1]), headers, {} if "X-Application" in headers else None, text)
