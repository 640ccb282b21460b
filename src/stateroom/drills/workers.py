"""The processes of a service that a drill puts clients on: ours, or a peer's under the same judge."""

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
from .ports import LOOPBACK, free_port
from .topology import killed_with_parent, until

READY_SECONDS = 30.0
SERVICE_STOP_SECONDS = 15.0
ASK_TIMEOUT = aiohttp.ClientTimeout(total=3.0)

SERVICES = {"stateroom": "stateroom.drills.worker", "aiohttp-session": "stateroom.drills.peer"}
"""What can be drilled, and the module that runs it."""


@dataclass
class Worker:
    """One process of a service. `source`: where its connections come from; `module`: what it runs."""

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
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "worker.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, "--source", self.source, *self.switches,
                cwd=self.folder, env={**_surroundings(), **self.environment, "PORT": str(self.port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=killed_with_parent,
            )  # fmt: skip
        await until(self.is_ready, f"{self.url} answers (log: {self.folder}/worker.log)", seconds=READY_SECONDS)

    async def is_ready(self) -> bool:
        assert self._process is not None, "the worker was not started"
        if self._process.returncode is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}: see {self.folder}/worker.log")
        return await self._get("/readyz") is not None

    async def state(self) -> str:
        """The store as this process sees it; `none` where the process does not answer."""
        return await self._get("/drill/state") or "none"

    async def longest_standstill(self) -> float:
        """Seconds that its event loop was held up for, at most, since this was asked last; 0 for less than 0.05."""
        return float(await self._get("/drill/standstill") or "nan")

    async def metric(self, sample: str) -> float | None:
        """A figure of its `/metrics`, by name and labels as they stand there."""
        for line in (await self._get("/metrics") or "").splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None

    async def stop(self) -> None:
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
    """The environment without settings of ours: a drill must not reach what they name."""
    own = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in own}
