"""One proxy in front of the application: what a client asks there, and the outcome in the words of docs/forward-auth.md."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import jwt
from aiohttp import web
from yarl import URL

VISIT = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
PAGE = "/reports?a=1,2"
IDENTITY = ("remote-user", "remote-email", "remote-name", "remote-groups", "remote-session-degraded", "remote-assertion")
PASSWORD = "correct horse"
NAME = "Ad\u00e4 100%"
GROUPS = ("editors", "staff")
COOKIE = "sid"
"""The name of the session cookie: a custom one (`SESSION_NAME`)."""
NOBODY = {"remote-session-degraded": ["false"]}
CACHEABLE = {"Cache-Control": "public, max-age=60", "Expires": "Thu, 01 Jan 2099 00:00:00 GMT", "CDN-Cache-Control": "max-age=60"}
Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]


def folded(name: str) -> str:
    """A header's name as application servers with CGI-style variables read it (RFC 3875, section 4.1.18)."""
    return re.sub(r"[^a-z0-9]", "-", name.lower())


@dataclass
class Answer:
    """A client's answer to a request for the path `asked`. `told`: the request that the application got; None if it got none."""

    asked: str
    status: int
    headers: Any
    told: dict[str, Any] | None
    text: str

    @property
    def identity(self) -> dict[str, list[str]]:
        """The identity headers that the application got, by the names that application servers give them. Empty ones are absent."""
        assert self.told is not None, f"the application was not asked: {self.status}"
        found: dict[str, list[str]] = {}
        for name, value in self.told["headers"]:
            if folded(name) in IDENTITY and value:
                found.setdefault(folded(name), []).append(unquote(value))
        return found


def sent_to_app(answer: Answer, name: str) -> list[str]:
    """The values of a header that the application got, in any spelling."""
    assert answer.told is not None, f"the application was not asked: {answer.status}"
    return [value for each, value in answer.told["headers"] if folded(each) == name]


def cookie_of(answer: Answer) -> str:
    return str(answer.headers["Set-Cookie"].split(";")[0])


@dataclass
class Door:
    """One proxy in front of the application, and a user who uses it."""

    proxy: str
    url: str
    http: aiohttp.ClientSession
    user_id: str = ""
    cookie: str = ""
    groups: Sequence[str] = ()

    @property
    def email(self) -> str:
        return f"{self.proxy.lower()}@example.com"

    async def ask(self, path: str = PAGE, method: str = "GET", body: Any = None, headers: Headers = ()) -> Answer:
        url = URL(f"{self.url}{path}", encoded=True)
        async with self.http.request(method, url, json=body, headers=headers, allow_redirects=False) as answer:
            told = await answer.json() if "X-Application" in answer.headers and method != "HEAD" else None
            return Answer(path, answer.status, answer.headers, told, await answer.text(errors="replace"))

    async def own(self, path: str, method: str = "GET", body: Any = None, headers: Headers = ()) -> Answer:
        """Ask for a path of Stateroom."""
        return await self.ask(f"/.stateroom{path}", method, body, headers)

    async def register(self) -> None:
        """Sign in, through the proxy."""
        answer = await self.own("/api/auth/register", "POST", {"email": self.email, "password": PASSWORD, "name": NAME})
        assert answer.status == 201, answer
        self.cookie = cookie_of(answer)
        async with self.http.get(f"{self.url}/.stateroom/api/auth/check", headers={"Cookie": self.cookie}) as checked:
            self.user_id = str((await checked.json())["user_id"])

    async def sign_in(self) -> str:
        """Sign in at another device. Returns its cookie."""
        answer = await self.own("/api/auth/login", "POST", {"email": self.email, "password": PASSWORD})
        assert answer.status == 200, answer
        return cookie_of(answer)

    async def credential(self, kind: str, sign_in: Mapping[str, str] | None = None) -> str:
        """A new one: `bearer` or `access token`."""
        sign_in = sign_in or {"email": self.email, "password": PASSWORD}
        path, body, member = {
            "bearer": ("login", {**sign_in, "transport": "bearer"}, "session_token"),
            "access token": ("token", sign_in, "access_token"),
        }[kind]
        async with self.http.post(f"{self.url}/.stateroom/api/auth/{path}", json=body) as answer:
            return str((await answer.json())[member])

    def outcome(self, answer: Answer) -> str:
        """The outcome of a request, in a word or two."""
        if answer.told is not None:
            return self._passed(answer)
        wait = ", Retry-After" if "Retry-After" in answer.headers else ""
        is_cleared = "Max-Age=0" in answer.headers.get("Set-Cookie", "")
        return f"{answer.status}{self._location(answer)}{wait}{', the cookie cleared' if is_cleared else ''}"

    def _passed(self, answer: Answer) -> str:
        identity = answer.identity
        if identity in ({}, NOBODY):
            return "passes as nobody"
        assertions = identity.pop("remote-assertion", [])
        told = {"remote-user": [self.user_id], "remote-email": [self.email], "remote-name": [NAME]}
        if self.groups:
            told["remote-groups"] = [",".join(self.groups)]
        subjects = [jwt.decode(each, options={"verify_signature": False})["sub"] for each in assertions]
        for degraded, word in (("false", "passes"), ("true", "passes, marked")):
            if identity == {**told, "remote-session-degraded": [degraded]} and subjects == [self.user_id]:
                return word
        return f"passes as {answer.identity}"

    def _location(self, answer: Answer) -> str:
        """Where a redirect leads, if it leads back to the page that was asked for."""
        if "Location" not in answer.headers:
            return ""
        location = urlsplit(answer.headers["Location"])
        is_here = f"{location.scheme}://{location.netloc}" in {"://", self.url}
        query = parse_qs(location.query)
        for path, word in (("/.stateroom/login", "the sign-in"), ("/.stateroom/confirm", "the password")):
            if is_here and location.path == path and query.get("rd") == [answer.asked]:
                return f" to {word}"
        return f" to {answer.headers['Location']}"


async def echo(request: web.Request) -> web.StreamResponse:
    """The application: it answers with the request that it got, or sends every WebSocket message back twice.

    `/cacheable/STATUS` has this status and may be stored by any cache.
    """
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
    headers = {"X-Application": "yes", "Set-Cookie": "theme=light; Path=/"}
    cacheable = re.fullmatch(r"/cacheable/(\d+)", request.path)
    if cacheable is None:
        return web.json_response(told, headers=headers)
    status = int(cacheable[1])
    if status == 304:
        return web.Response(status=304, headers=CACHEABLE)
    return web.json_response(told, status=status, headers={"X-Application": "yes"} | CACHEABLE)


Case: TypeAlias = Callable[[Door], Awaitable[str]]
