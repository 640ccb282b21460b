"""Flash messages are bounded, and the newest win."""

from __future__ import annotations

from typing import Any

import pytest

from stateroom.sessions.model.messages import FLASH_MAX_BYTES, FLASH_MAX_LINES, joined, newest, occurrences
from stateroom.sessions.model.record import SessionRecord


@pytest.mark.parametrize(
    ("text", "stored", "count"),
    [
        (b"a", None, 0),
        (b"a", b"", 0),
        (b"a", b"a", 1),
        (b"a", b"aa\nba", 0),
        (b"a", b"a\nb\na", 2),
        (b"a\nb", b"a\nb\na\nc\na\nb", 2),
        (b"a\nb", b"b\na", 0),
    ],
)
def test_a_text_occurs_as_whole_lines(text: bytes, stored: bytes | None, count: int) -> None:
    assert occurrences(text, stored) == count


def test_of_one_kind_the_last_ones_are_kept() -> None:
    record = SessionRecord()
    for number in range(100):
        record.add_flash("info", str(number))
    record.add_flash("error", "one")
    own = record.drain_flashes()
    assert own["info"].split("\n") == [str(number) for number in range(100 - FLASH_MAX_LINES, 100)]
    assert own["error"] == "one"


def test_of_long_ones_so_many_bytes_are_kept() -> None:
    record = SessionRecord()
    for number in range(5):
        record.add_flash("info", f"{number}" + "ä" * 400)
    text = record.drain_flashes()["info"]
    assert len(text.encode()) <= FLASH_MAX_BYTES
    assert [line[0] for line in text.split("\n")] == ["3", "4"]


def test_what_is_stored_counts_too() -> None:
    stored: bytes | None = None
    for number in range(100):
        stored = joined(stored, str(number))
    assert stored is not None
    assert stored.split(b"\n")[-1] == b"99"
    assert len(stored.split(b"\n")) == FLASH_MAX_LINES
    assert newest(b"one\ntwo", 3) == b"two"
    assert newest(b"three", 3) == b""


@pytest.mark.parametrize(("message", "error"), [("x\ud800", ValueError), ("x" * (FLASH_MAX_BYTES + 1), ValueError), (5, TypeError)])
def test_a_message_that_cannot_be_kept_is_refused_at_once(message: Any, error: type[Exception]) -> None:
    record = SessionRecord()
    with pytest.raises(error, match="flash message"):
        record.add_flash("info", message)
    assert not record.is_touched


def test_a_message_that_is_left_while_others_are_saved_stays() -> None:
    record = SessionRecord()
    record.add_flash("info", "first")
    delta = record.delta()
    for _ in range(FLASH_MAX_LINES):
        record.add_flash("info", "first")
    record.accept(delta)
    assert record.drain_flashes() == {"info": "\n".join(["first"] * FLASH_MAX_LINES)}
