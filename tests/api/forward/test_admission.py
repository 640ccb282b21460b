"""Who may enter: by the rules, by what a sign-in is, and not at all before somebody has said who."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import testing
from stateroom.accounts import ACCOUNTS
from stateroom.accounts.access import Need
from stateroom.app import make_app
from stateroom.sessions.sealing.token_keys import new_token_key

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import ADA, ENDPOINTS, FORWARD, NGINX, NOBODY, ORIGIN, PAGE, ask, register, running
from .conftest import RuleThat

pytestmark = pytest.mark.usefixtures("counted_ids")

RULES = """
- name: preflights
  hosts: [app.example.com]
  methods: [OPTIONS]
  allow: anyone
- name: the public part
  hosts: [app.example.com]
  paths: [/public/*]
  allow: anyone
- name: the office
  hosts: [app.example.com]
  networks: [192.0.2.0/24]
  allow: {groups: [staff]}
"""


async def test_nobody_enters_before_somebody_has_said_who(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    settings = servers.service_settings(tmp_path, trusted_proxies="127.0.0.1/32")
    client = await aiohttp_client(make_app(settings))
    for is_signed_in in (False, True):
        if is_signed_in:
            await register(client)
        for endpoint in ENDPOINTS:
            answer = await ask(client, endpoint)
            assert (answer.status, answer.identity, answer.problem) == (403, NOBODY, "access-denied")
            assert b"ACCESS_RULES_FILE" in answer.body
            assert b"ACCESS_DEFAULT" in answer.body
            answer = await ask(client, endpoint, PAGE)
            assert answer.status == 403
            assert "Location" not in answer.headers


async def test_the_rules_of_a_file_decide(servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(RULES, encoding="utf-8")
    inside, outside = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.7"}
    async with running(servers, tmp_path, access_rules_file=file, access_default="nobody", login_url="/.stateroom/login") as client:
        assert client.app is not None
        for endpoint in ENDPOINTS:
            assert (await ask(client, endpoint, method="OPTIONS")).status == 200, "the application answers preflights"
            assert (await ask(client, endpoint, url=f"{ORIGIN}/public/x")).identity == NOBODY
            assert (await ask(client, endpoint, inside)).status == 401
            assert (await ask(client, endpoint, url="https://unknown.example.com/")).status == 401, (
                "hosts are not told to strangers"
            )
            assert (await ask(client, endpoint, url=f"{ORIGIN}/public/%2e%2e/x")).status == (403 if endpoint == NGINX else 400)
        await register(client)
        assert (await ask(client, FORWARD, inside)).status == 403
        assert (await ask(client, FORWARD, url=f"{ORIGIN}/public/x")).identity[0] == "1"
        assert (await ask(client, FORWARD, url="https://unknown.example.com/")).status == 403
        await client.app[ACCOUNTS].groups.change(1, add=["staff"])
        client.app[ACCOUNTS]._known._read.clear()  # as after a minute
        for endpoint in ENDPOINTS:
            answer = await ask(client, endpoint, inside)
            assert (answer.status, answer.identity[3]) == (200, "staff")
            assert (await ask(client, endpoint, outside)).status == 403


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_need_that_nobody_can_meet_here_is_no_redirect(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    await register(client)
    for need in (Need(second_factor=True), Need(device_bound=True), Need(fresh_seconds=900, second_factor=True)):
        rule(signed_in=True, need=need)
        for headers in ({}, PAGE):
            answer = await ask(client, endpoint, headers)
            assert (answer.status, answer.identity) == (403, NOBODY)
            assert "Location" not in answer.headers


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_machine_with_an_old_sign_in_is_told_so_and_never_redirected(
    servers: Servers, tmp_path: Path, endpoint: str
) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("- name: till\n  hosts: [app.example.com]\n  allow: signed-in\n  need: {fresh: 15m}\n", encoding="utf-8")
    async with running(servers, tmp_path, access_rules_file=file, jwt_keys=new_token_key()) as client:
        await register(client)
        async with client.post("/api/auth/login", json=ADA | {"transport": "bearer"}) as response:
            bearer = (await response.json())["session_token"]
        async with client.post("/api/auth/token", json=ADA) as response:
            token = (await response.json())["access_token"]
        client.session.cookie_jar.clear()
        for value in (bearer, token):
            assert (await ask(client, endpoint, {"Authorization": f"Bearer {value}"})).status == 200
        assert client.app is not None
        testing.clock(client.app).move(minutes=16)
        machine = {"Authorization": f"Bearer {bearer}"}
        answer = await ask(client, endpoint, machine)
        assert (answer.status, answer.problem) == (401, "reauthentication-required")
        answer = await ask(client, endpoint, machine | PAGE)
        assert (answer.status, answer.identity) == (403, NOBODY)
        assert "Location" not in answer.headers


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_disabled_user_counts_as_nobody_even_with_a_session(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    await register(client)
    assert client.app is not None
    accounts = client.app[ACCOUNTS]
    await accounts.users.disable(1)  # and nothing ends the session
    accounts._known._read.clear()  # as after a minute
    rule(signed_in=True)
    for headers in ({}, PAGE):
        answer = await ask(client, endpoint, headers)
        assert (answer.status, answer.identity) == (403, NOBODY)
    rule(anyone=True)
    answer = await ask(client, endpoint)
    assert (answer.status, answer.identity) == (200, NOBODY)
