"""What an operation of the API takes and answers, said beside its handler: OpenAPI is made of this.

Bodies are described by the models that read them (`bodies.py`), answers by the types in `views.py`. Which problems any
operation can end with follows from what it is, and need not be said at each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """`answers`: the type of the JSON body by status; a media type for text. `needs_sign_in`: 401 without one.

    `problems`: what it can refuse besides what all like it can.
    """

    summary: str
    answers: Mapping[int, Any]
    problems: tuple[int, ...] = ()
    needs_sign_in: bool = False
    uses_session: bool = True


def operation(
    summary: str, answers: Mapping[int, Any], *problems: int, needs_sign_in: bool = False, uses_session: bool = True
) -> Callable[[HandlerT], HandlerT]:
    """Describe a handler. Comes above `takes` and `require_auth`."""
    described = Operation(summary, answers, problems, needs_sign_in, uses_session)

    def mark(handler: HandlerT) -> HandlerT:
        handler.operation = described  # type: ignore[attr-defined]
        return handler

    return mark
