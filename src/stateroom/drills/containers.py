"""The containers of `docker-compose.sentinel.yml`, and the means to break and repair them, with docker or podman."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ..errors import StateroomError
from .topology import SERVICE_NAME

SERVERS = ("redis-0", "redis-1", "redis-2")
SENTINELS = ("sentinel-0", "sentinel-1", "sentinel-2")
WORKERS = ("stateroom-0", "stateroom-1")
NODE_SCRIPT = "/stateroom/redis-node.sh"
NETWORK = "inside"
ENGINES = ("docker", "podman")
ENGINE_SECONDS = 30.0

METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics', timeout=3).read().decode())"


class DrillError(StateroomError):
    """The stack cannot be drilled. The message says why."""


@dataclass(frozen=True)
class Engine:
    """The container engine, and the name of the stack in it. `command`: docker or podman."""

    command: str
    project: str

    @classmethod
    async def find(cls, project: str) -> Engine:
        """The engine that has this stack. Raises `DrillError`."""
        for command in ENGINES:
            if shutil.which(command):
                engine = cls(command, project)
                with contextlib.suppress(DrillError):
                    await engine.container(SERVERS[0])
                    return engine
        raise DrillError(
            f"neither docker nor podman has a stack {project}; "
            "run `docker compose -f docker-compose.sentinel.yml up`, or set COMPOSE_PROJECT_NAME"
        )

    async def run(self, *words: str) -> str:
        """Run a command of the engine and return what it prints. Raises `DrillError`."""
        process = await asyncio.create_subprocess_exec(
            self.command, *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(ENGINE_SECONDS):
                printed, complaint = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise DrillError(f"{self.command} {words[0]} took more than {ENGINE_SECONDS:g} s") from None
        if process.returncode:
            raise DrillError(f"{self.command} {' '.join(words)}: {complaint.decode().strip()}")
        return printed.decode()

    async def container(self, service: str) -> str:
        """The id of a service's container, whether it runs or not. Raises `DrillError`."""
        labels = (f"label=com.docker.compose.{name}" for name in (f"project={self.project}", f"service={service}"))
        found = await self.run("ps", "--all", "--quiet", *(word for label in labels for word in ("--filter", label)))
        if not found.strip():
            raise DrillError(f"{self.command} has no container of the service {service}")
        return found.split()[0]


@dataclass
class Stack:
    """The stack's containers. `containers`: their ids, by service. `addresses`: of services that are cut off.

    Questions are asked one after the other. Each starts a process in a container, on the processors that the service needs.
    """

    engine: Engine
    containers: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def find(cls, project: str) -> Stack:
        """The stack with this name. Raises `DrillError`."""
        engine = await Engine.find(project)
        names = (*SERVERS, *SENTINELS, *WORKERS)
        return cls(engine, {name: await engine.container(name) for name in names})

    async def kill(self, name: str) -> None:
        """Kill a container with SIGKILL."""
        await self.engine.run("kill", "--signal", "KILL", self.containers[name])

    async def start(self, name: str) -> None:
        """Start a container that was killed."""
        await self.engine.run("start", self.containers[name])

    async def pause(self, name: str) -> None:
        """Freeze a container: its connections stay open, and it answers nothing."""
        await self.engine.run("pause", self.containers[name])

    async def unpause(self, name: str) -> None:
        """Continue a frozen container."""
        await self.engine.run("unpause", self.containers[name])

    async def cut_off(self, name: str) -> None:
        """Disconnect a container from the network."""
        self.addresses[name] = await self._address(name)
        await self.engine.run("network", "disconnect", self._network, self.containers[name])

    async def reconnect(self, name: str) -> None:
        """Connect a container again, with its old name and address, which the engine forgets."""
        where = ("--alias", name, "--ip", self.addresses[name])
        await self.engine.run("network", "connect", *where, self._network, self.containers[name])

    async def primary(self) -> str | None:
        """The service that most Sentinels name as primary; None without a majority."""
        named = Counter([await self._named(sentinel) for sentinel in SENTINELS])
        name, votes = named.most_common(1)[0]
        return name if votes * 2 > len(SENTINELS) else None

    async def is_whole(self) -> bool:
        """Whether each Sentinel sees the primary, two replicas linked to it, and the other Sentinels."""
        return await _all(self._sees_all, SENTINELS)

    async def is_settled(self) -> bool:
        """Whether each process of the service reports Redis as settled."""
        return await _all(self._reports_settled, WORKERS)

    async def ask(self, sentinel: str, *words: str) -> list[str]:
        """The lines of a Sentinel's reply; none if it does not reply."""
        with contextlib.suppress(DrillError):
            return (await self.engine.run("exec", self.containers[sentinel], "sh", NODE_SCRIPT, "ask", *words)).splitlines()
        return []

    @property
    def _network(self) -> str:
        return f"{self.engine.project}_{NETWORK}"

    async def _address(self, name: str) -> str:
        template = f'{{{{(index .NetworkSettings.Networks "{self._network}").IPAddress}}}}'
        return (await self.engine.run("inspect", "--format", template, self.containers[name])).strip()

    async def _named(self, sentinel: str) -> str | None:
        lines = await self.ask(sentinel, "sentinel", "get-master-addr-by-name", SERVICE_NAME)
        return lines[0] if len(lines) == 2 else None

    async def _sees_all(self, sentinel: str) -> bool:
        master = _members(await self.ask(sentinel, "sentinel", "master", SERVICE_NAME))
        replicas = _members(await self.ask(sentinel, "sentinel", "replicas", SERVICE_NAME))
        linked = [
            each
            for each in replicas
            if each["flags"] == "slave" and each.get("master-link-status") == "ok" and each.get("master-host") == master[0]["ip"]
        ]
        return (
            [each["flags"] for each in master] == ["master"]
            and master[0]["num-other-sentinels"] == str(len(SENTINELS) - 1)
            and len(linked) == len(replicas) == len(SERVERS) - 1
        )

    async def _reports_settled(self, worker: str) -> bool:
        with contextlib.suppress(DrillError):
            lines = (await self.engine.run("exec", self.containers[worker], "python3", "-c", METRICS)).splitlines()
            return any(line.startswith('stateroom_store_state{state="settled"} 1') for line in lines)
        return False


async def _all(is_so: Callable[[str], Awaitable[bool]], names: Sequence[str]) -> bool:
    """Ask about each name, until the first for which it is not so."""
    for name in names:
        if not await is_so(name):
            return False
    return True


def _members(lines: Sequence[str]) -> list[dict[str, str]]:
    """Sentinel's maps. They arrive as one list of names and values, in which each map begins with `name`."""
    found: list[dict[str, str]] = []
    for key, value in zip(lines[::2], lines[1::2], strict=False):
        if key == "name":
            found.append({})
        if found:
            found[-1][key] = value
    return found
