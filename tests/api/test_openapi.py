"""The OpenAPI document is valid, has every route, and matches the answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from stateroom import Settings
from stateroom.api.mounts import OWN
from stateroom.api.openapi import document
from stateroom.app import api_routes, make_app
from stateroom.web.pages import page_routes

from ..conftest import ServiceClient
from ..documents import page

PAGES = {
    "login", "register", "forgot", "reset", "verify", "invitation", "account", "static", "logout", "confirm", "denied", "not-sent",
}  # fmt: skip
"""How the paths of pages begin."""


def _routes(app: web.Application) -> set[tuple[str, str]]:
    """The path and method of every route."""
    return {
        (route.resource.canonical, "get" if route.method == "*" else route.method.lower())
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


@pytest.fixture
def told(service_settings: Settings) -> dict[str, Any]:
    return document(api_routes(), service_settings)


def test_it_is_valid(told: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(told).validate()


def test_the_page_in_words_has_the_same_statuses(told: dict[str, Any]) -> None:
    """The answers that every call can give, which the page lists above its table."""
    rows = [
        row.strip("| ").split(" | ") for row in page("api.md").splitlines() if row.startswith(("| `GET", "| `POST", "| `DELETE"))
    ]
    for calls, *words in rows:
        shown = set(re.findall(r"\b[2-5]\d\d\b", " ".join(words)))
        asked = re.findall(r"([A-Z]+ )?(/[a-z./{}-]*)", calls)
        found = [
            each
            for path, methods in told["paths"].items()
            for method, each in methods.items()
            if path in {where for _, where in asked} and f"{method.upper()} " in {how for how, _ in asked}
        ]
        described = {status for each in found for status in each["responses"]}
        any_can = {"403", "503"} | ({"408", "413", "415"} if any("requestBody" in each for each in found) else set())
        assert found, calls
        assert shown <= described <= shown | any_can, calls


def test_every_route_but_the_pages_is_in_it(told: dict[str, Any], service_settings: Settings) -> None:
    routes = _routes(make_app(service_settings))
    served = {(path, method) for path, method in routes if not path.startswith(OWN)}
    described = {(path, method) for path, methods in told["paths"].items() for method in methods}
    pages = {(route.path, route.method.lower()) for route in page_routes() if isinstance(route, web.RouteDef)}
    assert described | pages == served
    assert not described & pages
    assert {path.split("/")[1] for path, _ in pages} == PAGES


def test_every_body_and_answer_has_an_example(told: dict[str, Any]) -> None:
    for name, schema in told["components"]["schemas"].items():
        properties = schema.get("properties", {}).values()
        assert "examples" in schema or all({"examples", "default"} & each.keys() or "$ref" in str(each) for each in properties), (
            name
        )


def test_passwords_are_described_as_the_settings_ask_for_them(service_settings: Settings) -> None:
    longer = service_settings.model_copy(update={"password_min_length": 14})
    schemas = document(api_routes(), longer)["components"]["schemas"]
    assert schemas["Registration"]["properties"]["password"]["minLength"] == 14
    assert schemas["PasswordChange"]["properties"]["new_password"]["minLength"] == 14
    assert "minLength" not in schemas["PasswordChange"]["properties"]["current_password"]
    assert "x-" not in str(schemas)


def test_what_needs_a_sign_in_says_so(told: dict[str, Any]) -> None:
    profile, check = told["paths"]["/api/profile"]["get"], told["paths"]["/api/auth/check"]["get"]
    assert {} not in profile["security"]
    assert {} in check["security"]
    assert "401" in profile["responses"]
    assert told["components"]["securitySchemes"]["cookie"]["name"] == "session_id"


async def test_it_is_served_as_it_is_made(service: ServiceClient, service_settings: Settings) -> None:
    async with service.get("/api/openapi.json") as response:
        assert response.status == 200
        assert (await response.json())["paths"].keys() == document(api_routes(), service_settings)["paths"].keys()
