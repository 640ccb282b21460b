"""The cases for every proxy, in the words of the table in docs/forward-auth.md."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import jwt
from aiohttp import web

VISIT = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
PAGE = "/reports?a=1,2"
IDENTITY = ("remote-user", "remote-email", "remote-name", "remote-session-degraded")
PASSWORD = "correct horse"
NAME = "Ad\u00e4 100%"

# Header names that a client may send. Application servers that follow CGI (RFC 3875, section 4.1.18) read an underscore
# as a hyphen.
FORGED: Sequence[Sequence[tuple[str, str]]] = [
    [("Remote-User", "1"), ("Remote-Email", "root@example.com"), ("Remote-Name", "Root"), ("Remote-Session-Degraded", "false")],
    [("REMOTE-USER", "1"), ("rEMOTE-eMAIL", "root@example.com"), ("remote-name", "Root"), ("REMOTE-session-DEGRADED", "false")],
    [("Remote-User", "1"), ("Remote-User", "2"), ("remote-user", "3"), ("Remote-Email", "a"), ("Remote-Email", "b")],
    [("Remote_User", "1"), ("REMOTE_EMAIL", "root@example.com"), ("remote_name", "Root"), ("Remote_Session_Degraded", "false")],
    [("Remote_Session-Degraded", "false"), ("Remote-Session_Degraded", "false"), ("remote_USER", "1"), ("Remote_User", "2")],
    [("Remote-User", ""), ("Remote-Name", ""), ("Connection", "Remote-User, Remote-Email")],
]
# What an application's own clients may send: RFC 7617, an opaque and a structured bearer (RFC 6750), a Kerberos ticket (RFC 4559).
OWN = (
    f"Basic {b64encode(b'ada:open sesame').decode()}",
    "Bearer mF_9.B5f-4.1JqM",
    f"Bearer {jwt.encode({'sub': '1'}, 'secret' * 9, 'HS256', headers={'typ': 'at+jwt', 'kid': 'theirs'})}",
    f"Negotiate {b64encode(bytes(5_200)).decode()}",
    'Token a="{env.HOME}", b="%[env(HOME)]", c="$host", d="%REQ(host)%"',  # no proxy may take it for its own language
)
Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass
class Answer:
    """A client's answer. `told`: the request that the application got; None if it got none."""

    status: int
    headers: Any
    told: dict[str, Any] | None

    @property
    def identity(self) -> dict[str, list[str]]:
        """The identity headers that the application got, by the names that application servers give them."""
        assert self.told is not None, f"the application was not asked: {self.status}"
        found: dict[str, list[str]] = {}
        for name, value in self.told["headers"]:
            if name.lower().replace("_", "-") in IDENTITY:
                found.setdefault(name.lower().replace("_", "-"), []).append(unquote(value))
        return found


def cookie_of(answer: Answer) -> str:
    return str(answer.headers["Set-Cookie"].split(";")[0])


def authorization_of(answer: Answer) -> list[str]:
    """The `Authorization` headers that the application got."""
    assert answer.told is not None, f"the application was not asked: {answer.status}"
    return [value for name, value in answer.told["headers"] if name.lower() == "authorization"]


@dataclass
class Door:
    """One proxy in front of the application, and a user who uses it."""

    proxy: str
    url: str
    http: aiohttp.ClientSession
    user_id: str = ""
    cookie: str = ""

    @property
    def email(self) -> str:
        return f"{self.proxy.lower()}@example.com"

    async def ask(self, path: str = PAGE, method: str = "GET", body: Any = None, headers: Headers = ()) -> Answer:
        async with self.http.request(method, f"{self.url}{path}", json=body, headers=headers, allow_redirects=False) as answer:
            told = await answer.json() if "X-Application" in answer.headers and method != "HEAD" else None
            return Answer(answer.status, answer.headers, told)

    async def register(self) -> None:
        """Sign in, through the proxy."""
        answer = await self.ask("/api/auth/register", "POST", {"email": self.email, "password": PASSWORD, "name": NAME})
        assert answer.status == 201, answer
        self.cookie = cookie_of(answer)
        async with self.http.get(f"{self.url}/api/auth/check", headers={"Cookie": self.cookie}) as checked:
            self.user_id = str((await checked.json())["user_id"])

    async def sign_in(self) -> str:
        """Sign in at another device. Returns its cookie."""
        answer = await self.ask("/api/auth/login", "POST", {"email": self.email, "password": PASSWORD})
        assert answer.status == 200, answer
        return cookie_of(answer)

    async def credential(self, kind: str, sign_in: Mapping[str, str] | None = None) -> str:
        """A new one: `bearer` or `access token`."""
        sign_in = sign_in or {"email": self.email, "password": PASSWORD}
        path, body, member = {
            "bearer": ("login", {**sign_in, "transport": "bearer"}, "session_token"),
            "access token": ("token", sign_in, "access_token"),
        }[kind]
        async with self.http.post(f"{self.url}/api/auth/{path}", json=body) as answer:
            return str((await answer.json())[member])

    def outcome(self, answer: Answer) -> str:
        """The outcome of a request, in a word or two."""
        if answer.told is not None:
            identity = {"remote-user": [self.user_id], "remote-email": [self.email], "remote-name": [NAME]}
            for degraded, word in (("false", "passes"), ("true", "passes, marked")):
                if answer.identity == {**identity, "remote-session-degraded": [degraded]}:
                    return word
            return f"passes as {answer.identity}"
        if answer.status == 302:
            location = urlsplit(answer.headers["Location"])
            is_ours = location.path == "/login" and parse_qs(location.query) == {"rd": [PAGE]}
            is_ours &= f"{location.scheme}://{location.netloc}" in {"://", self.url}
            return "302 to the sign-in" if is_ours else f"302 to {answer.headers['Location']}"
        is_cleared = "Max-Age=0" in answer.headers.get("Set-Cookie", "")
        wait = ", Retry-After" if "Retry-After" in answer.headers else ""
        return f"{answer.status}{wait}{', the cookie cleared' if is_cleared else ''}"


