"""The words on the pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from stateroom import Settings
from stateroom.accounts.chosen import email_errors, name_errors
from stateroom.accounts.passwords import COMMON
from stateroom.api.views import Reason
from stateroom.errors import REQUIRED, BadInput, FieldError
from stateroom.web.words import ago, device_name, duration, moment, of_form, why_signed_out

from .visitor import FIREFOX, SAFARI


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"), (45, "45 seconds"), (60, "1 minute"), (90, "90 seconds"), (91, "2 minutes"), (300, "5 minutes"),
        (3600, "1 hour"), (7200, "2 hours"), (86400, "1 day"), (2_592_000, "30 days"),
    ],
)  # fmt: skip
def test_a_duration_is_never_shorter_than_it_is(seconds: int, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("2026-01-31T11:59:00Z", "just now"), ("2026-01-31T11:57:59Z", "2 minutes ago"), ("2026-01-31T10:30:00Z", "1 hour ago"),
        ("2026-01-29T11:00:00Z", "2 days ago"), ("2026-01-31T12:00:09Z", "just now"),
    ],
)  # fmt: skip
def test_how_long_ago(then: str, words: str) -> None:
    assert ago(then, datetime(2026, 1, 31, 12, tzinfo=UTC)) == words


def test_a_moment_names_its_zone() -> None:
    assert moment("2026-01-03T09:05:00Z") == "3 Jan 2026, 09:05 UTC"


@pytest.mark.parametrize(
    ("agent", "name"),
    [(FIREFOX, "Firefox on Linux"), (SAFARI, "Mobile Safari on iOS"), ("curl/8.5.0", "curl"), ("", "Unknown device"),
     ("x" * 60, f"{'x' * 40}…")],
)  # fmt: skip
def test_a_device_is_called_what_it_says_it_is(agent: str, name: str) -> None:
    assert device_name(agent) == name


def test_every_error_of_a_field_is_a_sentence() -> None:
    errors = [*email_errors(""), *email_errors("ada"), *name_errors(" "), *name_errors("a\nb")]
    errors += [FieldError(each, REQUIRED) for each in ("password", "current_password", "new_password")]
    errors += [FieldError("password", COMMON), FieldError("new_password", "must have at least 8 characters")]
    assert [(each.field, each.message) for each in of_form(BadInput(errors=tuple(errors)))] == [
        ("name", "Enter your name."),
        ("name", "Enter your name on one line, in at most 200 characters."),
        ("email", "Enter your email address."),
        ("email", "Enter an email address, for example ada@example.com."),
        ("password", "Enter your password."),
        ("password", "This password is too common. Choose another one."),
        ("current_password", "Enter your current password."),
        ("new_password", "Enter your new password."),
        ("new_password", "New password must have at least 8 characters."),
    ]


def test_every_reason_has_words_of_its_own() -> None:
    settings = Settings(_env_file=None, session_max_per_user=3)
    told = {reason: why_signed_out(reason, settings) for reason in get_args(Reason)}
    assert len(set(told.values())) == len(told)
    assert "3 devices" in told["limit"]
