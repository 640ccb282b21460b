"""Nobody but the service's user can open what the service keeps, whatever modes were there before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stateroom.backend.embedded import LONGEST_SOCKET_PATH
from stateroom.errors import SettingsError
from stateroom.private import open_private, own_folder, own_temporary_folder

from .commands import Command, Serving


@pytest.fixture(autouse=True)
def usual_umask() -> None:
    os.umask(0o022)


def loose(folder: Path) -> list[str]:
    """The paths under a folder, itself included, that other users may open in any way."""
    return [str(path) for path in [folder, *folder.rglob("*")] if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_that_everybody_could_open_is_closed(tmp_path: Path, workers: str) -> None:
    state = tmp_path / "var"
    state.mkdir(mode=0o755)
    (state / "appendonlydir").mkdir()
    for left_by_an_earlier_release in ("cookie.key.bak.lock", "valkey.log", "appendonlydir/old.aof"):
        (state / left_by_an_earlier_release).write_text("")
    with Serving(tmp_path, "--workers", workers) as service:
        service.sign_in()
        made = {path.name for path in state.rglob("*")}
        assert {"stateroom.db", "stateroom.db-wal", "valkey.sock", "valkey.conf", "valkey.password", "cookie.key"} <= made
        assert any(name.startswith("appendonly.aof") for name in made)
        assert loose(state) == []
        assert "state_folder_closed" in service.output


def test_a_folder_that_holds_other_things_is_not_changed(tmp_path: Path, command: Command) -> None:
    (tmp_path / "var").mkdir(mode=0o755)
    (tmp_path / "var" / "thesis.txt").write_text("")
    ended = command("serve")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("stateroom: STATE_DIR: other users can open ")
    assert "thesis.txt" in line
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o755


def shared_folder(tmp_path: Path) -> Path:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    return shared


def test_a_link_in_a_shared_folder_stops_startup(tmp_path: Path, command: Command) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path = shared_folder(tmp_path) / "state"
    path.symlink_to(tmp_path / "elsewhere")
    ended = command("serve", STATE_DIR=path)
    assert ended.returncode == 2
    assert "is a symbolic link, in a folder that all users can write to" in ended.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("inside", [".", "deeper/state"])
def test_a_folder_of_somebody_else_in_a_shared_folder_stops_startup(tmp_path: Path, command: Command, inside: str) -> None:
    path = shared_folder(tmp_path) / "state"
    path.mkdir(mode=0o777)
    os.chown(path, 12345, 12345)
    ended = command("serve", STATE_DIR=path / inside)
    assert ended.returncode == 2
    assert "is another user's folder" in ended.stderr


def test_the_shared_folder_itself_is_refused_and_keeps_its_mode(tmp_path: Path, command: Command) -> None:
    shared = shared_folder(tmp_path)
    ended = command("serve", STATE_DIR=shared)
    assert ended.returncode == 2
    assert "name a folder for Stateroom alone" in ended.stderr
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


@pytest.mark.parametrize("kind", ["link", "loose folder"])
def test_the_folder_of_a_socket_with_a_long_path_is_ours_alone(tmp_path: Path, command: Command, kind: str) -> None:
    shared = shared_folder(tmp_path)
    private = shared / f"stateroom-{os.getuid()}"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        private.symlink_to(tmp_path / "elsewhere")
    else:
        private.mkdir()
        private.chmod(0o777)
    ended = command("serve", STATE_DIR=tmp_path / ("x" * LONGEST_SOCKET_PATH), TMPDIR=shared)
    assert ended.returncode == 2
    assert f"{private} does not belong to this user alone" in ended.stderr


def test_an_sqlite_file_elsewhere_may_be_read_by_a_group_and_by_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    file.touch()
    file.chmod(0o664)
    with Serving(tmp_path, DATABASE_URL=f"sqlite:///{file}") as service:
        service.sign_in()
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("users.db*")} == {0o660}


def test_a_file_that_was_there_is_closed_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o666)
    open_private(tmp_path / "file", "w").close()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic"):
        open_private(tmp_path / "link", "w")


def test_folders_may_be_prepared_many_times(tmp_path: Path) -> None:
    for _ in range(2):
        own_folder(tmp_path / "state")
        own_temporary_folder(tmp_path / "sockets")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        own_folder(tmp_path / "file" / "state")
