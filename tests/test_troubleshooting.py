"""docs/troubleshooting.md: its commands run, its settings stop startup, and what it names exists."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stateroom.errors import SettingsError
from stateroom.settings import Settings

from .commands import SOURCES, Serving, environment
from .conftest import require_tool
from .deploy.promql import exported
from .documents import blocks, examples, page

PAGE = "troubleshooting.md"
BLOCKS = examples(PAGE, "sh")
SIGN_IN = BLOCKS[0].partition("\n")[2]


def section(heading: str) -> str:
    _, found, rest = page(PAGE).partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def commands(heading: str, number: int = 0) -> str:
    """A block of a section, without the lines that this machine has no servers for."""
    found = blocks(section(heading), "sh")[number]
    return "".join(line + "\n" for line in found.splitlines() if not line.startswith("stateroom doctor"))


class Shell:
    """Runs commands with `$B` set and a file of cookies."""

    def __init__(self, base: str, folder: Path) -> None:
        self._base, self._folder = base, folder

    def __call__(self, script: str) -> str:
        environment = os.environ | {"B": self._base, "COOKIE_KEYS": "x"}
        done = subprocess.run(
            ["sh", "-euc", script], cwd=self._folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    require_tool("curl")
    folder = tmp_path_factory.mktemp("troubleshooting")
    with Serving(folder) as service:
        yield Shell(f"http://127.0.0.1:{service.port}", folder)


def test_the_demo_user_is_signed_in_and_the_cookie_is_shown(shell: Shell) -> None:
    assert "login successful" in shell(SIGN_IN)
    assert "set-cookie: session_id=" in shell(commands("The browser does not keep the cookie")).lower()


def test_forms_of_another_origin_are_refused(shell: Shell) -> None:
    own, other = shell(commands("403 on every form")).split()
    assert (own, other) == ("200", "403")


def test_a_sign_out_is_the_reason_of_the_end(shell: Shell) -> None:
    shell(SIGN_IN)
    shell('curl -s -b jar -X POST "$B/api/auth/logout"')
    assert '"ended":"logout"' in shell(commands("401 with session-ended"))


def test_metrics_hide_from_proxies_and_other_names(shell: Shell) -> None:
    assert shell(commands("/metrics is 404")).split() == ["200", "404", "404"]


@pytest.mark.parametrize("heading", ["503 session storage degraded", "Sign-outs take half a second"])
def test_states_are_seen_in_the_metrics(shell: Shell, heading: str) -> None:
    found = shell(commands(heading))
    assert 'stateroom_store_state{state="settled"} 1.0' in found
    assert found.startswith("200\n") == heading.startswith("503")


def test_a_header_that_is_too_large_is_431(shell: Shell) -> None:
    assert shell(commands("A header is too large")) == "431\n"


def test_hashes_of_keys_are_compared(shell: Shell) -> None:
    text = section("Sessions are not shared between hosts")
    of_file, of_variable = re.findall(r"^   (.*sha256sum.*)$", text, re.MULTILINE)
    expected = hashlib.sha256(b"x").hexdigest()
    assert shell(f"printf x > keys; COOKIE_KEYS_FILE=keys; {of_file}").split()[0] == expected
    assert shell(of_variable).split()[0] == expected
    unset = shell(f"unset COOKIE_KEYS; {of_variable}")
    assert f"A hash that begins with `{unset[:8]}` means" in text


def test_a_port_in_use_is_named(shell: Shell, tmp_path: Path) -> None:
    port = shell('echo "${B##*:}"').strip()
    command = [sys.executable, "-m", "stateroom", "serve"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path, {"PORT": port}), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"PORT: {port} on 127.0.0.1 is in use" in done.stderr


EXAMPLES = re.findall(r"^\| `([A-Z_]+)=([^`]*)` \| (.+?) \| .+ \|$", section("Startup stops with one line"), re.MULTILINE)


@pytest.mark.parametrize(("name", "value", "fault"), EXAMPLES, ids=[f"{name}={value}" for name, value, _ in EXAMPLES])
def test_each_example_stops_startup_with_a_line_that_names_the_setting(
    name: str, value: str, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in Settings.model_fields:
        monkeypatch.delenv(given.upper(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as stopped:
        Settings.for_service()
    [named] = re.findall(r"^(?:in embedded mode )?`?([A-Z_]+)", fault)
    assert named in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_settings_that_it_names_exist() -> None:
    text = page(PAGE)
    for misspelt in ("REDIS_SSL", "REDIS_HSOT"):
        text = text.replace(misspelt, "")
    named = set(
        re.findall(r"\b(?:REDIS|COOKIE|SESSION|JOURNAL|DATABASE|DEGRADED|LOGIN|METRICS|PUBLIC|CORS|TRUSTED)_[A-Z_]+\b", text)
    )
    assert len(named) > 30
    assert {name.lower().removesuffix("_file") for name in named} <= set(Settings.model_fields)


def test_metrics_that_it_names_exist() -> None:
    assert set(re.findall(r"\bstateroom_\w+(?=[`{])", page(PAGE))) <= exported()


@pytest.mark.parametrize(
    "event",
    ["session_cookie_doubled", "session_restored", "sign_in_throttled", "change_limit_reached", "redis_circuit_opened",
     "redis_away_at_start", "stream_closed", "untested_versions"],
)  # fmt: skip
def test_events_that_it_names_are_logged(event: str) -> None:
    assert f"`{event}`" in page(PAGE)
    assert any(f'"{event}"' in path.read_text(encoding="utf-8") for path in Path(SOURCES).rglob("stateroom/**/*.py"))


def test_findings_of_the_doctor_that_it_names_exist() -> None:
    named = set(re.findall(r"^\| `([a-z-]+)` \|", section("stateroom doctor prints a fault"), re.MULTILINE))
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(SOURCES).rglob("stateroom/doctor/*.py"))
    assert len(named) > 8
    assert {name for name in named if f'"{name}"' not in sources} == set()


def test_the_table_of_symptoms_leads_to_every_entry() -> None:
    text = page(PAGE)
    linked = set(re.findall(r"\]\(#([^)]+)\)", text.partition("\n## ")[0]))
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert linked == {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
