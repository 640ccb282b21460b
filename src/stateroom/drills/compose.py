"""Drills on the containers of `docker-compose.sentinel.yml`: clients at nginx, the primary's container broken.

    python -m stateroom.drills.compose [SCENARIO ...]

The stack runs already, with docker or podman, and is whole again afterwards. What clients saw is judged as in the other
drills. Down-after is what the stack has, five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StateroomError
from .judge import Verdict, judge
from .load import Load
from .outcome import Outcome as Course
from .stage import Mark
from .target import cookie_of
from .topology import SERVICE_NAME

SERVERS = ("redis-0", "redis-1", "redis-2")
SENTINELS = ("sentinel-0", "sentinel-1", "sentinel-2")
WORKERS = ("stateroom-0", "stateroom-1")
NODE_SCRIPT = "/stateroom/redis-node.sh"
NETWORK = "inside"
ENGINES = ("docker", "podman")

STEADY_SECONDS = 3.0
BROKEN_SECONDS = 4.0
"""How long the old primary stays away after another has been named."""
WHOLE_SECONDS = 90.0
POLL_SECONDS = 0.3
ENGINE_SECONDS = 30.0
# A password hash of full strength takes a quarter of a second of a processor that everything else runs on as well.
SLOWEST_SECONDS = 2.0

METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics', timeout=3).read().decode())"


class DrillError(StateroomError):
    """The stack is not as a drill needs it; the message says what to do."""


@dataclass(frozen=True)
class Engine:
    """docker or podman, and the name of the stack in it."""

    command: str
    project: str

    @classmethod
    async def find(cls, project: str) -> Engine:
        """The one that has the stack. Raises `DrillError`."""
        for command in ENGINES:
            if shutil.which(command):
                engine = cls(command, project)
                with contextlib.suppress(DrillError):
                    await engine.container(SERVERS[0])
                    return engine
        raise DrillError(f"neither docker nor podman has a stack {project}; docs/compose.md says how to start it")

    async def run(self, *words: str) -> str:
        """What the command prints. Raises `DrillError`."""
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
            raise DrillError(f"{self.command} has no container of {service}")
        return found.split()[0]


@dataclass
class Stack:
    """The running containers, by the names of their services."""

    engine: Engine
    containers: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def find(cls, project: str) -> Stack:
        engine = await Engine.find(project)
        names = (*SERVERS, *SENTINELS, *WORKERS)
        return cls(engine, {name: await engine.container(name) for name in names})

    async def kill(self, name: str) -> None:
        await self.engine.run("kill", "--signal", "KILL", self.containers[name])

    async def start(self, name: str) -> None:
        await self.engine.run("start", self.containers[name])

    async def pause(self, name: str) -> None:
        await self.engine.run("pause", self.containers[name])

    async def unpause(self, name: str) -> None:
        await self.engine.run("unpause", self.containers[name])

    async def cut_off(self, name: str) -> None:
        self.addresses[name] = await self._address(name)
        await self.engine.run("network", "disconnect", self._network, self.containers[name])

    async def reconnect(self, name: str) -> None:
        """With its name and address: the engine forgets both."""
        where = ("--alias", name, "--ip", self.addresses[name])
        await self.engine.run("network", "connect", *where, self._network, self.containers[name])

    async def primary(self) -> str | None:
        """The server that most Sentinels name."""
        named = Counter(await asyncio.gather(*(self._named(sentinel) for sentinel in SENTINELS)))
        name, votes = named.most_common(1)[0]
        return name if votes * 2 > len(SENTINELS) else None

    async def is_whole(self) -> bool:
        """Whether each Sentinel sees a primary, two replicas linked to it, and the other Sentinels."""
        return all(await asyncio.gather(*(self._sees_all(sentinel) for sentinel in SENTINELS)))

    async def is_settled(self) -> bool:
        """Whether each process of the service finds its store settled."""
        return all(await asyncio.gather(*(self._finds_settled(worker) for worker in WORKERS)))

    async def ask(self, sentinel: str, *words: str) -> list[str]:
        """A Sentinel's answer, line by line; nothing where it has none."""
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

    async def _finds_settled(self, worker: str) -> bool:
        with contextlib.suppress(DrillError):
            lines = (await self.engine.run("exec", self.containers[worker], "python3", "-c", METRICS)).splitlines()
            return any(line.startswith('stateroom_store_state{state="settled"} 1') for line in lines)
        return False


