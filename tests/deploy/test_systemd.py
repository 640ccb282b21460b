"""The units for systemd are valid, keep the service in a small cage, and agree with the service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from stateroom.serving.process import DRAIN_SECONDS
from stateroom.serving.worker import WRONG_SETTINGS
from stateroom.settings import Settings

from ..conftest import require_tool
from ..documents import examples, page

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ["stateroom.service", "stateroom-db-upgrade.service"]
WORST_EXPOSURE = 20
"""Tenths of what `systemd-analyze security` shows: 0.0 is the best, 10.0 is a service that may do anything."""


def settings_of(unit: str) -> dict[str, list[str]]:
    """The values of each setting of a unit, in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", (FOLDER / unit).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists on this machine."""
    for path in FOLDER.rglob("*"):
        if path.suffix in {".service", ".conf"}:
            copy = tmp_path / path.relative_to(FOLDER)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(path.read_text(encoding="utf-8").replace("/opt/stateroom/bin/stateroom", "/bin/true"))
    return tmp_path


def analyze(*arguments: str, folder: Path) -> str:
    """What `systemd-analyze` prints. Only these units count, not those of this machine."""
    program = require_tool("systemd-analyze")
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_PAGER": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_units_are_valid(units: Path) -> None:
    """It warns of an unknown setting, and its exit status is 0 all the same: nothing may be printed about our files."""
    printed = analyze("verify", "--man=no", *(f"./{name}" for name in UNITS), folder=units)
    assert "stateroom" not in printed, printed


def test_an_invalid_unit_is_found(units: Path) -> None:
    with (units / UNITS[0]).open("a") as file:
        file.write("[Service]\nRestrat=always\n")
    assert "Restrat" in analyze("verify", "--man=no", f"./{UNITS[0]}", folder=units)


@pytest.mark.parametrize("unit", UNITS)
def test_the_service_may_do_little(units: Path, unit: str) -> None:
    analyze("security", "--offline=true", f"--threshold={WORST_EXPOSURE}", f"./{unit}", folder=units)


def test_the_drop_ins_of_the_pages_are_valid(units: Path) -> None:
    for name in ("systemd.md", "logs.md"):
        for number, text in enumerate(examples(name, "ini")):
            drop_in = units / f"{UNITS[0]}.d" / f"{name}-{number}.conf"
            drop_in.write_text(text.replace("/opt/stateroom/bin/stateroom", "/bin/true"))
    printed = analyze("verify", "--man=no", f"./{UNITS[0]}", folder=units)
    assert "stateroom" not in printed, printed


def test_a_stop_has_the_time_that_a_drain_takes() -> None:
    unit = settings_of("stateroom.service")
    assert unit["KillSignal"] == ["SIGTERM"]
    assert unit["KillMode"] == ["mixed"], "the embedded server must not stop before the service"
    longest_delay = int(unit["TimeoutStopSec"][0]) - DRAIN_SECONDS - 10  # 10 s: backend/embedded.py, STOP_SECONDS
    assert longest_delay >= 15
    assert f"`DRAIN_DELAY` of more than {longest_delay:.0f} s" in page("systemd.md")


def test_an_invalid_setting_is_not_tried_again() -> None:
    assert settings_of("stateroom.service")["RestartPreventExitStatus"] == [str(WRONG_SETTINGS)]


def test_both_units_run_with_the_same_settings_and_rights() -> None:
    service, upgrade = (settings_of(unit) for unit in UNITS)
    for name in ("User", "Group", "EnvironmentFile", "Environment", "StateDirectory", "StateDirectoryMode", "UMask"):
        assert service[name] == upgrade[name]
    protections = {name for name in service if name.startswith(("Protect", "Restrict", "Private", "SystemCall", "Capab", "NoNew"))}
    for name in protections - {"RestartPreventExitStatus"}:
        assert service[name] == upgrade[name], name


def test_the_settings_exist_and_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^([A-Z_]+)=(.*)$", (FOLDER / "stateroom.env").read_text(encoding="utf-8"), re.MULTILINE)
    secrets = {
        "COOKIE_KEYS_FILE": "Zm9yIHRoZSB0ZXN0IG9ubHksIDMyIGJ5dGVzIGxvbmc",
        "REDIS_PASSWORD_FILE": "password",
        "DATABASE_URL_FILE": "postgresql://stateroom:password@postgres/stateroom",
    }
    assert secrets.keys() <= dict(lines).keys()
    for name, value in lines:
        monkeypatch.setenv(name, value)
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(name, str(tmp_path / name))
    settings = Settings.load()
    assert {name.removesuffix("_FILE").lower() for name, _ in lines} <= settings.model_fields_set
    credentials = (FOLDER / "stateroom.service.d" / "credentials.conf").read_text(encoding="utf-8")
    assert set(re.findall(r"^Environment=([A-Z_]+)=", credentials, re.MULTILINE)) == secrets.keys()
