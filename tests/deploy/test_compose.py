"""The compose file and the Dockerfile: their own tools accept them, and their ports and secrets are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stateroom.serving.process import DRAIN_SECONDS
from stateroom.settings import Settings

from ..conftest import require_tool
from .promql import ROOT, load

COMPOSE_FILE = ROOT / "docker-compose.sentinel.yml"
SERVICES: dict[str, dict[str, Any]] = load(COMPOSE_FILE)["services"]


def tool(name: str) -> str:
    """The path of a tool from PyPI, beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else require_tool(name)


def test_it_is_a_compose_file() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    done = subprocess.run(
        [tool("hadolint"), str(ROOT / "deploy" / "Dockerfile")], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_is_there() -> None:
    assert set(SERVICES) == {
        *(f"redis-{number}" for number in range(3)), *(f"sentinel-{number}" for number in range(3)),
        "postgres", "upgrade", "stateroom-0", "stateroom-1", "nginx", "prometheus", "grafana",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["stateroom-0", "stateroom-1"])
def test_the_service_is_given_the_time_that_a_drain_takes(name: str) -> None:
    delay = float(SERVICES[name]["environment"].get("DRAIN_DELAY", 0))
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > delay + DRAIN_SECONDS


def test_only_nginx_and_grafana_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "grafana"}
    for ports in published.values():
        assert all(str(port).startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_have_no_more_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges" in str(service["security_opt"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_is_in_the_environment(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if any(word in variable for word in ("PASSWORD", "KEYS", "DATABASE_URL", "TOKEN")):
            assert str(value).startswith("/run/secrets/"), variable


def test_every_container_has_an_address_of_its_own() -> None:
    """Each container has a fixed address. Otherwise the engine could give one container's address to another."""
    addresses = {name: service["networks"]["inside"]["ipv4_address"] for name, service in SERVICES.items()}
    assert len(set(addresses.values())) == len(SERVICES)
    for name in ("stateroom-0", "stateroom-1"):
        assert SERVICES[name]["environment"]["TRUSTED_PROXIES"] == addresses["nginx"]


def test_settings_exist() -> None:
    for name in ("stateroom-0", "stateroom-1", "upgrade"):
        for variable in SERVICES[name]["environment"]:
            assert variable.removesuffix("_FILE").lower() in Settings.model_fields, variable


def test_secrets_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    script = [sys.executable, str(ROOT / "deploy" / "make_secrets.py"), str(folder)]
    first = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(load(COMPOSE_FILE)["secrets"]) == set(made)
    for name, content in made.items():
        assert content.strip() not in first, name
    assert Settings(_env_file=None, cookie_keys=made["cookie_keys"].strip()).key_ring
    for user in ("stateroom", "sentinel", "replica"):
        [line] = [line for line in made["users.acl"].splitlines() if line.startswith(f"user {user} ")]
        assert " #" in line
    subprocess.run(script, capture_output=True, check=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
