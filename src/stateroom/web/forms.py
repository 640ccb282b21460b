"""Reads forms. They must come from our own pages and be small."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from .. import SESSIONS, browser_origin
from ..api.bodies import read_whole
from ..errors import REQUIRED, BadInput, FieldError, ForeignOrigin, TokenInvalid
from ..origins import plain_origin

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20


async def read_form(request: web.Request) -> Mapping[str, str]:
    """Read the fields of a form. If a field comes twice, the last value counts.

    Raises `ForeignOrigin`, `BadInput`, 415 if the body is not a plain form, and what `read_whole` raises.
    """
    check_is_ours(request)
    if request.content_type != FORM:
        raise web.HTTPUnsupportedMediaType(headers={"Accept": FORM})
    body = (await read_whole(request)).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS))
    except ValueError:
        raise BadInput(f"the form has more than {MAX_FIELDS} fields") from None


def check_filled(**fields: str) -> None:
    """Raise `BadInput` if a field is empty. Such a form does not count as an attempt."""
    empty = tuple(FieldError(name, REQUIRED) for name, value in fields.items() if not value)
    if empty:
        raise BadInput(errors=empty)


def token_of(form: Mapping[str, str]) -> str:
    """The token of the mailed link that led to the form. Raises `TokenInvalid` if there is none."""
    token = form.get("token", "")
    if not token:
        raise TokenInvalid
    return token


def check_is_ours(request: web.Request) -> None:
    """Refuse a form of another origin. `CORS_ORIGINS` may call the API, but they may not send our forms. Raises `ForeignOrigin`."""
    origin = request.headers.get("Origin")
    settings = request.app[SESSIONS].settings
    ours = settings.own_origins if settings.public_origins else {browser_origin(request)}
    if origin is not None and (not origin or plain_origin(origin) not in ours):
        raise ForeignOrigin


class Filled:
    """A form for a page: the user's input without passwords, and the errors.

    `errors`: an error with an empty field concerns the whole form.
    """

    def __init__(self, values: Mapping[str, str] | None = None, errors: list[FieldError] | None = None) -> None:
        self.values = {name: value for name, value in (values or {}).items() if "password" not in name}
        self.errors = errors or []

    def value(self, field: str) -> str:
        """The user's input in a field; empty if there is none."""
        return self.values.get(field, "")

    def error(self, field: str) -> str:
        """The error of one field; empty if the field is valid."""
        return " ".join(each.message for each in self.errors if each.field == field)
