"""Reads request bodies. A body is a JSON object that fits a model, or the client gets a clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, ClassVar, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import from_json

from ..accounts import ACCOUNTS
from ..accounts.chosen import EMAIL_PATTERN, MAX_EMAIL_LENGTH, MAX_NAME_LENGTH
from ..errors import REQUIRED, BadInput, FieldError

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 30.0
"""How long a client may take to send a body. A slow client must not hold a connection for longer."""

ModelT = TypeVar("ModelT", bound="Body")


CHOSEN = "x-chosen"
"""Stands in the schema of a password that a user chooses. `openapi.py` replaces it by the rules of the settings."""

# The accounts check these values and name the errors. The schemas here are only for OpenAPI.
NewEmail = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{EMAIL_PATTERN}$", "maxLength": MAX_EMAIL_LENGTH}, examples=["ada@example.com"])
]
NewName = Annotated[
    str,
    Field(
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_LENGTH}, description="Printable characters only.", examples=["Ada"]
    ),
]
NewPassword = Annotated[SecretStr, Field(json_schema_extra={CHOSEN: True}, examples=["correct horse battery"])]
Password = Annotated[SecretStr, Field(examples=["correct horse battery"])]
Token = Annotated[
    SecretStr, Field(description="From the link in the mail.", examples=["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"])
]
Email = Annotated[str, Field(examples=["ada@example.com"])]


class Body(BaseModel):
    """A request body. Unknown members are ignored. Errors never repeat the client's input.

    `chosen`: the members whose values a user chooses. The accounts have rules for them.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, strict=True)
    chosen: ClassVar[frozenset[str]] = frozenset()


def takes(
    model: type[ModelT],
) -> Callable[[Callable[[web.Request, ModelT], Awaitable[web.Response]]], Callable[[web.Request], Awaitable[web.Response]]]:
    """Read the request's body as a `model` and pass it to the handler. `handler.body_model` is the model."""

    def decorate(
        handler: Callable[[web.Request, ModelT], Awaitable[web.Response]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        @wraps(handler)
        async def with_body(request: web.Request) -> web.Response:
            return await handler(request, await read_body(request, model))

        with_body.body_model = model  # type: ignore[attr-defined]
        return with_body

    return decorate


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """Read the body. Raises as `read_whole`, `BadInput` with the errors of all fields, and 415 if it is not JSON."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="Unsupported Media Type", headers={"Accept": "application/json"})
    body = await read_whole(request)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _bad_input(request, model, body, error) from None


async def read_whole(request: web.Request) -> bytes:
    """Read the body's bytes.

    Raises `BadInput` if the body breaks off or has another coding than its header says, 413 if it is too large, and 408 if
    it takes too long. After a 408 the connection is closed.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        if request.protocol is not None:
            request.protocol.close()
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError):
        raise BadInput("the body is incomplete, or not encoded as Content-Encoding says") from None


def _bad_input(request: web.Request, model: type[Body], body: bytes, error: ValidationError) -> BadInput:
    """The errors of all fields at once: of their types and, for fields of the right type, of the accounts' rules."""
    errors: list[FieldError] = []
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        if not each["loc"]:
            return BadInput("the body must be a JSON object")
        errors.append(FieldError(".".join(str(part) for part in each["loc"]), _words(each)))
    wrong = {each.field for each in errors}
    given = {name: value for name, value in from_json(body).items() if name in model.chosen - wrong}
    if given:
        errors += request.app[ACCOUNTS].faults(**given)
    order = list(model.model_fields)
    return BadInput(errors=tuple(sorted(errors, key=lambda each: order.index(each.field.partition(".")[0]))))


def _words(error: Any) -> str:
    return REQUIRED if error["type"] == "missing" else f"{error['msg'][:1].lower()}{error['msg'][1:]}"
