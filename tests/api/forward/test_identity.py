"""What the application learns of the user, and that nobody else can tell it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import jwt
import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import testing
from stateroom.accounts import ACCESS, ACCOUNTS
from stateroom.accounts.access import Ruling
from stateroom.accounts.access.model import Allow
from stateroom.api.forward import DOORKEEPER
from stateroom.api.forward.misleading import LONGEST_REMEMBERED, NAMES_REMEMBERED
from stateroom.sessions.sealing.token_keys import new_token_key

from ...conftest import ServiceClient
from ...servers import Servers
from ..mailed import ADA, MAIL
from ..mailed import start as start_mailed
from .asking import ENDPOINTS, FORWARD, NGINX, NOBODY, ORIGIN, PAGE, SETTINGS, ask, prove, register, running
from .conftest import RuleThat

pytestmark = pytest.mark.usefixtures("counted_ids")

FOLDED = [
    "Remote.User", "Remote_User", "remote_user", "REMOTE.USER", "Remote~User", "Remote'Email", "Remote|Name", "Remote.Groups",
    "Remote_Assertion", "Remote-Session_Degraded", "Remote.Session.Degraded", "Remote_Session-Degraded",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_header_that_servers_take_for_one_of_ours_is_refused(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    rule(anyone=True)
    refused = 403 if endpoint == NGINX else 400
    for is_signed_in in (False, True):
        if is_signed_in:
            await register(client)
        for name in FOLDED:
            for headers in ({name: "2"}, PAGE | {name: "2"}):
                answer = await ask(client, endpoint, headers)
                assert (answer.status, answer.identity) == (refused, NOBODY), name
                assert "Location" not in answer.headers
        for name in ("Remote-Users", "Remote", "Remote--User", "X-Remote_User", "User_Remote"):
            assert (await ask(client, endpoint, {name: "2"})).status == 200, name


async def test_neither_long_names_of_headers_nor_many_are_remembered(client: ServiceClient) -> None:
    assert client.app is not None
    known = client.app[DOORKEEPER].request_check.harmless
    await ask(client, FORWARD, {"X-Known": "1"})
    assert "X-Known" in known
    before = len(known)
    await ask(client, FORWARD, {"X" * (LONGEST_REMEMBERED + 1): "1"})
    assert len(known) == before
    for first in range(0, NAMES_REMEMBERED + 100, 100):
        await ask(client, FORWARD, {f"X-{number}": "1" for number in range(first, first + 100)})
    assert len(known) == NAMES_REMEMBERED
    assert (await ask(client, FORWARD, {"Remote_User": "1"})).status == 400


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_open_rule_lets_everybody_pass_and_still_names_who_is_signed_in(
    client: ServiceClient, rule: RuleThat, endpoint: str
) -> None:
    rule(anyone=True)
    answer = await ask(client, endpoint, {"Remote-User": "1", "Cookie": "session_id=x; a=1", "Authorization": "Basic eDp5"})
    assert (answer.status, answer.identity) == (200, NOBODY)
    assert (answer.headers["Cookie"], answer.headers["Authorization"]) == ("a=1", "Basic eDp5")
    assert (await ask(client, endpoint, method="OPTIONS")).status == 200
    await register(client)
    assert (await ask(client, endpoint)).identity == ["1", "ada@example.com", "Ada", "", "false", ""]


async def test_who_has_signed_out_passes_an_open_rule_as_nobody(client: ServiceClient, rule: RuleThat) -> None:
    rule(anyone=True)
    await register(client)
    value = {each.key: each.value for each in client.session.cookie_jar}["session_id"]
    async with client.post("/api/auth/logout") as response:
        assert response.status == 200
    answer = await ask(client, FORWARD, {"Cookie": f"session_id={value}"})
    assert (answer.status, answer.identity, answer.headers["Cookie"]) == (200, NOBODY, "")


async def test_groups_are_sorted_and_decide(client: ServiceClient, rule: RuleThat) -> None:
    rule(groups=frozenset({"staff", "admin"}))
    await register(client)
    assert client.app is not None
    await client.app[ACCOUNTS].groups.change(1, add=["staff", "b.c", "a-1"])
    answer = await ask(client, FORWARD)
    assert (answer.status, answer.headers["Remote-Groups"]) == (200, "a-1,b.c,staff")


async def test_the_application_can_verify_the_user(servers: Servers, tmp_path: Path) -> None:
    async with running(servers, tmp_path, jwt_keys=new_token_key()) as client:
        assert client.app is not None
        await register(client)
        await client.app[ACCOUNTS].groups.change(1, add=["staff"])
        async with client.get("/.well-known/jwks.json") as response:
            keys = jwt.PyJWKSet.from_dict(await response.json())
        for endpoint in ENDPOINTS:
            assertion = (await ask(client, endpoint)).headers["Remote-Assertion"]
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(assertion, keys[header["kid"]], ["EdDSA"], audience=ORIGIN, issuer="stateroom")
            assert (claims["sub"], claims["email"], claims["name"], claims["groups"]) == (
                "1", "ada@example.com", "Ada", ["staff"],
            )  # fmt: skip
        other = (await ask(client, FORWARD, url="https://other.example.com/")).headers["Remote-Assertion"]
        assert jwt.decode(other, options={"verify_signature": False})["aud"] == "https://other.example.com"
        client.session.cookie_jar.clear()
        assert (await ask(client, FORWARD)).headers["Remote-Assertion"] == ""


async def test_names_of_any_kind_are_safe_and_lose_nothing(client: ServiceClient) -> None:
    for number, name in enumerate(["Jos\u00e9 \u2603", "100% Ada", "Ada, \u201cthe Countess\u201d", "\u6797"]):
        client.session.cookie_jar.clear()
        await register(client, name=name, email=f"{number}@example.com")
        told = (await ask(client, FORWARD)).headers["Remote-Name"]
        assert told.isascii()
        assert unquote(told) == name


async def test_an_address_that_must_be_confirmed_is_not_passed_on(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    """A stranger may have typed it, and applications trust it."""
    settings = servers.service_settings(tmp_path, **MAIL, **SETTINGS, email_verification="optional")
    service = await start_mailed(aiohttp_client, settings)
    await service.post("/api/auth/register", ADA, status=201)
    token = await service.post_room.token("verify")
    answer = await ask(service.client, FORWARD)
    assert (answer.status, answer.identity[1:3]) == (200, ["", "Ada"])
    await service.post("/api/auth/email/verify", {"token": token}, status=200)
    assert (await ask(service.client, FORWARD)).headers["Remote-Email"] == ADA["email"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stranger_who_registers_an_address_that_a_rule_names_is_not_admitted_by_it(
    servers: Servers, tmp_path: Path, endpoint: str
) -> None:
    """Nobody is asked for a proof here, and everybody can register."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "- {name: reports, hosts: [app.example.com], allow: {users: [ada@example.com]}}\n"
        "- {name: mails, hosts: [mails.example.com], allow: {emails: ['*@example.com']}}\n"
        "- {name: wiki, hosts: [wiki.example.com], allow: signed-in}\n"
    )
    async with running(servers, tmp_path, access_rules_file=rules, access_default="nobody", jwt_keys=new_token_key()) as client:
        await register(client, is_proved=False)
        for host in ("app", "mails"):
            answer = await ask(client, endpoint, url=f"https://{host}.example.com/")
            assert (answer.status, answer.identity, answer.problem) == (403, NOBODY, "access-denied")
        answer = await ask(client, endpoint, url="https://wiki.example.com/")
        assert (answer.status, answer.identity[:3]) == (200, ["1", "", "Ada"])
        assert "email" not in jwt.decode(answer.headers["Remote-Assertion"], options={"verify_signature": False})
        await prove(client, 1, ADA["email"])
        for host in ("app", "mails"):
            answer = await ask(client, endpoint, url=f"https://{host}.example.com/")
            assert (answer.status, answer.identity[:3]) == (200, ["1", ADA["email"], "Ada"])
            claims = jwt.decode(answer.headers["Remote-Assertion"], options={"verify_signature": False})
            assert claims["email"] == ADA["email"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_account_that_must_verify_first_enters_nothing(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    settings = servers.service_settings(tmp_path, **MAIL, **SETTINGS, email_verification="required")
    service = await start_mailed(aiohttp_client, settings)
    async with service.client.post("/api/auth/register", json=ADA) as response:
        assert response.status == 202
    await service.post("/api/auth/login", {"email": ADA["email"], "password": ADA["password"]}, status=200)
    answer = await ask(service.client, endpoint)
    assert (answer.status, answer.identity, answer.problem) == (403, NOBODY, "verification-required")
    answer = await ask(service.client, endpoint, PAGE)
    assert (answer.status, answer.identity) == (401 if endpoint == NGINX else 302, NOBODY)
    assert answer.headers["Location"] == f"{ORIGIN}/verify"
    ruling = Ruling(Allow(anyone=True), ORIGIN)
    monkeypatch.setattr(service.app[ACCESS], "rule_for", lambda _: ruling)
    answer = await ask(service.client, endpoint)
    assert (answer.status, answer.identity) == (200, NOBODY), "for an open application it is a stranger"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_user_who_verified_in_another_process_enters_at_once(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, endpoint: str
) -> None:
    settings = servers.service_settings(tmp_path, **MAIL, **SETTINGS, email_verification="required")
    service = await start_mailed(aiohttp_client, settings)
    await service.post("/api/auth/register", ADA, status=202)
    await service.post("/api/auth/login", {"email": ADA["email"], "password": ADA["password"]}, status=200)
    for _ in range(2):
        assert (await ask(service.client, endpoint)).problem == "verification-required"
    user_id = await service.user_id()
    assert await service.accounts.users.verify(user_id, ADA["email"])
    answer = await ask(service.client, endpoint)
    assert (answer.status, answer.identity[:3]) == (200, [str(user_id), ADA["email"], "Ada"])


async def test_while_redis_is_unavailable_the_user_is_known_and_the_application_is_told(client: ServiceClient) -> None:
    await register(client)
    assert client.app is not None
    with testing.redis_down(client.app):
        answer = await ask(client, FORWARD)
        assert (answer.status, answer.identity) == (200, ["1", "ada@example.com", "Ada", "", "true", ""])
