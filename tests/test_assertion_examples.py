"""The verifiers of docs/assertion.md, unchanged, against real assertions and against tokens that they must refuse."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stateroom
from stateroom import SESSIONS, testing
from stateroom.accounts.access import Person
from stateroom.accounts.assertions import ASSERTION_TYPE, Assertions
from stateroom.sessions.sealing.token_keys import TokenKey, new_token_key
from stateroom.settings import decode_jwt_key

from .conftest import require_tool
from .documents import examples

PAGE, AUDIENCE = "assertion.md", "https://wiki.example.com"
SECRET = new_token_key()
KEY, FOREIGN = (TokenKey(decode_jwt_key(each)) for each in (SECRET, new_token_key()))
BUILD_SECONDS = 300.0
"""To build the example of Go compiles Go's own libraries too if no earlier build has."""


class Issuer:
    """An application with sessions that publishes its keys. `good`: an assertion of its user 42."""

    def __init__(self, base: str, good: str, access_token: str) -> None:
        self.base = base
        self.good = good
        self.access_token = access_token

    def signed(self, *, key: TokenKey = KEY, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token as the good one, but for these members of its header and these claims (None: without it)."""
        changed = jwt.decode(self.good, options={"verify_signature": False}) | claims
        kept = {name: value for name, value in changed.items() if value is not None}
        return jwt.encode(kept, key.private, "EdDSA", headers={"typ": ASSERTION_TYPE, "kid": KEY.id} | (head or {}))


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async def keys(request: web.Request) -> web.Response:
        return web.json_response(request.app[SESSIONS].public_token_keys())

    app = web.Application()
    settings = testing.settings(jwt_keys=SECRET)
    stateroom.setup(app, settings, client_factory=testing.fake_redis)
    app.router.add_get("/.well-known/jwks.json", keys)
    server = TestServer(app)
    await server.start_server()
    try:
        manager = app[SESSIONS]
        session = await manager.create(42)
        person = Person(42, "ada@example.com", frozenset({"staff", "admin"}))
        good = Assertions(settings, manager.clock, lambda: (KEY,)).mint(session, AUDIENCE, person, name="Ada Łovelace")
        yield Issuer(str(server.make_url("")).rstrip("/"), good, manager.mint_access_token(session)[0])
    finally:
        await server.close()


async def python(folder: Path) -> list[str]:
    [code] = examples(PAGE, "python")
    (folder / "verify.py").write_text(code, encoding="utf-8")
    return [sys.executable, "verify.py"]


async def node(folder: Path) -> list[str]:
    [code] = examples(PAGE, "js")
    (folder / "verify.mjs").write_text(code, encoding="utf-8")
    return [require_tool("node"), "verify.mjs"]


async def go(folder: Path) -> list[str]:
    [code] = examples(PAGE, "go")
    (folder / "verify.go").write_text(code, encoding="utf-8")
    words = [require_tool("go"), "build", "-o", "verify", "verify.go"]
    async with asyncio.timeout(BUILD_SECONDS):
        status, said = await run(words, folder, {"GOFLAGS": "-mod=mod", "GO111MODULE": "off", "CGO_ENABLED": "0"})
    assert status == 0, said
    return ["./verify"]


async def run(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return await process.wait(), said.decode()


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def refused(issuer: Issuer) -> dict[str, str]:
    """Tokens that no verifier may accept, by what is wrong with them."""
    head, body, signature = issuer.good.split(".")
    claims, now = jwt.decode(issuer.good, options={"verify_signature": False}), int(time.time())
    public = KEY.jwk["x"]
    return {
        "an access token": issuer.access_token,
        "the typ of an access token": issuer.signed(head={"typ": "at+jwt"}),
        "the typ of any token": issuer.signed(head={"typ": "JWT"}),
        "another audience": issuer.signed(aud="https://other.example.com"),
        "an audience that begins as ours": issuer.signed(aud=AUDIENCE + ".example.net"),
        "no audience": issuer.signed(aud=None),
        "another issuer": issuer.signed(iss="somebody"),
        "expired": issuer.signed(iat=now - 120, nbf=now - 120, exp=now - 60),
        "no end": issuer.signed(exp=None),
        "not yet good": issuer.signed(iat=now + 60, nbf=now + 60, exp=now + 120),
        "a foreign key under our id": issuer.signed(key=FOREIGN),
        "a foreign key under its own id": issuer.signed(key=FOREIGN, head={"kid": FOREIGN.id}),
        "a foreign key that the token carries": issuer.signed(key=FOREIGN, head={"jwk": FOREIGN.jwk}),
        "other claims": f"{head}.{part(claims | {'sub': '1'})}.{signature}",
        "another header": f"{part({'alg': 'EdDSA', 'typ': ASSERTION_TYPE, 'kid': KEY.id, 'x': 1})}.{body}.{signature}",
        "alg none": f"{part({'alg': 'none', 'typ': ASSERTION_TYPE, 'kid': KEY.id})}.{body}.",
        "alg none with a signature": f"{part({'alg': 'none', 'typ': ASSERTION_TYPE, 'kid': KEY.id})}.{body}.{signature}",
        "HS256 with the public key": jwt.encode(claims, public * 2, "HS256", headers={"typ": ASSERTION_TYPE, "kid": KEY.id}),
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "no token": "42",
        "empty": "",
    }


@pytest.mark.parametrize("language", [python, node, go], ids=["python", "node", "go"])
async def test_a_verifier_accepts_an_assertion_and_nothing_else(
    issuer: Issuer, tmp_path: Path, language: Callable[[Path], Awaitable[list[str]]]
) -> None:
    words = await language(tmp_path)
    given = {"B": issuer.base, "AUDIENCE": AUDIENCE}
    for name, good in {"as minted": issuer.good, "clocks differ a little": issuer.signed(nbf=int(time.time()) + 3)}.items():
        status, said = await run(words, tmp_path, given | {"ASSERTION": good})
        assert (status, said) == (0, "user 42\n"), name
    accepted = []
    for name, token in refused(issuer).items():
        status, said = await run(words, tmp_path, given | {"ASSERTION": token})
        if status == 0 or "user 42" in said:
            accepted.append(name)
    assert accepted == []
