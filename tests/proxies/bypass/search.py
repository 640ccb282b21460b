"""Sends generated requests through a proxy with its shipped configuration, and collects what the judge complains about.

By hand: `python -m tests.proxies.bypass.search [--requests 10000] [--seed 1] [PROXY …]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ...commands import Serving, environment
from ..shipped import APPLICATION, COMMANDS, PROXY, SECOND, STATEROOM, running, with_host, with_second
from .draft import AREAS, HOSTS
from .grammar import Attempt, attempt
from .judge import RULES, Sender, complaint
from .plain import NUMBER, Arrival, Plain, plain_application
from .raw import send

AT_ONCE = 16
USERS = {"member": ("staff",), "guest": ()}
PASSWORD = "correct horse battery"
Change = Callable[[str], str]


@dataclass
class Street:
    """A proxy with Stateroom and two plain applications behind it, and the users who use it.

    `plain`, `staff`: the applications of the first two `HOSTS`.
    """

    proxy: str
    port: int
    plain: Plain
    staff: Plain
    senders: dict[str, Sender]
    credentials: dict[str, list[tuple[str, str]]]


@dataclass
class Findings:
    """What a search has seen. `complaints`: each with the bytes that were sent and that arrived."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(self.statuses.items()))
        arrived = ", ".join(f"{what}: {count}" for what, count in sorted(self.arrived.items()))
        return f"{self.requests} requests; answers {statuses}; arrived {arrived}; {len(self.complaints)} complaints"


@contextlib.asynccontextmanager
async def street(proxy: str, folder: Path, change: Change = lambda text: text) -> AsyncIterator[Street]:
    """`change`: what a test does to the shipped files."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = folder / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    settings = {
        "TRUSTED_PROXIES": "127.0.0.1/32", "ACCESS_RULES_FILE": rules, "FORWARD_AUTH_PROXY": proxy.lower(),
        "LOGIN_URL": "/.stateroom/login", "COOKIE_SECURE": "false", "SESSION_NAME": "session_id", "LOG_LEVEL": "warning",
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        plain, staff = [await stack.enter_async_context(plain_application()) for _ in range(2)]
        service = await asyncio.to_thread(Serving(folder, **settings).__enter__)
        stack.callback(service.__exit__, None, None, None)
        ports = {STATEROOM: service.port, APPLICATION: plain.port, SECOND: staff.port, PROXY: free_port()}
        process = await stack.enter_async_context(
            running(proxy, folder / proxy, ports, change=lambda text: change(with_both(text)))
        )
        senders, credentials = await asyncio.to_thread(_sign_in, service, folder, settings)
        made = Street(proxy, ports[PROXY], plain, staff, senders, credentials)

        async def is_up() -> bool:
            assert process.returncode is None, (folder / proxy / "log").read_text()
            return await send(made.port, b"GET /open/ HTTP/1.1\r\nHost: app.test\r\n\r\n", is_h2=False) == 200

        await until(is_up, f"{proxy} answers", seconds=30)
        plain.arrived.clear()
        yield made


def with_both(text: str) -> str:
    """Let the proxy know the hosts of both applications."""
    return with_second(with_host(text, HOSTS[0]), HOSTS[1])


def _sign_in(
    service: Serving, folder: Path, settings: Mapping[str, object]
) -> tuple[dict[str, Sender], dict[str, list[tuple[str, str]]]]:
    senders, credentials = {}, {}
    for name, groups in USERS.items():
        account = {"email": f"{name}@example.com", "password": PASSWORD, "name": name.title()}
        words = [
            sys.executable, "-m", "stateroom", "users", "add", account["email"], "--name", account["name"], "--password-stdin",
            *(f"--group={group}" for group in groups),
        ]  # fmt: skip
        own = environment(folder, dict(settings))
        subprocess.run(words, env=own, cwd=folder, check=True, capture_output=True, input=PASSWORD.encode())
        status, document, cookie = service.call("POST", "/api/auth/login", account)
        assert status == 200, document
        _, signed_in, _ = service.call("POST", "/api/auth/login", account | {"transport": "bearer"})
        bearer = str(signed_in["session_token"])
        identity = {
            "remote-user": str(document["user"]["id"]), "remote-email": account["email"], "remote-name": account["name"],
            "remote-groups": ",".join(groups), "remote-session-degraded": "false",
        }  # fmt: skip
        senders[name] = Sender(identity, "staff" in groups, (cookie.partition("=")[2], bearer))
        credentials[name] = [("Cookie", f"theme=dark; {cookie}"), ("Cookie", cookie), ("Authorization", f"Bearer {bearer}")]
    return senders, credentials


async def search(street: Street, seed: int, requests: int) -> Findings:
    """Send the requests of a seed, and judge all that arrived."""
    attempts = [attempt(seed, number, street.credentials) for number in range(requests)]
    found, waiting = Findings(requests), iter(attempts)

    async def some() -> None:
        for each in waiting:
            found.statuses[await send(street.port, each.raw, is_h2=each.is_h2, tunnelled=each.tunnelled)] += 1

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    for host, plain in zip(HOSTS[:2], (street.plain, street.staff), strict=True):
        for arrival in plain.arrived:
            _judge(street, seed, attempts, arrival, host, found)
    return found


def _judge(street: Street, seed: int, attempts: list[Attempt], arrival: Arrival, host: str, found: Findings) -> None:
    """`host`: of the application that the request reached."""
    numbers = set(arrival.values(NUMBER))
    sent = attempts[int(numbers.pop())] if len(numbers) == 1 and min(numbers).isdigit() else None
    senders = [street.senders[name] for name in sent.senders] if sent else []
    if words := complaint(arrival, senders, host):
        origin = (
            f"request {sent.number}, sent by {set(sent.senders) or 'nobody'} ({', '.join(sent.tricks)}):\n{sent.raw!r}"
            if sent
            else "nobody knows"
        )
        found.complaints.append(f"{street.proxy}, seed {seed}: {words}\n{origin}\narrived as:\n{arrival.raw!r}")
    host = "" if host == HOSTS[0] else f"{host} "
    area = host + next((area for area in AREAS if arrival.target.startswith(area.removesuffix("a"))), "other")
    version = "HTTP/2" if sent and sent.is_h2 else "HTTP/1"
    found.arrived[f"{'+'.join(sorted(sent.senders)) if sent and sent.senders else 'nobody'} {area} {version}"] += 1


async def _by_hand(proxies: list[str], seed: int, requests: int, folder: Path) -> int:
    complaints = 0
    for proxy in proxies:
        async with street(proxy, folder / proxy) as made:
            start = monotonic()
            found = await search(made, seed, requests)
        print(f"{proxy}, seed {seed}: {found}; {monotonic() - start:.0f} s", *found.complaints[:5], sep="\n\n", flush=True)
        complaints += len(found.complaints)
    return complaints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proxies", nargs="*", metavar="PROXY", help=f"of {', '.join(COMMANDS)} (all)")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_by_hand(asked.proxies or list(COMMANDS), asked.seed, asked.requests, Path(folder)))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
