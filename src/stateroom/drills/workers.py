"""The processes of the drilled service: Stateroom, or a peer that is judged by the same rules."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from ..settings import Settings
from .node import killed_with_parent, until
from .ports import LOOPBACK, free_port

READY_SECONDS = 30.0
SERVICE_STOP_SECONDS = 15.0
ASK_TIMEOUT = aiohttp.ClientTimeout(total=3.0)

SERVICES = {"stateroom": "stateroom.drills.worker", "aiohttp-session": "stateroom.drills.peer"}
"""The services that can be drilled, and the module that runs each."""


@dataclass
class Worker:
    """One process of a service.

    `source`: the address that it connects from. `environment`: its settings. `switches`: its options. `module`: what it runs.
    """

    folder: Path
    source: str
    environment: Mapping[str, str]
    switches: Sequence[str] = ()
    module: str = SERVICES["stateroom"]
    port: int = field(default_factory=free_port)

    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start, and return when `/readyz` responds with 200."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "worker.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, "--source", self.source, *self.switches,
                cwd=self.folder, env={**_surroundings(), **self.environment, "PORT": str(self.port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=killed_with_parent,
            )  # fmt: skip
        await until(self.is_ready, f"{self.url} responds (log: {self.folder}/worker.log)", seconds=READY_SECONDS)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `stateroom` with this process's settings. Returns the exit status and the output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stateroom", *arguments, cwd=self.folder, env={**_surroundings(), **self.environment},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            preexec_fn=killed_with_parent,
        )  # fmt: skip
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace").strip()

    async def is_ready(self) -> bool:
        """Whether `/readyz` responds with 200. Raises `RuntimeError` if the process has ended."""
        assert self._process is not None, "the worker was not started"
        if self._process.returncode is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}: see {self.folder}/worker.log")
        return await self._get("/readyz") is not None

    async def state(self) -> str:
        """The state of Redis as this process reports it; `none` if the process does not respond."""
        return await self._get("/drill/state") or "none"

    async def longest_standstill(self) -> float:
        """The longest standstill of its event loop since the last call, in seconds; 0 if none was as long as 0.05 s."""
        return float(await self._get("/drill/standstill") or "nan")

    async def longest_blocked(self) -> float:
        """The longest time for which a call blocked its event loop since this was asked last, in seconds; 0 if below 0.05 s.

        The time that it waited for a processor does not count.
        """
        return float(await self._get("/drill/blocked") or "nan")

    async def metric(self, sample: str) -> float | None:
        """A figure from its `/metrics`. `sample`: its name and labels, as written there."""
        for line in (await self._get("/metrics") or "").splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None

    async def stop(self) -> None:
        """Stop with SIGTERM, so that it drains."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(SERVICE_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _get(self, path: str) -> str | None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with aiohttp.ClientSession(timeout=ASK_TIMEOUT) as session, session.get(f"{self.url}{path}") as response:
                return await response.text() if response.status == 200 else None
        return None


def _surroundings() -> dict[str, str]:
    """The environment without Stateroom's settings. A drill must not connect to the servers that they name."""
    own = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in own}
