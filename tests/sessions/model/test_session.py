"""A session's changes are its own."""

from __future__ import annotations

from stateroom.sessions.model.fields import Delta
from stateroom.sessions.model.record import SessionRecord


def test_what_is_accepted_untouched_shares_nothing_with_other_sessions() -> None:
    one, other = SessionRecord(), SessionRecord()
    one.accept(Delta())  # as after a sign-in that stores nothing else
    one["cart"] = ["apple"]
    one.add_flash("success", "for one alone")
    assert one["cart"] == ["apple"]
    assert "cart" not in other
    assert not other.is_touched


def test_a_value_that_was_changed_in_the_store_is_the_sessions_alone() -> None:
    one, other = SessionRecord(), SessionRecord()
    one.accept_value("count", b"1", 1)
    assert one["count"] == 1
    assert "count" not in other
