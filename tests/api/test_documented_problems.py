"""docs/api.md lists exactly the problem types that the code can make, with their statuses."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from aiohttp import web

import stateroom
from stateroom import errors
from stateroom.api import problems
from stateroom.api.views import Reason
from stateroom.problems import TYPE_PREFIX

from ..conftest import ServiceClient
from ..documents import examples, page
from ..sources import tree

ROOT = Path(stateroom.__file__).parent
ROW = re.compile(r"^\| `([a-z-]+)` \| ([1-5][0-9]{2}) \| (.+) \| (.+) \|$", re.MULTILINE)
REASON = re.compile(r"^\| `([a-z-]+)` \| ([^|]+) \|$", re.MULTILINE)
NOT_FOR_CLIENTS = {errors.StateroomError, errors.SettingsError, errors.Unauthenticated, errors.NotSignedIn}


def own_errors() -> Iterator[tuple[str, int]]:
    """The types of the package's own errors."""
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, errors.StateroomError) and each not in NOT_FOR_CLIENTS:
            yield each.slug, each.status


def nodes() -> Iterator[ast.AST]:
    for path in ROOT.rglob("*.py"):
        yield from ast.walk(tree(path))


def written_out() -> Iterator[tuple[str, int]]:
    """The types that calls of `problem` write out."""
    for node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem":
            match node.args[1:3]:
                case [ast.Constant(value=int(status)), ast.Constant(value=str(slug))]:
                    yield slug, status
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):  # status, slug, title = …, for `problem`
            match node.value.elts:
                case [ast.Constant(value=int(status)), ast.Constant(value=str(slug)), ast.Constant(value=str())]:
                    yield slug, status


def aiohttps_errors() -> Iterator[tuple[str, int]]:
    """The types of aiohttp's errors that the service answers with details of its own."""
    made: list[web.HTTPException] = [
        web.HTTPNotFound(),
        web.HTTPMethodNotAllowed("PUT", ["GET"]),
        web.HTTPRequestEntityTooLarge(1, 2),
        web.HTTPRequestTimeout(),
        web.HTTPUnsupportedMediaType(),
    ]
    named = {node.attr for node in nodes() if isinstance(node, ast.Attribute) and issubclass(_http_error(node.attr), web.HTTPError)}
    assert named == {type(each).__name__ for each in made}
    for each in made:
        yield problems.slug_of(each), each.status


def _http_error(name: str) -> type:
    found = getattr(web, name, None)
    return found if name.startswith("HTTP") and isinstance(found, type) else object


def test_every_type_is_documented_with_its_status() -> None:
    documented = {(slug, int(status)) for slug, status, _, _ in ROW.findall(page("api.md"))}
    assert documented == {*own_errors(), *written_out(), *aiohttps_errors()}


def test_every_reason_is_documented() -> None:
    text = page("api.md").split("| reason |", 1)[1].split("\n## ", 1)[0]
    assert [reason for reason, _ in REASON.findall(text)] == list(get_args(Reason))


async def test_the_example_is_what_the_service_responds(service: ServiceClient) -> None:
    [example] = examples("api.md", "json")
    async with service.get("/api/profile") as response:
        document: dict[str, Any] = await response.json(content_type=None)
    shown = json.loads(example)
    assert shown["type"].startswith(TYPE_PREFIX)
    assert shown | {"request_id": ""} == document | {"request_id": ""}
    assert len(shown["request_id"]) == len(document["request_id"])
