"""Files that settings name are read again. What is no file any more is left alone, and the log names what was read."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from stateroom.errors import SettingsError
from stateroom.settings import Settings, SettingsFiles


class Taken:
    """`told`: the lines of the log since the last call of `clear`. `times`: how often each setting was taken over."""

    def __init__(self, files: SettingsFiles, caplog: pytest.LogCaptureFixture) -> None:
        self.times: dict[str, int] = dict.fromkeys(("metrics_token", "access_rules_file", "redis_tls_server_name"), 0)
        self._caplog = caplog
        caplog.set_level("INFO", logger="stateroom")
        for name in self.times:
            files.on_change(name, functools.partial(self._count, name))

    def _count(self, name: str, _: Settings) -> None:
        self.times[name] += 1

    @property
    def told(self) -> list[str]:
        told = [record.message for record in self._caplog.records]
        self._caplog.clear()
        return told


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("- {name: one, hosts: [app.example.com], allow: anyone}\n")
    return path


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "token"
    path.write_text("first")
    monkeypatch.setenv("METRICS_TOKEN_FILE", str(path))
    return path


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_the_log_names_only_settings_that_have_a_file(rules: Path, token: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = SettingsFiles(Settings(_env_file=None, access_rules_file=rules))
    taken = Taken(files, caplog)
    files.reread()
    assert set(taken.times.values()) == {1}, "everything is read again"
    assert taken.told == ["settings_files_read settings=['ACCESS_RULES_FILE', 'METRICS_TOKEN']"]
    token.write_text("")
    files.reread()
    kept, read = taken.told
    assert kept.startswith("settings_files_kept settings=['METRICS_TOKEN'] reason=")
    assert read == "settings_files_read settings=['ACCESS_RULES_FILE']"


def test_a_hangup_without_files_is_answered_too(caplog: pytest.LogCaptureFixture) -> None:
    files = SettingsFiles(Settings(_env_file=None))
    taken = Taken(files, caplog)
    files.reread()
    assert taken.told == ["settings_files_read settings=[]"]
    files.look()
    assert taken.told == []


def test_a_value_that_changed_in_dotenv_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("METRICS_TOKEN=first\n")
    files = SettingsFiles(Settings(_env_file=dotenv))
    taken = Taken(files, caplog)
    dotenv.write_text("METRICS_TOKEN=second\n")
    files.reread()
    assert taken.told == ["settings_files_read settings=['METRICS_TOKEN']"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("how", ["look", "reread"])
def test_a_pipe_in_place_of_a_file_does_not_stop_the_service(
    rules: Path, token: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    files = SettingsFiles(Settings(_env_file=None, access_rules_file=rules))
    taken = Taken(files, caplog)
    for path, name in {rules: "ACCESS_RULES_FILE", token: "METRICS_TOKEN"}.items():
        replace_by_pipe(path)
        getattr(files, how)()
        told = [line for line in taken.told if f"settings_files_kept settings=['{name}']" in line]
        assert len(told) == 1, name
        assert f"{path} is a pipe or a device" in told[0]
    assert (taken.times["access_rules_file"], taken.times["metrics_token"]) == (0, 0)


def test_a_path_that_is_no_file_stops_startup_with_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, why in {
        "pipe": "is not a regular file", ".": "is not a regular file", "none": "there is no file", "x" * 300: "File name too long",
    }.items():  # fmt: skip
        with pytest.raises(SettingsError) as raised:
            Settings(_env_file=None, access_rules_file=tmp_path / name)
        assert str(raised.value).startswith("ACCESS_RULES_FILE: ")
        assert why in str(raised.value)
        assert "\n" not in str(raised.value)
