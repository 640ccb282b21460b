"""docs/library.md names everything that the library exports, and README's sample does what README says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import testing
from stateroom.errors import StateroomError

from .documents import page

README = Path(__file__).parents[1] / "README.md"
PAGE = page("library.md")
NAMED = {name for code in re.findall(r"`([^`]+)`", PAGE) for name in re.findall(r"\w+", code)}


def test_the_page_names_everything_that_is_public() -> None:
    assert set(stateroom.__all__) <= NAMED


@pytest.mark.parametrize("name", [name for name in stateroom.__all__ if inspect.isfunction(getattr(stateroom, name))])
def test_a_call_has_the_arguments_of_the_page(name: str) -> None:
    [words, *_] = [found for found in re.findall(rf"`(?:await |@)?{name}(?:\((.*?)\))?`", PAGE) if found] or [""]
    shown = {each.split("=")[0].strip(" *") for each in words.split(",")} - {""}
    taken = set(inspect.signature(getattr(stateroom, name)).parameters)
    assert shown == taken - ({"handler"} if name in {"require_auth", "background"} else set())


def test_what_a_session_has_is_there_and_is_on_the_page() -> None:
    public = {name for name, each in vars(stateroom.Session).items() if not name.startswith("_") and not inspect.isfunction(each)}
    inner = {"token", "handle", "user", "generation", "address", "ending_address", "is_touched", "is_sealable"}
    assert {name for name in public if not name.endswith("_ms")} - inner <= NAMED


def test_an_exception_has_the_status_of_the_page() -> None:
    for name in stateroom.__all__:
        each: Any = getattr(stateroom, name)
        if inspect.isclass(each) and issubclass(each, StateroomError) and each is not stateroom.SettingsError:
            assert f"| `{name}` | {each.status} |" in PAGE


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that README's sample defines, with test stores and one user."""
    settings = testing.settings(database_url=f"sqlite:///{tmp_path}/test.db")
    setup = stateroom.setup
    monkeypatch.setattr(stateroom, "setup", lambda app: setup(app, settings, client_factory=testing.fake_redis))
    [code] = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # The page is our own file.

    async def find_user(email: str, password: str) -> int | None:
        return 42 if (email, password) == ("ada@example.com", "right") else None

    names["find_user"] = find_user
    return names


async def test_the_readme_signs_in_and_keeps_the_cart(sample: dict[str, Any], aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(sample["app"])
    assert (await client.get("/me")).status == 401
    assert await (await client.post("/cart", json={"sku": "tea"})).json() == {"cart": ["tea"]}
    assert (await client.post("/login", data={"email": "ada@example.com", "password": "wrong"})).status == 401
    async with client.post("/login", data={"email": "ada@example.com", "password": "right"}) as response:
        assert await response.json() == {"user_id": 42}
    assert await (await client.post("/cart", json={"sku": "honey"})).json() == {"cart": ["tea", "honey"]}


async def test_the_readme_signs_in_during_an_outage(sample: dict[str, Any], aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(sample["app"])
    with testing.redis_down(sample["app"]):
        async with client.post("/login", data={"email": "ada@example.com", "password": "right"}) as response:
            assert await response.json() == {"user_id": 42}
