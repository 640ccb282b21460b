"""The table of covered lines has a line for each room, whether tests ran it or not."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from .covered import PACKAGE, Lines, by_room, room_of, table


@pytest.mark.parametrize(
    ("file", "room"),
    [("app.py", "(top)"), ("backend/client.py", "backend"), ("sessions/store/lua/x.py", "sessions/store")],
)
def test_a_room_is_two_folders_deep_at_most(file: str, room: str) -> None:
    assert room_of(PACKAGE / file) == room


def test_each_file_counts_in_its_room_and_in_the_total() -> None:
    def four_lines(file: str) -> tuple[str, list[int], list[int], list[int], str]:
        return file, [1, 2, 3, 4], [], [4] if Path(file).name == "app.py" else [], ""

    rooms = by_room(mock.Mock(analysis2=four_lines))

    files = len(list(PACKAGE.rglob("*.py")))
    assert list(rooms)[-1] == "total"
    assert rooms["total"] == Lines(there=4 * files, run=4 * files - 1)
    assert rooms["(top)"].there - rooms["(top)"].run == 1


def test_columns_stand_below_each_other() -> None:
    heading, *lines = table({"backend": Lines(1200, 1176), "total": Lines(12_000, 6_000)})

    assert [line.split() for line in lines] == [["backend", "1,200", "24", "98%"], ["total", "12,000", "6,000", "50%"]]
    assert {len(line) for line in lines} == {len(heading)}
