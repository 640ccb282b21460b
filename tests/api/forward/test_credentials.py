"""Which `Authorization` the application behind a proxy may see: its own, and never a credential of ours."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.web import Application

from stateroom import testing
from stateroom.sessions.sealing.token_keys import TokenKey, new_token_key
from stateroom.settings import decode_jwt_key

from ...conftest import ServiceClient
from ...security.deployments import ADA, KEYS, NAME
from ...security.deployments import running as running_deployment
from ...servers import Servers
from .asking import ENDPOINTS, FORWARD, NGINX, ORIGIN, ask, running, told

KEY, OTHER_KEY = KEYS["jwt_keys"], new_token_key()


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'ada:{password}'.encode()).decode()}"


def token_of(key: str, **header: str) -> str:
    """An access token that somebody else's service may have made."""
    made = TokenKey(decode_jwt_key(key))
    return jwt.encode({"sub": "1"}, made.private, "EdDSA", headers={"typ": "at+jwt", "kid": made.id} | header)


FOREIGN = {
    "basic": basic("open sesame"),
    "opaque": "Bearer mF_9.B5f-4.1JqM",
    "as long as ours": f"Bearer {base64.urlsafe_b64encode(bytes(range(190))).decode().rstrip('=')}",
    "begins as ours": f"Bearer {base64.urlsafe_b64encode(bytes([2]) * 190).decode().rstrip('=')}",
    "jwt of another key": f"Bearer {token_of(OTHER_KEY)}",
    "jwt without a key's name": f"Bearer {jwt.encode({'sub': '1'}, 'secret' * 9, 'HS256')}",
    "jwt whose header is no object": f"Bearer {base64.urlsafe_b64encode(b'[7]').decode()}.e30.AA",
    "digest": 'Digest username="ada", realm="a, b", uri="/x", response="6629fae49393a05397450978507c4ef1"',
    "negotiate": f"Negotiate {base64.b64encode(bytes(5_000)).decode()}",
    "own scheme": 'Token token="d2hhdGV2ZXI=", nonce="def"',
    "not ascii": "Bearer J\u00f6",
    "no word": "Bearer",
    "spaces within": "Bearer  two   words",
}


