"""The example of an own look in docs/pages.md, run unchanged."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import aiohttp_jinja2
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom import Settings, app

from ..documents import examples
from .visitor import Page


def shown(language: str) -> str:
    [block] = examples("pages.md", language)
    return block


async def test_templates_of_ones_own_come_before_ours_and_build_on_them(
    tmp_path: Path, service_settings: Settings, aiohttp_client: AiohttpClient
) -> None:
    static = tmp_path / "brand" / "static"
    static.mkdir(parents=True)
    (tmp_path / "brand" / "base.html").write_text(shown("jinja"))
    (static / "harbour.css").write_text(":root { --accent: #604; }")
    names: dict[str, object] = {}
    with mock.patch.object(Settings, "load", return_value=service_settings):
        exec(compile(shown("python"), "docs/pages.md", "exec"), names)
    made = names["app"]
    assert isinstance(made, web.Application)
    assert made[aiohttp_jinja2.APP_KEY] is names["templates"]
    client = await aiohttp_client(made)
    async with client.get("/login") as response:
        page = Page(response.status, "/login", dict(response.headers), await response.text())
    assert page.title == "Sign in · Harbour"
    assert "Harbour" in page.only("a", **{"class": "brand"}).text
    async with client.get(page.all("link")[-1].get("href")) as response:
        assert await response.text() == ":root { --accent: #604; }"


def test_a_sheet_in_the_place_of_ours_has_these_names_to_set() -> None:
    sheet = (Path(app.__file__).parent / "web/static/pages.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    set_by_day, set_at_night = (set(re.findall(r"(--[a-z-]+):", block)) for block in blocks)
    used = set(re.findall(r"var\((--[a-z-]+)\)", sheet))
    assert used == set_by_day
    assert set_at_night <= set_by_day


def test_every_template_is_listed() -> None:
    text = (Path(__file__).parents[2] / "docs/pages.md").read_text(encoding="utf-8")
    for each in (Path(app.__file__).parent / "web/templates").iterdir():
        assert f"`{each.name}`" in text