def _members(lines: Sequence[str]) -> list[dict[str, str]]:
    """Sentinel's maps, which come as one list of names and values. Each begins with `name`."""
    found: list[dict[str, str]] = []
    for key, value in zip(lines[::2], lines[1::2], strict=False):
        if key == "name":
            found.append({})
        if found:
            found[-1][key] = value
    return found


@dataclass(frozen=True)
class Scenario:
    """How the primary goes away, and how it is brought back."""

    says: str
    breaks: Callable[[Stack, str], Awaitable[None]]
    mends: Callable[[Stack, str], Awaitable[None]]


SCENARIOS = {
    "kill-primary": Scenario("the primary's container is killed", Stack.kill, Stack.start),
    "pause-primary": Scenario("the primary's container is stopped where it stands", Stack.pause, Stack.unpause),
    "cut-off-primary": Scenario("the primary's container loses its network", Stack.cut_off, Stack.reconnect),
}


@dataclass
class Outcome:
    """What came of one scenario. Times in seconds since the break, or since the mend."""

    scenario: str
    primaries: tuple[str, str] = ("", "")
    promoted_after: float = 0.0
    whole_after: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)
    course: Course | None = None

    def told(self) -> str:
        """In a few lines."""
        seen = self.verdict
        slowest = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in sorted(seen.slowest.items()))
        requests = ", ".join(f"{count} {kind}s" for kind, count in sorted(seen.requests.items()))
        return (
            f"{self.scenario}: {'; '.join(self.faults) if self.faults else 'nothing amiss'}\n"
            f"  {' to '.join(self.primaries)} in {self.promoted_after:.1f} s; whole {self.whole_after:.1f} s after the mend\n"
            f"  {requests}; slowest {slowest}\n"
            f"  {seen.degraded} degraded, {len(seen.refused)} refused, {len(seen.out)} told that they are signed out\n"
            f"  {len(seen.lost)} sessions lost, {len({id(each.session) for each in seen.back})} ended sessions back"
        )

    def figures(self) -> dict[str, object]:
        """For a file."""
        seen = self.verdict
        return {
            "scenario": self.scenario, "primary_before": self.primaries[0], "primary_after": self.primaries[1],
            "promoted_after": round(self.promoted_after, 2), "whole_after": round(self.whole_after, 2),
            "requests": dict(seen.requests), "degraded": seen.degraded, "refused": len(seen.refused), "out": len(seen.out),
            "lost": len(seen.lost), "back": len(seen.back),
            "slowest": {kind: round(seconds, 3) for kind, seconds in seen.slowest.items()}, "faults": self.faults,
        }  # fmt: skip


