"""Makes the service's OpenAPI 3.1 document from the `operation`s of its handlers (https://spec.openapis.org/oas/v3.1.1)."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from .. import __version__
from ..accounts.passwords import MAX_PASSWORD_LENGTH
from .answers import answer
from .bodies import CHOSEN
from .mounts import MOUNTS, Mounts, split_path
from .operations import Operation, operation
from .views import Problem

if TYPE_CHECKING:
    from .. import Settings
    from .bodies import Body

routes = web.RouteTableDef()

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_PARAMETER_EXAMPLES = {"id": "Z83_RlkghID_RB7ScOCRaQ", "path": "reports"}
_FORWARD_AUTH = "/auth/"
_UNSAFE = frozenset({"post", "put", "patch", "delete"})
_RENEW = {
    "name": "X-Session-Renew",
    "in": "header",
    "schema": {"type": "string", "examples": ["no"]},
    "description": "Send `no` with a request that a script makes by itself, so that the request does not extend the session.",
}


@routes.get("/api/openapi.json")
@operation("Show this document", {200: dict[str, Any]}, uses_session=False)
async def serve(request: web.Request) -> web.Response:
    return answer(_under(request.app[MOUNTS], split_path(request)[0], request.app[DOCUMENT]))


DOCUMENT = web.AppKey("stateroom_openapi", dict[str, Any])


def document(described: Iterable[web.AbstractRouteDef], settings: Settings) -> dict[str, Any]:
    """Make the document of these routes. Routes without an `operation` are left out.

    OpenAPI cannot say "any method". A route that takes any method is described as a GET.
    """
    schemas = _Schemas(settings)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        each: Operation | None = getattr(getattr(route, "handler", None), "operation", None)
        if each is None or not isinstance(route, web.RouteDef):
            continue
        path = _PARAMETER.sub(r"{\1}", route.path)
        made = paths.setdefault(path, {})[_method(route)] = _describe(route, each, schemas)
        if settings.public_path and path.startswith(_FORWARD_AUTH):
            made["servers"] = [{"url": "/"}]  # it is under no prefix
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stateroom",
            "version": __version__,
            "description": "Sign-in and sessions that work while Redis is unavailable. Bodies are JSON objects of at most 64 KiB.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.public_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "securitySchemes": {
                "cookie": {"type": "apiKey", "in": "cookie", "name": settings.session_name},
                "bearer": {"type": "http", "scheme": "bearer", "description": "A `session_token`, or an access token (JWT)."},
            },
        },
    }


def _under(mounts: Mounts, prefix: str, document: dict[str, Any]) -> dict[str, Any]:
    """The document for clients that use a prefix. It has only the paths that are served there."""
    paths = {path: each for path, each in document["paths"].items() if not prefix or f"{prefix}{path}" in mounts.labels}
    return {**document, "servers": [{"url": prefix or "/"}], "paths": paths}


def _describe(route: web.RouteDef, each: Operation, schemas: _Schemas) -> dict[str, Any]:
    handler: Any = route.handler
    model: type[Body] | None = getattr(handler, "body_model", None)
    statuses = {*each.problems}
    if model is not None:
        statuses |= {400, 408, 413, 415}
    if _method(route) in _UNSAFE:
        statuses.add(403)
    if each.needs_sign_in:
        statuses.add(401)
    if each.uses_session:
        statuses.add(503)
    responses = {str(status): _answer(status, kind, schemas) for status, kind in each.answers.items()}
    for status in sorted(statuses - set(each.answers)):
        responses[str(status)] = _refusal(status, schemas)
    made: dict[str, Any] = {
        "operationId": handler.__name__,
        "summary": each.summary,
        "tags": [_tag(route.path)],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "examples": [_PARAMETER_EXAMPLES[name]]}}
            for name in _PARAMETER.findall(route.path)
        ],
        "responses": responses,
        "security": [],
    }
    if each.uses_session:
        made["parameters"].append(_RENEW)
        made["security"] = [{"cookie": []}, {"bearer": []}, *([] if each.needs_sign_in else [{}])]
    if model is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas.of(model, "validation")}}}
    return made


def _method(route: web.RouteDef) -> str:
    return "get" if route.method == "*" else route.method.lower()


def _answer(status: int, kind: Any, schemas: _Schemas) -> dict[str, Any]:
    described = {"description": HTTPStatus(status).phrase}
    if isinstance(kind, str):
        return {**described, "content": {kind: {"schema": {"type": "string"}}}}
    return {**described, "content": {"application/json": {"schema": schemas.of(kind, "serialization")}}}


def _refusal(status: int, schemas: _Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": schemas.of(Problem, "serialization")}},
    }
    if status in {429, 503}:
        made["headers"] = {"Retry-After": {"description": "Whole seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
    if status == 401:
        made["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return made


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[1] if parts[0] == "api" and len(parts) > 1 else "service"


class _Schemas:
    """The schemas of all models, each made once. The settings' rules for passwords are added to them."""

    def __init__(self, settings: Settings) -> None:
        self._made: dict[str, Any] = {}
        self._references: dict[tuple[Any, JsonSchemaMode], dict[str, Any]] = {}
        self._chosen = {"minLength": settings.password_min_length, "maxLength": MAX_PASSWORD_LENGTH}

    def of(self, model: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        """A reference to the model's schema, or the schema itself if it has no name."""
        if (model, mode) not in self._references:
            self._references[model, mode] = self._make(model, mode)
        return self._references[model, mode]

    def _make(self, model: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        schema = copy.deepcopy(_schema(model, mode))
        self._add_rules(schema)
        self._made.update(schema.pop("$defs", {}))
        if set(schema) == {"$ref"} or "title" not in schema:
            return schema
        name = schema["title"]
        self._made[name] = schema
        return {"$ref": _REF.format(model=name)}

    def _add_rules(self, schema: Any) -> None:
        for each in schema.values() if isinstance(schema, dict) else ():
            self._add_rules(each)
        if isinstance(schema, dict) and schema.pop(CHOSEN, False):
            schema.update(self._chosen)

    def all(self) -> dict[str, Any]:
        return dict(sorted(self._made.items()))


@functools.cache
def _schema(model: Any, mode: JsonSchemaMode) -> dict[str, Any]:
    """The schema without the settings' rules. It takes milliseconds, and a process may make several applications (tests do)."""
    return TypeAdapter(model).json_schema(mode=mode, ref_template=_REF)
