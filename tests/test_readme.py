"""README's commands and its sample do what README says, and it stays short."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from multidict import MultiDictProxy
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import testing

from .commands import Command, Serving
from .conftest import require_tool
from .documents import blocks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(word: str) -> str:
    """The only shell block of README that has this word."""
    [found] = [each for each in blocks(README, "sh") if word in each]
    return found


def test_the_walk_with_curl_survives_a_hung_redis(serving: Serving) -> None:
    for tool in ("curl", "pkill"):
        require_tool(tool)
    walk = block("pkill").replace("http://127.0.0.1:8080", f"http://127.0.0.1:{serving.port}")
    lines = [line for line in walk.splitlines() if line]
    assert sum(line.startswith("curl") for line in lines) == 5
    # The added line separates the JSON documents, which end without a newline.
    script = "\n".join(f"{line}\necho" if line.startswith("curl") else line for line in lines)
    try:
        done = subprocess.run(["bash", "-ec", script], cwd=serving.folder, capture_output=True, text=True, timeout=60, check=False)
    finally:
        subprocess.run(["pkill", "-CONT", "-f", f"{serving.folder}/var/valkey.sock"], check=False)
    assert done.returncode == 0, done.stderr
    signed_in, check, during, out, after = (json.loads(line) for line in done.stdout.splitlines())
    assert signed_in["message"] == "login successful"
    assert (check["authenticated"], check["degraded"]) == (True, False)
    assert (during["authenticated"], during["degraded"]) == (True, True)
    assert out["message"].startswith("logout successful")
    assert (after["authenticated"], after["ended"]) == (False, "logout")


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(README.split()) <= 1400
    assert README.index('src="docs/drill.svg"') < 1000


def test_the_commands_of_the_readme_exist(command: Command) -> None:
    named = set(re.findall(r"(?<=[`/ ])stateroom ([a-z]+)(?=[ `])", README))
    assert {"keys", "db", "doctor", "serve", "drill"} <= named
    for name in named:
        assert command(name, "--help").returncode == 0, name


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application of README's sample, with test stores and one user."""
    settings = testing.settings(database_url=f"sqlite:///{tmp_path}/test.db")
    setup = stateroom.setup
    monkeypatch.setattr(stateroom, "setup", lambda app: setup(app, settings, client_factory=testing.fake_redis))

    async def find_user(form: MultiDictProxy[Any]) -> int | None:
        return 42 if (form["email"], form["password"]) == ("ada@example.com", "right") else None

    users = ModuleType("myapp.users")
    users.__dict__["find_user"] = find_user
    monkeypatch.setitem(sys.modules, "myapp", ModuleType("myapp"))
    monkeypatch.setitem(sys.modules, "myapp.users", users)
    [code] = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # The page is our own file.
    return names["app"]


async def test_the_sample_signs_in_and_counts_visits(app: Any, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(app)
    assert (await client.get("/me")).status == 401
    assert (await client.post("/sign-in", data={"email": "ada@example.com", "password": "wrong"})).status == 401
    async with client.post("/sign-in", data={"email": "ada@example.com", "password": "right"}) as response:
        assert await response.json() == {"user_id": 42, "visits": 1}
    assert await (await client.get("/me")).json() == {"user_id": 42, "visits": 2}


async def test_the_sample_signs_in_during_an_outage_and_refuses_data(app: Any, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(app)
    with testing.redis_down(app):
        form = {"email": "ada@example.com", "password": "right"}
        assert (await client.post("/sign-in", data=form, allow_redirects=False)).status == 303
        async with client.get("/me") as response:
            assert (response.status, (await response.json())["error"]) == (503, "session storage degraded")
