"""Settings that are a duration: in seconds, or with a unit (`500ms`, `90s`, `15m`, `12h`, `30d`)."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

MAX_WAIT_SECONDS = 60
"""The longest time-out for Redis. A larger number, such as 500, was meant as milliseconds."""
MAX_LIFETIME_SECONDS = 10 * 366 * 24 * 3600

_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_WITH_UNIT = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)", re.ASCII)


def _seconds(value: object) -> object:
    """Convert a text or a `timedelta` to seconds. pydantic checks a number afterwards."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str):
        return value
    text = value.strip()
    found = _WITH_UNIT.fullmatch(text)
    if found is not None:
        return float(Decimal(found[1]) * _UNITS[found[2]])
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number of seconds, or a duration such as 90s, 15m, 12h or 30d") from None


def _whole_seconds(value: object) -> object:
    seconds = _seconds(value)
    if isinstance(seconds, float) and not seconds.is_integer():
        raise ValueError("must be a whole number of seconds, or a duration such as 90s, 15m, 12h or 30d")
    return seconds


_InSeconds = BeforeValidator(_seconds)
_InWholeSeconds = BeforeValidator(_whole_seconds)

Seconds = Annotated[float, _InSeconds, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[float, _InSeconds, Field(gt=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)]
Delay = Annotated[float, _InSeconds, Field(ge=0, allow_inf_nan=False)]
WholeSeconds = Annotated[int, _InWholeSeconds, Field(gt=0, le=MAX_LIFETIME_SECONDS)]
WholeDelay = Annotated[int, _InWholeSeconds, Field(ge=0, le=MAX_LIFETIME_SECONDS)]
