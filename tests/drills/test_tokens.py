"""Access tokens after a failover: if a session was ended, its token is refused, even if the replica did not know the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.stack import Stack, stack
from stateroom.sessions.sealing.token_keys import new_token_key

USERS = 10
PASSWORD = "correct horse battery"
JWT = {"BCRYPT_ROUNDS": "4", "JWT_KEYS": new_token_key()}


async def minted(http: aiohttp.ClientSession, url: str, number: int) -> str:
    """Register a user. Returns an access token."""
    user = {"email": f"user{number}@example.com", "password": PASSWORD}
    async with http.post(f"{url}/api/auth/register", json={**user, "name": "Drill"}) as response:
        assert response.status == 201
    async with http.post(f"{url}/api/auth/token", json=user) as response:
        assert response.status == 200, await response.text()
        return str((await response.json())["access_token"])


async def statuses(http: aiohttp.ClientSession, made: Stack, tokens: Sequence[str]) -> list[int]:
    """The status of each token at each worker."""

    async def ask(url: str, token: str) -> int:
        async with http.get(f"{url}/api/profile", headers={"Authorization": f"Bearer {token}"}) as response:
            await response.read()
            return response.status

    return list(await asyncio.gather(*(ask(worker.url, token) for worker in made.workers for token in tokens)))


async def log_out(http: aiohttp.ClientSession, url: str, token: str) -> None:
    async with http.post(f"{url}/api/auth/logout", headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 200, await response.text()


@pytest.mark.timeout(180)
async def test_a_token_stays_refused_when_no_replica_knew_of_the_logout(tmp_path: Path) -> None:
    async with stack(tmp_path, environment=JWT) as made, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        url = made.workers[0].url
        tokens = await asyncio.gather(*(minted(http, url, number) for number in range(USERS)))
        ended, kept = tokens[: USERS // 2], tokens[USERS // 2 :]
        assert set(await statuses(http, made, tokens)) == {200}
        primary = await made.primary()
        made.hold_replication_back(primary)
        await asyncio.gather(*(log_out(http, url, token) for token in ended))
        assert set(await statuses(http, made, ended)) == {401}
        await primary.kill()
        made.lose_replication(primary)
        # There is no primary, so the journal decides about tokens.
        assert set(await statuses(http, made, ended)) == {401}
        assert set(await statuses(http, made, kept)) == {200}
        await made.first_write([node for node in made.nodes if node is not primary])
        assert set(await statuses(http, made, ended)) == {401}
        await made.settled()
        assert set(await statuses(http, made, ended)) == {401}
        assert set(await statuses(http, made, kept)) == {200}
