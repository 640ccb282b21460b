"""Times are seconds, or have a unit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stateroom.settings import Settings
from stateroom.settings.fields import SettingsFields

DURATIONS = {
    name for name in SettingsFields.model_fields if name.endswith(("_timeout", "_max_age", "_interval", "_delay", "_window"))
}
"""By their names: a new one is in the test below without anybody's doing."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90 s", 90),
        (" 15m ", 900),
        ("1h", 3600),
        ("0.5h", 1800),
        ("0.01d", 864),
        ("90000ms", 90),
        ("90", 90),
        ("9e1", 90),
    ],
)
def test_a_time_has_a_unit_or_is_seconds(text: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_MAX_AGE", text)
    assert Settings().session_max_age == seconds
    assert type(Settings().session_max_age) is int


def test_days_and_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_REMEMBER_MAX_AGE", "30d")
    monkeypatch.setenv("REDIS_READ_TIMEOUT", "750ms")
    monkeypatch.setenv("JOURNAL_LEASE", "600ms")
    settings = Settings()
    assert (settings.session_remember_max_age, settings.redis_read_timeout, settings.journal_lease) == (2_592_000, 0.75, 0.6)


def test_code_may_give_a_timedelta() -> None:
    settings = Settings(session_max_age=timedelta(hours=1), redis_read_timeout=timedelta(milliseconds=250))
    assert (settings.session_max_age, settings.redis_read_timeout) == (3600, 0.25)


@pytest.mark.parametrize("name", sorted(DURATIONS))
def test_every_time_takes_a_unit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), "50s")
    shorter = {"session_max_age": "20s"} if name == "session_absolute_max_age" else {}
    assert getattr(Settings(**shorter), name) == 50
