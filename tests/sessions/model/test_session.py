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


def test_what_is_written_while_a_save_is_on_its_way_stays_to_be_saved() -> None:
    record = SessionRecord()
    record["a"], record["b"], record["c"] = 1, [1], 1
    delta = record.delta()
    record["a"] = 2
    record["b"].append(2)
    del record["c"]
    record["d"] = 1
    record.accept(delta)
    assert dict(record) == {"a": 2, "b": [1, 2], "d": 1}
    left = record.delta()
    assert left.values == {".a": b"2", ".b": b"[1,2]", ".d": b"1"}
    assert left.deleted == [".c"]
    record.accept(left)
    assert not record.delta()
    assert dict(record) == {"a": 2, "b": [1, 2], "d": 1}


def test_a_key_that_is_set_again_while_its_deletion_is_on_its_way_stays() -> None:
    record = SessionRecord()
    record["a"] = 1
    record.accept(record.delta())
    del record["a"]
    delta = record.delta()
    record["a"] = 2
    record.accept(delta)
    assert record["a"] == 2
    assert record.delta().values == {".a": b"2"}


def test_a_key_that_was_written_and_deleted_leaves_no_change() -> None:
    record = SessionRecord()
    record["a"] = 1
    del record["a"]
    assert "a" not in record
    assert list(record) == []
    assert not record.delta()
