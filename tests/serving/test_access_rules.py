"""The access rules of a running service: a wrong file stops startup, and a changed one is used by every worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command, Serving
from .test_settings_files import events
from .test_workers import until

HOST = "app.example.com"
OPEN, SHUT = (f"- name: one\n  hosts: [{HOST}]\n  allow: {word}\n" for word in ("anyone", "nobody"))


def is_open(service: Serving) -> bool:
    """Whether a proxy on this machine may let an anonymous visitor in."""
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST, "X-Forwarded-Uri": "/", "X-Forwarded-Method": "GET"}
    status = service.call("GET", "/auth/forward", headers=told)[0]
    assert status in {200, 401}
    return status == 200


def serving(folder: Path, file: Path, *arguments: str) -> Serving:
    return Serving(folder, *arguments, ACCESS_RULES_FILE=file, TRUSTED_PROXIES="127.0.0.1")


def test_rules_that_kubernetes_swaps_are_used_without_a_signal(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()

    def mount(version: str, rules: str) -> None:
        (volume / version).mkdir()
        (volume / version / "rules.yaml").write_text(rules)
        (volume / "..data_tmp").symlink_to(version)
        os.rename(volume / "..data_tmp", volume / "..data")

    mount("..1", SHUT)
    (volume / "rules.yaml").symlink_to("..data/rules.yaml")
    with serving(tmp_path, volume / "rules.yaml") as service:
        assert not is_open(service)
        mount("..2", OPEN)
        service.wait_for("settings_files_read")
        assert is_open(service)


def test_a_wrong_file_keeps_the_rules_and_says_so_once(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(OPEN)
    with serving(tmp_path, file) as service:
        file.write_text(OPEN.replace("anyone", "no"))
        service.wait_for("settings_files_kept")
        assert is_open(service)
        file.write_text(SHUT)
        service.wait_for("settings_files_read")
        assert not is_open(service)
        [kept] = events(service, "settings_files_kept")
        assert f"{file}, line 3: allow is 'no'" in str(kept["reason"])


@pytest.mark.parametrize("setting", ["ACCESS_RULES_FILE", "COOKIE_KEYS_FILE"])
def test_a_pipe_in_the_place_of_a_file_keeps_no_request_waiting(tmp_path: Path, setting: str) -> None:
    files = {"ACCESS_RULES_FILE": tmp_path / "rules.yaml", "COOKIE_KEYS_FILE": tmp_path / "keys"}
    files["ACCESS_RULES_FILE"].write_text(OPEN)
    files["COOKIE_KEYS_FILE"].write_text(new_key())
    with Serving(tmp_path, TRUSTED_PROXIES="127.0.0.1", **files) as service:
        file = files[setting]
        file.unlink()
        os.mkfifo(file)
        service.wait_for(f"{file} is a pipe")
        assert is_open(service)
        service.signal(signal.SIGHUP)
        until(lambda: service.output.count(f"{file} is a pipe") == 2, "the signal is heeded")
        assert is_open(service)


def test_every_worker_reads_the_rules_on_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(SHUT)
    with serving(tmp_path, file, "--workers", "2") as service:
        workers = service.workers
        file.write_text(OPEN)
        service.signal(signal.SIGHUP)
        until(lambda: len(events(service, "settings_files_read")) >= len(workers) == 2, "both workers have read")
        assert all(is_open(service) for _ in range(20))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_file_stops_startup_with_one_line(tmp_path: Path, command: Command, workers: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(OPEN + "  path: [/]\n")
    ended = command("serve", "--workers", workers, ACCESS_RULES_FILE=file)
    [line] = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert (ended.returncode, ended.stdout) == (2, "")
    assert line.startswith(
        f"stateroom: ACCESS_RULES_FILE: {file}, line 4: a rule has no key 'path'; its keys are name, hosts, paths"
    )


def test_a_wrong_file_does_not_keep_an_operator_from_ending_sessions(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(OPEN)
    with serving(tmp_path, file) as service:
        service.sign_in()
        file.write_text("no rules")
        done = command("users", "disable", "demo@example.com", ACCESS_RULES_FILE=file)
        assert done.returncode == 0, done.stderr
