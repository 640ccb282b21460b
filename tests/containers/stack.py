"""Runs the stack of `docker-compose.sentinel.yml` with podman-compose and the images of `images.py`.

podman before 4.6 knows no conditions between containers. So this module keeps the compose file's order itself, by waiting
for the health of each container. `--no-deps` also prevents dependencies that would forbid podman to restart one container
while another is down.
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
"""All services except Grafana: see `images.py`."""


@dataclass
class Stack:
    """One stack, with its own name, secrets and ports."""

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
        """Stop and remove the stack. It may exist only in part, about which podman-compose complains."""
        self.compose("down", "--volumes", "--timeout", "1", check=False)

    def compose(self, *words: str, check: bool = True) -> None:
        command = [compose_command(), "--file", str(COMPOSE_FILE), "--project-name", self.project, *words]
        subprocess.run(command, check=check, env=self.environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def wait_for(self, service: str) -> None:
        """Wait until a container is healthy. Without a health check, until it runs; if it is meant to end, until it has ended."""
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
    """The path of podman-compose, beside this Python or on the PATH."""
    here = Path(sys.executable).with_name("podman-compose")
    found = str(here) if here.exists() else shutil.which("podman-compose")
    assert found is not None, "podman-compose is not installed"
    return found


def main(words: Sequence[str]) -> None:
    stack = Stack("stateroom", Path("secrets").absolute(), 8080)
    {"up": stack.up, "down": stack.down}[words[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
