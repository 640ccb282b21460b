"""The stack of `docker-compose.sentinel.yml`, started by podman-compose on images of `images.py`.

podman before 4.6 knows no conditions between containers: the order that the compose file asks for is kept here, by
asking after each container's health. `--no-deps` also keeps podman-compose from tying containers together in a way that
forbids podman to restart one while another is down.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .images import COMPOSE_FILE, ROOT, environment

READY_SECONDS = 60.0
IN_ORDER = (
    ("redis-0", "redis-1", "redis-2", "postgres"),
    ("sentinel-0", "sentinel-1", "sentinel-2", "upgrade"),
    ("stateroom-0", "stateroom-1"),
    ("nginx", "prometheus"),
)
"""All but Grafana: see `images.py`."""


@dataclass
class Stack:
    """One stack, with a name, secrets and ports of its own."""

    project: str
    secrets: Path
    http_port: int
    network: str = "10.203.7"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **environment(),
            "STACK_SECRETS": str(self.secrets),
            "STACK_HTTP_PORT": str(self.http_port),
            "STACK_NETWORK": self.network,
        }

    def up(self) -> None:
        subprocess.run([sys.executable, str(ROOT / "deploy" / "make_secrets.py"), str(self.secrets)], check=True)
        for services in IN_ORDER:
            self.compose("up", "--detach", "--no-build", "--no-deps", *services)
            for service in services:
                self.wait_for(service)

    def down(self) -> None:
        """Also where only a part of it is there, which podman-compose complains of."""
        self.compose("down", "--volumes", "--timeout", "1", check=False)

    def compose(self, *words: str, check: bool = True) -> None:
        command = [compose_command(), "--file", str(COMPOSE_FILE), "--project-name", self.project, *words]
        subprocess.run(command, check=check, env=self.environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def wait_for(self, service: str) -> None:
        """Until it is healthy; where it has no check of its health, until it runs; where it is to end, until it has."""
        container, deadline = f"{self.project}_{service}_1", time.monotonic() + READY_SECONDS
        while not self._is_well(service, container):
            if time.monotonic() > deadline:
                logs = self.podman("logs", "--tail", "30", container)
                raise TimeoutError(f"{service} is not well:\n{logs.stdout}{logs.stderr}")
            time.sleep(0.3)

    def _is_well(self, service: str, container: str) -> bool:
        if service == "upgrade":
            return (
                self.podman("inspect", container, "--format", "{{.State.Status}} {{.State.ExitCode}}").stdout.strip() == "exited 0"
            )
        if service in {"nginx", "prometheus"}:
            return self.podman("inspect", container, "--format", "{{.State.Status}}").stdout.strip() == "running"
        return self.podman("healthcheck", "run", container).returncode == 0

    def podman(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["podman", *words], check=False, env=self.environment, capture_output=True, text=True)


def compose_command() -> str:
    """podman-compose, from the folder of this Python or the path."""
    here = Path(sys.executable).with_name("podman-compose")
    found = str(here) if here.exists() else shutil.which("podman-compose")
    assert found is not None, "podman-compose is not installed"
    return found


def main(words: Sequence[str]) -> None:
    stack = Stack("stateroom", Path("secrets").absolute(), 8080)
    {"up": stack.up, "down": stack.down}[words[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
