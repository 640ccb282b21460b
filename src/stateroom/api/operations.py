"""Describes each operation of the API beside its handler. `openapi.py` makes the OpenAPI document from this.

The models that read bodies describe the bodies (`bodies.py`), and the types in `views.py` describe the responses.
`openapi.py` adds the problems that follow from the kind of operation, so an operation names only its other problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """The description of one operation.

    `answers`: for each status the type of the JSON body, or a media type for other bodies.
    `problems`: the statuses of the problems that are special to this operation.
    `needs_sign_in`: the response is 401 if nobody is signed in. `uses_session`: the response may be 503.
    """

    summary: str
    answers: Mapping[int, Any]
    problems: tuple[int, ...] = ()
    needs_sign_in: bool = False
    uses_session: bool = True


def operation(
    summary: str, answers: Mapping[int, Any], *problems: int, needs_sign_in: bool = False, uses_session: bool = True
) -> Callable[[HandlerT], HandlerT]:
    """Describe a handler. This decorator stands above `takes` and `require_auth`."""
    described = Operation(summary, answers, problems, needs_sign_in, uses_session)

    def describe(handler: HandlerT) -> HandlerT:
        handler.operation = described  # type: ignore[attr-defined]
        return handler

    return describe
