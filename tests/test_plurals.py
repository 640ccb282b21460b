"""Numbers with nouns."""

from __future__ import annotations

import pytest

from stateroom.plurals import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions")])
def test_a_count_has_the_right_plural(number: int, text: str) -> None:
    assert counted(number, "session") == text


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert (counted(1, "entry", "entries"), counted(2, "entry", "entries")) == ("1 entry", "2 entries")
