"""SESSION_ADDRESS decides which part of a client's address stands in sessions and in the log of a real process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ..commands import Serving

ADDRESS, NETWORK = "203.0.113.77", "203.0.113.0"
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
EVENTS = {"sign_in", "sign_in_failed", "sign_in_throttled", "reauthenticated", "revoke", "revoke_others", "sign_out"}


async def walk(url: str) -> list[dict[str, Any]]:
    """Make every request that stores or logs an address. Returns the list of sessions."""
    forwarded = {"X-Forwarded-For": ADDRESS}

    async def call(method: str, path: str, **body: Any) -> Any:
        async with http.request(method, url + path, json=body or None) as response:
            return await response.json()

    async with aiohttp.ClientSession(headers=forwarded, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        await call("POST", "/api/auth/register", **ADA)
        http.cookie_jar.clear()
        await call("POST", "/api/auth/login", **ADA)
        for _ in range(3):
            await call("POST", "/api/auth/login", email="demo@example.com", password="wrong")
        await call("POST", "/api/auth/reauthenticate", password=ADA["password"])
        sessions: list[dict[str, Any]] = (await call("GET", "/api/sessions"))["sessions"]
        [other] = [each for each in sessions if not each["current"]]
        await call("DELETE", f"/api/sessions/{other['id']}")
        await call("DELETE", "/api/sessions")
        await call("POST", "/api/auth/logout")
    return sessions


@pytest.mark.parametrize(("setting", "kept"), [("full", ADDRESS), ("truncated", NETWORK), ("off", "")])
async def test_sessions_and_log_lines_keep_no_more_than_the_setting_lets_them(tmp_path: Path, setting: str, kept: str) -> None:
    settings = {
        "SESSION_ADDRESS": setting, "TRUSTED_PROXIES": "127.0.0.1/32", "COOKIE_SECURE": "false", "LOGIN_ATTEMPTS": 2,
    }  # fmt: skip
    with Serving(tmp_path, **settings) as service:
        sessions = await walk(f"http://127.0.0.1:{service.port}")
        output = service.output
    assert {each["ip_address"] for each in sessions} == {kept}
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    told = {line["event"]: line["address"] for line in lines if line["event"] in EVENTS}
    assert told == dict.fromkeys(EVENTS, kept)
    assert setting == "full" or ADDRESS not in output