@pytest.fixture
async def client(servers: Servers, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    async with running(servers, tmp_path, **KEYS) as made:
        assert (await call(made, "/api/auth/register", ADA))[0] == 201
        made.session.cookie_jar.clear()
        yield made


async def call(client: ServiceClient, path: str, body: Any = None, authorization: str = "") -> tuple[int, Any]:
    headers = {"Authorization": authorization} if authorization else {}
    async with client.post(path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def cookie(client: ServiceClient) -> str:
    assert (await call(client, "/api/auth/login", ADA))[0] == 200
    [found] = [each.value for each in client.session.cookie_jar if each.key == NAME]
    client.session.cookie_jar.clear()
    return found


async def bearer(client: ServiceClient) -> str:
    return str((await call(client, "/api/auth/login", ADA | {"transport": "bearer"}))[1]["session_token"])


async def access_token(client: ServiceClient) -> str:
    token = str((await call(client, "/api/auth/token", ADA))[1]["access_token"])
    client.session.cookie_jar.clear()
    return token


async def seen(client: ServiceClient, path: str, authorization: str | Sequence[str] = (), mine: str = "") -> str | int:
    """The `Authorization` that the application gets; the status if it gets no request. `mine`: the session cookie."""
    values = [authorization] if isinstance(authorization, str) else authorization
    headers = [("Authorization", value) for value in values]
    if mine:
        headers.append(("Cookie", f"{NAME}={mine}"))
    answer = await ask(client, path, headers)
    repeated = answer.headers.getall("Authorization", [])
    if answer.status != 200:
        assert repeated == []  # The proxy may show the whole refusal to the user.
        return answer.status
    [value] = repeated
    return value


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_the_applications_own_authorization_is_repeated_as_it_was(client: ServiceClient, path: str) -> None:
    mine = await cookie(client)
    for name, sent in FOREIGN.items():
        assert await seen(client, path, sent, mine) == sent, name
        assert await seen(client, path, sent) == 401, name
    assert await seen(client, path, [FOREIGN["basic"], FOREIGN["opaque"]], mine) == f"{FOREIGN['basic']}, {FOREIGN['opaque']}"
    assert await seen(client, path, (), mine) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_good_credential_of_ours_is_not_repeated(client: ServiceClient, path: str) -> None:
    mine = await cookie(client)
    for value in (await bearer(client), await access_token(client)):
        assert await seen(client, path, f"Bearer {value}") == ""
        assert await seen(client, path, f"bearer   {value} ") == ""
        for words in (f"Bearer {value}", f'Token token="{value}"', f"x {value},y"):
            assert await seen(client, path, words, mine) == "", words
        assert await seen(client, path, [FOREIGN["basic"], f"Bearer {value}"], mine) == ""
        assert await seen(client, path, [f"Bearer {value}", FOREIGN["basic"]], mine) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_credential_of_ours_that_opens_nothing_is_not_repeated_either(client: ServiceClient, path: str) -> None:
    """The cookie lets these requests pass."""
    mine, expired = await cookie(client), await access_token(client)
    assert await seen(client, path, f"Bearer {mine}", mine) == ""  # In the wrong place it is a credential all the same.
    assert await seen(client, path, f"Bearer {expired[:-4]}AAAA", mine) == ""
    assert await seen(client, path, f"Bearer {token_of(KEY, typ='JWT')}", mine) == ""
    testing.clock(app_of(client)).move(minutes=6)
    assert await seen(client, path, f"Bearer {expired}") == 401
    assert await seen(client, path, f"Bearer {expired}", mine) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_an_ended_credential_of_ours_does_not_pass(client: ServiceClient, path: str) -> None:
    """It says why it is refused, and the cookie beside it does not count."""
    mine = await cookie(client)
    for value in (await bearer(client), await access_token(client)):
        assert (await call(client, "/api/auth/logout", authorization=f"Bearer {value}"))[0] == 200
        assert await seen(client, path, f"Bearer {value}", mine) == 401


async def test_bytes_that_are_left_out_make_no_credential_of_ours(client: ServiceClient) -> None:
    """A proxy may pass such bytes on. No client library sends them."""
    mine, value = await cookie(client), await bearer(client)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    lines = [
        b"GET /auth/forward HTTP/1.1", b"Host: localhost", b"Connection: close",
        *(f"{name}: {value}".encode() for name, value in told(FORWARD).items()),
        f"Cookie: {NAME}={mine}; sess".encode() + b"\xffion_id=" + mine.encode(),
        f"Authorization: Bearer {value[:3]}".encode() + b"\xff" + value[3:].encode(),
    ]  # fmt: skip
    writer.write(b"\r\n".join([*lines, b"", b""]))
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200 OK")
    assert "Remote-User: " in answer
    assert mine not in answer
    assert value[3:] not in answer


async def test_while_redis_is_away_ours_is_not_repeated(client: ServiceClient) -> None:
    values = [await bearer(client), await access_token(client)]
    with testing.redis_down(app_of(client)):
        assert [await seen(client, "/auth/forward", f"Bearer {value}") for value in values] == ["", ""]


async def test_a_credential_of_another_deployment_with_our_keys_is_not_repeated(
    client: ServiceClient, servers: Servers, tmp_path: Path
) -> None:
    async with running_deployment(servers, tmp_path / "staging", deployment="staging") as staging:
        await staging.register()
        _, signed_in, _ = await staging.call("POST", "/api/auth/login", ADA | {"transport": "bearer"})
        _, minted, _ = await staging.call("POST", "/api/auth/token", ADA)
    mine = await cookie(client)
    for value in (signed_in["session_token"], minted["access_token"]):
        assert await seen(client, "/auth/forward", f"Bearer {value}") == 401
        assert await seen(client, "/auth/forward", f"Bearer {value}", mine) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_cookies_go_on_without_ours(client: ServiceClient, path: str) -> None:
    mine = f"{NAME}={await cookie(client)}"
    own = "a" * 90
    for sent, others in {
        mine: "",
        f"theme=dark; {mine}; other=1": "theme=dark; other=1",
        f"{mine};a=1;;  b=x=y; x{NAME}=2": f"a=1; b=x=y; x{NAME}=2",
        f"name=J\u00f6; {mine}": "name=J\u00f6",
        f"{mine}; stateroom_signed_in=1; long={own}": f"long={own}",
    }.items():
        answer = await ask(client, path, {"Cookie": sent})
        assert (answer.status, answer.headers["Cookie"]) == (200, others)
    answer = await ask(client, path, {"Cookie": "theme=dark"})
    assert "Cookie" not in answer.headers  # The proxy may show the whole refusal to the user.


async def test_a_credential_of_ours_under_another_cookies_name_is_not_repeated(client: ServiceClient) -> None:
    """A browser keeps the cookie of an earlier `SESSION_NAME`, and a script may have kept a token."""
    mine = await cookie(client)
    for value in (await cookie(client), await bearer(client), await access_token(client)):
        sent = f'__Host-session={value}; {NAME}={mine}; x=Bearer {value}; y={value}.{value}; quoted="{value}"; a=1'
        answer = await ask(client, FORWARD, {"Cookie": sent})
        assert (answer.status, answer.headers["Cookie"]) == (200, "a=1")


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_credential_of_ours_in_another_place_does_not_pass(client: ServiceClient, path: str) -> None:
    """The application would have it. Nothing else of these headers is looked at."""
    mine = {"Cookie": f"{NAME}={await cookie(client)}"}
    refused = 403 if path == NGINX else 400
    for value in (await cookie(client), await bearer(client), await access_token(client)):
        for name in ("X-Auth-Token", "Proxy-Authorization", "X-Access-Token", "Referer"):
            answer = await ask(client, path, mine | {name: f"Bearer {value}"})
            assert (answer.status, answer.headers["Remote-User"]) == (refused, ""), name
            assert value not in answer.body.decode()
        assert (await ask(client, path, mine | {"Sec-WebSocket-Protocol": f"v1, bearer.{value}"})).status == refused
        for address in (f"/x?access_token={value}&a=1", f"/x/{value}/y"):
            assert (await ask(client, path, mine, url=ORIGIN + address)).status == refused, address
    foreign = base64.urlsafe_b64encode(bytes(range(190))).decode()
    answer = await ask(client, path, mine | {"X-Auth-Token": foreign}, url=f"{ORIGIN}/x?access_token={foreign}")
    assert answer.status == 200


async def test_a_credential_of_ours_in_another_spelling_does_not_pass(client: ServiceClient) -> None:
    """Applications decode what they get."""
    mine = await cookie(client)
    for value in (await cookie(client), await bearer(client), await access_token(client)):
        spelled = "".join(f"%{ord(each):02X}" if at % 9 == 0 else each for at, each in enumerate(value))
        answer = await ask(client, FORWARD, {"Cookie": f"{NAME}={mine}; other={spelled}; a=1%20"})
        assert (answer.status, answer.headers["Cookie"]) == (200, "a=1%20")
        assert (await ask(client, FORWARD, {"X-Auth-Token": spelled})).status == 400
        assert (await ask(client, FORWARD, url=f"{ORIGIN}/x?token={spelled}")).status == 400
        for login in (f"{value}:", f"ada:{value}"):
            basic = f"Basic {base64.b64encode(login.encode()).decode()}"
            assert await seen(client, FORWARD, basic, mine) == ""
            assert await seen(client, FORWARD, f"Negotiate x, {basic}", mine) == ""
    foreign = f"Basic {base64.b64encode(b'ada:' + b'x' * 200).decode()}"
    assert await seen(client, FORWARD, foreign, mine) == foreign


def app_of(client: ServiceClient) -> Application:
    assert client.app is not None
    return client.app
