"""Mails as files in a folder."""

from __future__ import annotations

import stat
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from stateroom.accounts.mail.folder import FolderCarrier
from stateroom.drills.node import until
from stateroom.errors import SettingsError

from ...logs import capture_events
from .room import Room, counted

RoomFor = Callable[..., Room]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.eml"))


async def sent(room: Room, folder: Path, count: int) -> None:
    async def so_many() -> bool:
        return len(files(folder)) == count and await room.waiting() == 0

    await until(so_many, f"{count} files")


async def test_each_mail_is_a_file_that_only_its_owner_can_open(room_for: RoomFor, tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    room = room_for(f"file://{folder}")
    first = await room.put()
    async with room.sending():
        await sent(room, folder, 1)
        second = await room.put()
        await sent(room, folder, 2)

    assert [path.stem.rpartition("-")[2] for path in files(folder)] == [first, second], "the newest is the last"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert message["Message-ID"] == f"<{path.stem.rpartition('-')[2]}@rooms.example>"
        assert message["To"] == "ada@example.com"


async def test_a_mail_that_is_delivered_again_replaces_its_file(room_for: RoomFor, tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    room = room_for(f"file://{folder}")
    for _ in range(2):
        await room.put(mail_id="a" * 32)
        async with room.sending() as metrics:

            async def is_sent(metrics: object = metrics) -> bool:
                return counted(metrics, "sent") == 1  # type: ignore[arg-type]

            await until(is_sent, "it is sent")
            await sent(room, folder, 1)
    assert len(list(folder.iterdir())) == 1


async def test_a_draft_of_a_killed_worker_is_replaced(room_for: RoomFor, tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    room = room_for(f"file://{folder}")
    room.post()
    (folder / f".{'a' * 32}.eml.draft").write_text("half a ma")
    await room.put(mail_id="a" * 32)
    async with room.sending():
        await sent(room, folder, 1)
    assert [path.suffix for path in folder.iterdir()] == [".eml"]


async def test_mails_wait_while_the_folder_is_missing(room_for: RoomFor, tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    room = room_for(f"file://{folder}")
    await room.put()
    with capture_events() as events:
        async with room.sending() as metrics:
            await sent(room, folder, 1)
            for path in files(folder):
                path.unlink()
            folder.rmdir()
            await room.put()

            async def is_deferred() -> bool:
                return counted(metrics, "deferred") > 0

            await until(is_deferred, "it was tried")
            folder.mkdir(mode=0o700)
            await sent(room, folder, 1)
    [fault] = [each for each in events if each["log_level"] == "error"]
    assert "MAIL_URL" in fault["fix"]


@pytest.mark.parametrize("place", ["file/mails", "/proc/mails"])
def test_a_folder_that_cannot_be_made_stops_startup(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"MAIL_URL: .* cannot be written"):
        FolderCarrier(tmp_path / place).prepare()


def test_a_folder_that_cannot_be_written_stops_startup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(SettingsError, match=r"MAIL_URL: .* cannot be written"):
        FolderCarrier(tmp_path / "mails").prepare()


def test_a_folder_that_others_can_open_and_that_has_files_of_others_stops_startup(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "thesis.txt").write_text("")
    with pytest.raises(SettingsError, match="MAIL_URL: other users can open"):
        FolderCarrier(folder).prepare()
