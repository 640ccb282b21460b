"""README's commands do what README says, and its size and its pictures stay as they should be."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from .commands import Command, Serving
from .conftest import require_tool

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(word: str) -> str:
    """The only shell block of README that has this word."""
    [found] = [each for each in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if word in each]
    return str(found)


def test_the_walk_with_curl_survives_a_hung_redis(serving: Serving) -> None:
    for tool in ("curl", "pkill"):
        require_tool(tool)
    walk = block("pkill").replace("http://127.0.0.1:8080", f"http://127.0.0.1:{serving.port}")
    lines = [line for line in walk.splitlines() if line]
    assert sum(line.startswith("curl") for line in lines) == 5
    # The added line separates the JSON documents, which end without a newline.
    script = "\n".join(f"{line}\necho" if line.startswith("curl") else line for line in lines)
    try:
        done = subprocess.run(["bash", "-ec", script], cwd=serving.folder, capture_output=True, text=True, timeout=60, check=False)
    finally:
        subprocess.run(["pkill", "-CONT", "-f", f"{serving.folder}/var/valkey.sock"], check=False)
    assert done.returncode == 0, done.stderr
    signed_in, check, during, out, after = (json.loads(line) for line in done.stdout.splitlines())
    assert signed_in["message"] == "login successful"
    assert (check["authenticated"], check["degraded"]) == (True, False)
    assert (during["authenticated"], during["degraded"]) == (True, True)
    assert out["message"].startswith("logout successful")
    assert (after["authenticated"], after["ended"]) == (False, "logout")


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(README.split()) <= 1400
    assert README.index("](docs/drill.svg)") < 1000


def test_the_commands_of_the_readme_exist(command: Command) -> None:
    named = set(re.findall(r"(?<=[`/ ])stateroom ([a-z]+)(?=[ `])", README))
    assert {"keys", "db", "doctor", "serve", "drill"} <= named
    for name in named:
        assert command(name, "--help").returncode == 0, name