async def drill(stack: Stack, name: str, url: str, *, slowest: float = SLOWEST_SECONDS) -> Outcome:
    """Play one scenario. Raises `DrillError` where the stack does not become whole."""
    scenario = SCENARIOS[name]
    outcome = Outcome(name)
    await _until(stack.is_whole, "the stack is whole before the drill")
    before = await stack.primary()
    assert before is not None, "it is whole"
    domain = f"{name}-{os.getpid()}-{time.time_ns()}.example.com"
    cookie = await cookie_of(url, domain)
    marks = []
    async with Load([url], readers=12, reads=60, writers=0, signers=4, logins=1, cookie=cookie, domain=domain) as load:
        began_at = time.monotonic()
        async with load.steady():
            await asyncio.sleep(STEADY_SECONDS)
            broken_at = time.monotonic()
            marks.append(Mark(broken_at, "fault", f"{before}: {scenario.says}"))
            await scenario.breaks(stack, before)
            try:
                after = await _other_primary(stack, before)
                outcome.promoted_after = time.monotonic() - broken_at
                marks.append(Mark(time.monotonic(), "note", f"most Sentinels name {after}"))
                await asyncio.sleep(BROKEN_SECONDS)
            finally:
                mended_at = time.monotonic()
                marks.append(Mark(mended_at, "mend", f"{before} is given back"))
                await scenario.mends(stack, before)
            await _until(stack.is_whole, "the old primary follows the new one")
            outcome.whole_after = time.monotonic() - mended_at
            await _until(stack.is_settled, "the service finds the store settled")
            await asyncio.sleep(STEADY_SECONDS)
        ended_at, ledger = time.monotonic(), load.ledger()
        # Each session is asked after more than once: nginx takes the processes in turn.
        outcome.verdict = await judge(ledger, [url] * len(WORKERS), cookie)
    outcome.primaries = (before, after)
    outcome.faults = outcome.verdict.faults(slowest=slowest, slowest_logout=slowest)
    if not outcome.verdict.degraded:
        outcome.faults.append("nothing was degraded: the drill has broken nothing")
    outcome.course = Course(
        name, scenario.says, "stateroom", began_at, ended_at, outcome.verdict, ledger, marks, faults=outcome.faults
    )  # fmt: skip
    return outcome


async def _other_primary(stack: Stack, before: str) -> str:
    named: list[str | None] = []

    async def is_named() -> bool:
        named[:] = [await stack.primary()]
        return named[0] not in {None, before}

    await _until(is_named, "the Sentinels name another primary")
    assert named[0] is not None, "one is named"
    return named[0]


async def _until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WHOLE_SECONDS
    while not await is_so():
        if time.monotonic() > deadline:
            raise DrillError(f"waited {WHOLE_SECONDS:g} s in vain until {what}")
        await asyncio.sleep(POLL_SECONDS)


def default_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('STACK_HTTP_PORT') or 8080}"


def default_project() -> str:
    return os.environ.get("COMPOSE_PROJECT_NAME") or "stateroom"


def play(names: Sequence[str], url: str, project: str, slowest: float = SLOWEST_SECONDS) -> list[Outcome]:
    """Play these, one after the other. Raises `StateroomError` where they cannot be played."""
    try:
        return asyncio.run(_play(names, url, project, slowest))
    except* StateroomError as group:  # the clients' task group wraps it
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _play(names: Sequence[str], url: str, project: str, slowest: float) -> list[Outcome]:
    stack = await Stack.find(project)
    outcomes = []
    for name in names:
        print(f"{name}: {SCENARIOS[name].says} ...", file=sys.stderr, flush=True)
        outcomes.append(await drill(stack, name, url, slowest=slowest))
        print(outcomes[-1].told(), flush=True)
    return outcomes


def main() -> None:
    """Exit 0 if every scenario passes, 1 if one does not, 2 where it could not be played."""
    parser = argparse.ArgumentParser(prog="python -m stateroom.drills.compose", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--url", default=default_url(), help="of nginx")
    parser.add_argument("--project", default=default_project(), help="name of the stack")
    parser.add_argument("--report", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--slowest", type=float, default=SLOWEST_SECONDS, help="seconds that an answer may take")
    given = parser.parse_args()
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]}; there are {', '.join(SCENARIOS)}")
    try:
        outcomes = play(given.scenarios or list(SCENARIOS), given.url, given.project, given.slowest)
    except StateroomError as error:
        print(f"drill: {error}", file=sys.stderr)
        sys.exit(2)
    if given.report is not None:
        given.report.write_text(json.dumps([each.figures() for each in outcomes], indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if any(each.faults for each in outcomes) else 0)


if __name__ == "__main__":
    main()
