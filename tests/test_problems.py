"""Problem documents of an application that uses the library."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import errors, testing
from stateroom.errors import FieldError, StateroomError


def every_error() -> list[StateroomError]:
    """One of each error, as it is raised with the fewest words."""
    made: list[StateroomError] = [
        errors.BadInput("the body must be a JSON object"),
        errors.BadInput(errors=(FieldError("email", "is required"), FieldError("name", "is required"))),
        errors.SessionEnded("revoked"),
        errors.SessionEnded("rotated"),
        errors.HeadersSent("sign_in()"),
        errors.TooManyAttempts(7),
    ]
    given = {type(each) for each in made} | {errors.SettingsError, errors.Unauthenticated, errors.NotSignedIn}
    return made + [each() for each in _below(StateroomError) if each not in given]


def _below(parent: type[StateroomError]) -> list[type[StateroomError]]:
    """The package's own errors, without those of tests."""
    children = [each for each in parent.__subclasses__() if each.__module__ == errors.__name__]
    return [*children, *(below for each in children for below in _below(each))]


async def document_of(aiohttp_client: AiohttpClient, error: StateroomError) -> tuple[dict[str, Any], int]:
    async def fail(request: web.Request) -> web.Response:
        raise error

    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.router.add_get("/", fail)
    client = await aiohttp_client(app)
    async with client.get("/") as response:
        return await response.json(content_type="application/problem+json"), response.status


@pytest.mark.parametrize("error", every_error(), ids=lambda each: type(each).__name__)
async def test_the_detail_says_more_than_the_short_error(aiohttp_client: AiohttpClient, error: StateroomError) -> None:
    document, status = await document_of(aiohttp_client, error)
    assert (document["status"], document["title"]) == (status, error.title)
    assert document["error"]
    assert len(document["detail"]) > len(document["error"]) or document.get("errors")
    assert document["detail"] != document["error"]
    assert ";" in document["detail"]
    assert "request_id" not in document, "an application's requests have no id of ours"


@pytest.mark.parametrize(
    ("error", "short", "detail"),
    [
        (errors.InvalidCredentials(), "invalid credentials", "check the email and the password; a disabled account cannot sign in"),
        (errors.SessionEnded("logout"), "session ended: logout", "sign in again"),
        (errors.Saturated("33 wait", retry_after=3), "too many sign-ins at once", "try again in 3 s"),
        (
            errors.StoreUnavailable("10.1.2.3"),
            "session storage degraded", "keep the cookie or session_token, because the session has not ended; try again in 1 s",
        ),
        (errors.NotFound("no such order; the list names all"), "no such order", "the list names all"),
    ],
)  # fmt: skip
async def test_the_short_error_stands_before_the_advice(
    aiohttp_client: AiohttpClient, error: StateroomError, short: str, detail: str
) -> None:
    document, _ = await document_of(aiohttp_client, error)
    assert (document["error"], document["detail"]) == (short, f"{short}; {detail}")


async def test_the_fields_that_are_wrong_are_named_in_the_detail_and_described_in_the_errors(
    aiohttp_client: AiohttpClient,
) -> None:
    wrong = (FieldError("email", "is required"), FieldError("name", "is too long"))
    document, _ = await document_of(aiohttp_client, errors.BadInput(errors=wrong))
    assert document["errors"] == [{"field": "email", "message": "is required"}, {"field": "name", "message": "is too long"}]
    assert document["error"] == "email: is required; name: is too long"
    assert document["detail"] == "these fields are invalid: email, name; correct the request and send it again"
