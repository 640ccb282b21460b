"""Peers are pinned, with hashes if their installer supports them, and no file names a registry."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from bench import peers
from bench.processes import NotRunning

HERE = Path(peers.__file__).parent


def test_python_peers_are_pinned_with_hashes_and_share_our_aiohttp() -> None:
    pins = re.findall(r"(?m)^([\w.-]+)(\S+)", (HERE / "requirements.txt").read_text())
    ours = (HERE.parents[1] / "requirements.txt").read_text()

    assert {"aiohttp-session", "starsessions"} <= {name for name, _ in pins}
    assert all(version.startswith("==") for _, version in pins)
    for shared in ("aiohttp", "redis", "hiredis", "uvloop"):
        assert f"{shared}{dict(pins)[shared]} " in ours


def test_node_peers_are_exact_versions() -> None:
    pins = json.loads((HERE / "package.json").read_text())["dependencies"]

    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values())


def test_no_pin_names_a_registry() -> None:
    files = subprocess.run(["git", "ls-files", str(HERE)], cwd=HERE, capture_output=True, text=True, check=True).stdout.split()

    assert "package-lock.json" not in files
    for name in ("requirements.txt", "requirements.in", "package.json"):
        assert "://" not in (HERE / name).read_text()


@pytest.mark.parametrize(("tool", "fix"), [("node", "apt-get install nodejs npm"), ("go_program", "apt-get install golang-go")])
def test_a_tool_that_is_missing_is_named_with_its_fix(tool: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotRunning, match=fix):
        getattr(peers, tool).__wrapped__()
