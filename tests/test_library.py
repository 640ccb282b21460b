"""docs/library.md has everything that the library exports, and its script works."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from aiohttp import web

import stateroom
from stateroom import Settings, cookie_fate, testing
from stateroom.errors import StateroomError

from .documents import examples, page

PAGE = page("library.md")
SECTIONS = re.split(r"^(?=##)", PAGE, flags=re.MULTILINE)
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMED = {name for code in re.findall(r"`([^`]+)`", PROSE) for name in re.findall(r"\w+", code)}

SELF_EVIDENT = {"app", "request", "session", "user_id", "handle", "value", "response"}
"""Parameters that the page explains once, at its beginning or with the name itself."""
ERRORS = {name: each for name, each in vars(stateroom).items() if inspect.isclass(each) and issubclass(each, StateroomError)}
PUBLIC_CLASSES = {"session": stateroom.Session, "manager": stateroom.SessionManager}


def signature(name: str, call: Callable[..., Any]) -> str:
    """How the page writes a call."""
    if name == "background":
        return "@background"
    parts: list[str] = []
    for each in inspect.signature(call).parameters.values():
        if each.name == "self" or (name, each.name) == ("require_auth", "handler"):
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in parts and name != "require_auth":
            parts.append("*")
        default = each.default.__name__ if inspect.isclass(each.default) else repr(each.default).replace("'", '"')
        stars = "**" if each.kind is each.VAR_KEYWORD else ""
        parts.append(f"{stars}{each.name}" if each.default is each.empty else f"{each.name}={default}")
    before = "await " if inspect.iscoroutinefunction(call) else "@" if name == "require_auth" else ""
    return f"{before}{name}({', '.join(parts)})"


def public_calls() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The calls of the page by the names that the page gives them."""
    for name in stateroom.__all__:
        if inspect.isfunction(getattr(stateroom, name)):
            yield name, getattr(stateroom, name)
    for variable, kind in PUBLIC_CLASSES.items():
        for name, each in vars(kind).items():
            if inspect.isfunction(each) and not name.startswith("_"):
                yield f"{variable}.{name}", each
    for name in ("leave_trace", "remove_trace", "lost_here", "lost_there"):
        yield f"cookie_fate.{name}", getattr(cookie_fate, name)


CALLS = dict(public_calls())


def section_of(name: str) -> str:
    """The section that describes a call, without the call itself."""
    written = f"`{signature(name, CALLS[name])}`"
    found = [each for each in SECTIONS if written in each]
    assert found, f"docs/library.md lacks {written}"
    return found[0].replace(written, "")


def test_the_page_names_everything_that_is_public() -> None:
    assert set(stateroom.__all__) <= NAMED


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_on_the_page_with_its_parameters_and_defaults(name: str) -> None:
    section = section_of(name)
    parameters = set(inspect.signature(CALLS[name]).parameters) - {"self", "handler"} - SELF_EVIDENT
    unexplained = {each for each in parameters if not re.search(rf"`{each}[`=.]|{each} = ", section)}
    assert not unexplained, f"what {unexplained} of {name} means is not in its section"


@pytest.mark.parametrize("name", CALLS)
def test_an_exception_that_a_call_may_raise_is_in_its_section(name: str) -> None:
    raised = re.findall(r"\b(" + "|".join(ERRORS) + r")\b", inspect.getdoc(CALLS[name]) or "")
    section = section_of(name)
    assert not {each for each in raised if f"`{each}`" not in section}


@pytest.mark.parametrize("variable", PUBLIC_CLASSES)
def test_an_attribute_is_on_the_page(variable: str) -> None:
    attributes = {name for name, each in vars(PUBLIC_CLASSES[variable]).items() if isinstance(each, property)}
    assert not {each for each in attributes if f"| `{variable}.{each}` |" not in PAGE}


def test_what_calls_return_has_its_fields_on_the_page() -> None:
    fields = {each.name for kind in (stateroom.SessionInfo, cookie_fate.Loss) for each in dataclasses.fields(kind)}
    assert fields | set(stateroom.AccessToken._fields) <= NAMED


def test_an_exception_has_the_status_and_the_attributes_of_the_page() -> None:
    for name, each in ERRORS.items():
        [row] = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        if each is not stateroom.SettingsError:
            assert row.startswith(f"| `{name}` | {each.status} |")
        own = set(re.findall(r"self\.(\w+) =", inspect.getsource(each))) - {"detail", "advice"}
        if each is not StateroomError:
            assert {attribute for attribute in own if f"`{attribute}`" not in row} <= {"retry_after"}


def test_nothing_is_on_the_page_that_does_not_exist() -> None:
    for variable, kind in PUBLIC_CLASSES.items():
        for name in re.findall(rf"`(?:await )?{variable}\.(\w+)", PAGE):
            assert hasattr(kind, name), f"{variable}.{name}"
    for name in re.findall(r"stateroom\.([a-z_]+)\(", PAGE):
        assert hasattr(stateroom, name), name


async def test_the_script_of_the_page_ends_a_users_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [code] = [each for each in examples("library.md", "python") if "AppRunner" in each]
    server, setup = fakeredis.FakeServer(), stateroom.setup
    settings = testing.settings(database_url=f"sqlite:///{tmp_path}/test.db")

    def fake(_: Settings) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=server)

    monkeypatch.setattr(stateroom, "setup", lambda app: setup(app, settings, client_factory=fake))
    names: dict[str, Any] = {"__name__": "script"}
    exec(compile(code, "library.md", "exec"), names)  # The page is our own file.
    app = web.Application()
    stateroom.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await app[stateroom.SESSIONS].create(42)
    await runner.cleanup()
    assert [await names["sign_out_everywhere"](42), await names["sign_out_everywhere"](42)] == [1, 0]
