"""Request bodies: JSON objects that fit a model, or a clear answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ..accounts.users import EMAIL_PATTERN, MAX_EMAIL_LENGTH, MAX_NAME_LENGTH
from ..errors import BadInput, FieldError

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 30.0
"""How long a client may take to send one; whoever sends a byte now and then holds a connection no longer."""

ModelT = TypeVar("ModelT", bound="Body")


CHOSEN = "x-chosen"
"""Marks a password that somebody chooses: OpenAPI tells the settings' rules of it."""

# The accounts decide what is good, and say what is wrong; these tell OpenAPI.
NewEmail = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{EMAIL_PATTERN}$", "maxLength": MAX_EMAIL_LENGTH}, examples=["ada@example.com"])
]
NewName = Annotated[
    str, Field(json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_LENGTH}, description="Printable.", examples=["Ada"])
]
NewPassword = Annotated[SecretStr, Field(json_schema_extra={CHOSEN: True}, examples=["correct horse battery"])]
Password = Annotated[SecretStr, Field(examples=["correct horse battery"])]
Email = Annotated[str, Field(examples=["ada@example.com"])]


class Body(BaseModel):
    """A request body. What it does not know it ignores; it never repeats what it was given."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, strict=True)


def takes(
    model: type[ModelT],
) -> Callable[[Callable[[web.Request, ModelT], Awaitable[web.Response]]], Callable[[web.Request], Awaitable[web.Response]]]:
    """Give a handler its body as `model`. `handler.body_model` says which."""

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
    """The body. Raises what `read_whole` raises, `BadInput` with every field's error, 415 for what is not JSON."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="Unsupported Media Type", headers={"Accept": "application/json"})
    try:
        return model.model_validate_json(await read_whole(request))
    except ValidationError as error:
        raise _bad_input(error) from None


async def read_whole(request: web.Request) -> bytes:
    """The body's bytes.

    Raises `BadInput` for one that breaks off or is coded otherwise than it says, 413 for a large one, 408 for one that
    takes too long: the connection is closed then.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        if request.protocol is not None:
            request.protocol.close()
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError):
        raise BadInput("the body cannot be read") from None


def _bad_input(error: ValidationError) -> BadInput:
    errors = []
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        if not each["loc"]:
            return BadInput("the body must be a JSON object")
        errors.append(FieldError(".".join(str(part) for part in each["loc"]), _words(each)))
    return BadInput(errors=tuple(errors))


def _words(error: Any) -> str:
    return "is required" if error["type"] == "missing" else f"{error['msg'][:1].lower()}{error['msg'][1:]}"