async def echo(request: web.Request) -> web.StreamResponse:
    """The application: it answers with the request that it got, or sends every WebSocket message back twice."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.headers['Remote-User']}: {message.data}")
        return socket
    told = {
        "method": request.method,
        "headers": list(request.headers.items()),
        "body": await request.text(),
        "path": request.path_qs,
    }
    return web.json_response(told, headers={"X-Application": "yes", "Set-Cookie": "theme=light; Path=/"})


async def signed_in(door: Door) -> str:
    answer = await door.ask(headers=VISIT | {"Cookie": f"theme=dark; {door.cookie}"})
    assert answer.told is not None, answer
    assert (answer.told["method"], answer.told["path"]) == ("GET", PAGE)
    assert "theme=light; Path=/" in answer.headers.getall("Set-Cookie")
    return door.outcome(answer)


async def visits_a_page(door: Door) -> str:
    return door.outcome(await door.ask(headers=VISIT))


async def asks_by_script(door: Door) -> str:
    outcomes = {
        door.outcome(await door.ask(headers=FETCH)),
        door.outcome(await door.ask(headers={"Accept": "application/json"})),
        door.outcome(await door.ask("/x", "POST", {"x": 1}, headers=FETCH)),
        door.outcome(await door.ask("/x", "POST", {"x": 1}, headers=VISIT)),
    }
    return " or ".join(sorted(outcomes))


async def signed_out(door: Door) -> str:
    """Sign out by a call, and by a form on a page of the application."""
    called, sent = await door.sign_in(), await door.sign_in()
    assert (await door.ask("/api/auth/logout", "POST", headers={"Cookie": called})).status == 200
    browser = {"Origin": door.url, "Sec-Fetch-Site": "same-origin", "Cookie": sent}
    async with door.http.post(f"{door.url}/account/sign-out", data={}, headers=browser, allow_redirects=False) as answer:
        assert answer.headers["Location"].startswith("/login"), answer
    outcomes = {door.outcome(await door.ask(headers=FETCH | {"Cookie": cookie})) for cookie in (called, sent)}
    return " or ".join(sorted(outcomes))


async def revoked(door: Door) -> str:
    """Sign out from another device."""
    cookie = await door.sign_in()
    assert (await door.ask(headers={"Cookie": cookie})).told is not None
    door.cookie = await door.sign_in()
    answer = await door.ask("/api/sessions", "DELETE", headers={"Cookie": door.cookie})
    assert answer.status == 200, answer
    door.cookie = cookie_of(answer)
    return door.outcome(await door.ask(headers=FETCH | {"Cookie": cookie}))


async def two_cookies(door: Door) -> str:
    """A browser may keep it at two paths. Cookies of two users are in tests/request/test_doubled_cookies.py."""
    return door.outcome(await door.ask(headers=FETCH | {"Cookie": f"{door.cookie}; {door.cookie}"}))


async def forges(door: Door) -> str:
    """A client sends identity headers. If it is signed in the proxy overwrites them; if not, the proxy stops the request."""
    outcomes = set()
    for forged in FORGED:
        outcomes.add(door.outcome(await door.ask(headers=[*forged, *FETCH.items(), ("Cookie", door.cookie)])))
        answer = await door.ask(headers=[*forged, *FETCH.items()])
        assert (answer.status, answer.told) == (401, None), answer
    return "overwritten" if outcomes == {"passes"} else " or ".join(sorted(outcomes))


async def looks_for_our_cookie(door: Door) -> str:
    mine = door.cookie
    for sent in (f"theme=dark; {mine}; other=1", f"{mine}; theme=dark; other=1", f"theme=dark; other=1;{mine}"):
        answer = await door.ask(headers={"Cookie": sent})
        assert answer.told is not None, answer
        if [value for name, value in answer.told["headers"] if name.lower() == "cookie"] != ["theme=dark; other=1"]:
            return f"seen: {answer.told['headers']}"
    answer = await door.ask(headers={"Cookie": mine})
    assert answer.told is not None, answer
    return "not seen" if "session_id" not in str(answer.told) else f"seen: {answer.told['headers']}"


async def shows_our_bearer(door: Door) -> str:
    return await _shows_ours(door, await door.credential("bearer"))


async def shows_our_access_token(door: Door) -> str:
    return await _shows_ours(door, await door.credential("access token"))


async def shows_our_cookie_as_a_bearer(door: Door) -> str:
    """It opens nothing there. The request passes by the cookie."""
    return await _shows_ours(door, door.cookie.partition("=")[2], opens=False)


async def _shows_ours(door: Door, value: str, *, opens: bool = True) -> str:
    """Send the value in `Authorization`. The application must get the request, without the value."""
    ours, own, cookie = ("Authorization", f"Bearer {value}"), ("AUTHORIZATION", OWN[0]), ("Cookie", door.cookie)
    passing: list[list[tuple[str, str]]] = [[ours, cookie], [("authorization", f"bearer  {value}"), cookie]]
    if opens:
        passing += [[ours], [ours, ("Cookie", "theme=dark")]]
    for headers in passing:
        answer = await door.ask(headers=[*FETCH.items(), *headers])
        if door.outcome(answer) != "passes" or authorization_of(answer) not in ([], [""]):
            return f"seen, or refused: {door.outcome(answer)} {answer.told}"
    hop = ("Connection", "close, Authorization")
    for headers in ([own, ours, cookie], [ours, own, cookie], [ours, ours, cookie], [ours, hop, cookie], [own, ours, hop, cookie]):
        answer = await door.ask(headers=[*FETCH.items(), *headers])  # Some proxies refuse two.
        if value in str(answer.told):
            return f"seen: {answer.told}"
    return "not seen"


async def shows_its_own_authorization(door: Door) -> str:
    """What is as long as proxies and applications usually take still passes, beside cookies of that length."""
    for cookies in (door.cookie, f"theme={'d' * 7_000}; {door.cookie}"):
        for value in OWN:
            answer = await door.ask(headers={"Authorization": value, "Cookie": cookies})
            if door.outcome(answer) != "passes" or authorization_of(answer) != [value]:
                return f"not passed on: {door.outcome(answer)} {answer.told}"
    answer = await door.ask(headers={"Cookie": door.cookie})
    return "passed on" if authorization_of(answer) in ([], [""]) else f"made up: {answer.told}"


async def is_renewed(door: Door) -> str:
    """In this test the service renews at each request."""
    answer = await door.ask(headers={"Cookie": door.cookie})
    renewed = [each for each in answer.headers.getall("Set-Cookie") if each.startswith("session_id=")]
    if not renewed:
        return "not passed on"
    assert door.outcome(await door.ask(headers={"Cookie": renewed[0].split(";")[0]})) == "passes"
    return "passed on"


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


async def reads_the_docs(door: Door) -> str:
    """The sign-in page and its files are fetched without a request to the application."""
    async with door.http.get(f"{door.url}/docs") as response:
        shown = await response.text()
    for path in {"/api/openapi.json", *re.findall(r'(?:src|href)="(.*?)"', shown)}:
        answer = await door.ask(path)
        if answer.status != 200 or answer.told is not None:
            return f"{path}: {door.outcome(answer)}"
    return "shown"


Case: TypeAlias = Callable[[Door], Awaitable[str]]
WELL: dict[str, Case] = {
    "signed in": signed_in,
    "signed out, a page is visited": visits_a_page,
    "signed out, anything else": asks_by_script,
    "after a sign-out, the old cookie is sent again": signed_out,
    "revoked from another device": revoked,
    "the session cookie is sent twice": two_cookies,
    "the client sends the four `Remote-…` headers itself": forges,
    "the session cookie, seen by the application": looks_for_our_cookie,
    "a session token of Stateroom, seen by the application": shows_our_bearer,
    "an access token of Stateroom, seen by the application": shows_our_access_token,
    "the session cookie's value as a bearer, seen by the application": shows_our_cookie_as_a_bearer,
    "the application's own `Authorization`": shows_its_own_authorization,
    "a renewed cookie": is_renewed,
    "POST with a body": sends_a_body,
    "WebSocket": opens_a_websocket,
    "`/docs`": reads_the_docs,
}


async def with_a_cookie(door: Door) -> str:
    return door.outcome(await door.ask(headers=VISIT | {"Cookie": door.cookie}))
