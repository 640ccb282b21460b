"""The rows that are compared: the bare handler, Stateroom in several configurations, and the peers in `bench/peers/`.

Each row is a service that answers GET /api/auth/check of a signed-in session. The bodies are equal, the sessions contain the
same facts, each row has its own Valkey server, and no row writes an access log unless its name says so.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key

from . import forwarding, peers
from .processes import HERE, NotRunning, bare_handler, descendants, running, sign_in, wait_for
from .valkey import Valkey, valkey
from .wrk import CHECK, load, measure

SESSION = {
    "user_id": 1,
    "created_at": 1767225600000,
    "auth_time": 1767225600000,
    "ip_address": "127.0.0.1",
    "user_agent": "Python-urllib/3.11",
    "device_type": "bot",
    "flash": {"success": "Welcome, Ada."},
}
"""The facts that Stateroom stores in the session of a new account. The peers store the same facts."""

ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
SEALED_CHARACTERS = 160
"""About as many as the value of a cookie of the service has."""
CACHE_SECONDS = 5
WARM_SECONDS = 1


@dataclass(frozen=True)
class Target:
    """A running row: its port and a cookie. `pid`, `proxy`: the CPU time of these processes and their descendants counts."""

    port: int
    pid: int
    cookie: str = ""
    store: Valkey | None = None
    proxy: int | None = None
    path: str = CHECK

    def pids(self) -> list[int]:
        """All its processes now. A second worker starts after the first one answers."""
        roots = [self.pid, *([self.proxy] if self.proxy is not None else [])]
        counted = [pid for root in roots for pid in (root, *descendants(root))]
        return [*counted, *([self.store.pid] if self.store is not None else [])]

    def commands(self) -> int:
        return self.store.commands() if self.store is not None else 0

    def check(self) -> dict[str, Any]:
        """Its answer to a check. All rows must give the same answer, or the comparison is wrong."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}", headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request) as response:
            return dict(json.load(response))


def must_know_its_user(name: str, target: Target) -> None:
    """Ends the run where a row answers something else than a signed-in user: its figures would be of another step."""
    answer = target.check()
    if (answer["authenticated"], answer["degraded"]) != (True, False) or not answer["user_id"]:  # ids are random
        sys.exit(f"{name} does not know its user: {answer}")


Start = Callable[..., AbstractContextManager[Target]]


@dataclass(frozen=True)
class Row:
    """A row. `start` gets the row's own folder. It raises `NotRunning` if the row must be left out.

    `is_stateroom`: `start` also takes environment variables by name, so it can run the code of another tree.
    `script`: what wrk sends instead of checks, over `connections` (None: as many as the others).
    """

    key: str
    name: str
    start: Start
    is_stateroom: bool = False
    script: Path | None = None
    connections: int | None = None


@contextlib.contextmanager
def bare(_: Path) -> Iterator[Target]:
    port = free_port()
    with bare_handler(port) as pid:
        yield Target(port, pid)


@contextlib.contextmanager
def library(folder: Path, **settings: str) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-P", str(HERE / "library.py"), str(port)]
    with valkey() as store, started(command, stateroom(folder, store) | settings, folder, port) as pid:
        yield Target(port, pid, sign_in(port, "/login", json.dumps(SESSION).encode()), store)


@contextlib.contextmanager
def whole_service(folder: Path, *, workers: int = 1, **settings: str) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "stateroom", "serve", "--port", str(port), "--workers", str(workers)]
    with valkey() as store, started(command, stateroom(folder, store) | settings, folder, port) as pid:
        yield Target(port, pid, sign_in(port, "/api/auth/register", json.dumps(ACCOUNT).encode()), store)


@contextlib.contextmanager
def near_cache(folder: Path, **settings: str) -> Iterator[Target]:
    """The service with its cache. The row is left out if checks still send commands to Redis."""
    with whole_service(folder, workers=1, SESSION_CACHE_MAX_AGE=str(CACHE_SECONDS), **settings) as target:
        load(target.port, seconds=WARM_SECONDS, connections=8, cookie=target.cookie)
        asked = measure([], target.port, seconds=WARM_SECONDS, connections=8, cookie=target.cookie, redis_commands=target.commands)
        if asked.redis_commands > 0.9:
            raise NotRunning("this build takes no notice of SESSION_CACHE_MAX_AGE: each check asks Redis")
        yield target


@contextlib.contextmanager
def forward_auth(folder: Path, **settings: str) -> Iterator[Target]:
    """nginx that asks the service before each request. The row is left out if it lets somebody in who has no cookie."""
    with (
        whole_service(folder, workers=1, **(forwarding.SETTINGS | settings)) as service,
        forwarding.application(folder / "application") as (page, _),
        forwarding.proxy(folder / "nginx", asks=service.port, application=page) as (port, pid),
    ):
        got = [forwarding.status(port, cookie) for cookie in (service.cookie, "")]
        if got not in ([200, 401], [200, 302]):
            raise NotRunning(f"nginx answers {got[0]} with a cookie and {got[1]} without one")
        yield Target(port, service.pid, service.cookie, service.store, proxy=pid, path=forwarding.PAGE)


@contextlib.contextmanager
def forward_nothing(folder: Path) -> Iterator[Target]:
    """nginx that asks a server which answers 200 at once."""
    with (
        forwarding.application(folder / "application") as (page, anything),
        forwarding.proxy(folder / "nginx", asks=anything, application=page) as (port, pid),
    ):
        yield Target(port, pid, "session_id=" + "a" * SEALED_CHARACTERS, path=forwarding.PAGE)


@contextlib.contextmanager
def peer(folder: Path, command: Callable[[int, int], Sequence[str]]) -> Iterator[Target]:
    """A row for a peer. `command` returns the peer's command, given its port and its store's port."""
    port = free_port()
    with valkey() as store, started(command(port, store.port), {"NODE_ENV": "production"}, folder, port) as pid:
        yield Target(port, pid, sign_in(port, "/login", json.dumps(SESSION).encode()), store)


@contextlib.contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int) -> Iterator[int]:
    """Run a service. Yields its process id. Raises `NotRunning` with the last line of its output."""
    log = folder / "log"
    with running(command, environment, log=log) as process:
        try:
            wait_for(process, port, "/api/auth/check")
        except NotRunning as error:
            said = log.read_text(errors="replace").strip().splitlines()
            raise NotRunning(said[-1] if said else str(error)) from None
        yield process.pid


def stateroom(folder: Path, store: Valkey) -> dict[str, str]:
    """The settings of a single host, with the journal in SQLite."""
    return {
        "REDIS_URL": f"redis://127.0.0.1:{store.port}/0",
        "COOKIE_KEYS": new_key(),
        "STATE_DIR": str(folder / "var"),
        "LOG_LEVEL": "warning",
    }


BURST: dict[str, Any] = {
    "BCRYPT_ROUNDS": "4",
    "LOGIN_ATTEMPTS": "1000000",
    "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
    "TRUSTED_PROXIES": "127.0.0.1",
}
ROWS = (
    Row("bare", "bare aiohttp", bare),
    Row("library", "Stateroom, library in a bare app", library, is_stateroom=True),
    Row("service", "Stateroom, whole service", whole_service, is_stateroom=True),
    Row("service-logs", "Stateroom, access log on", partial(whole_service, LOG_LEVEL="info"), is_stateroom=True),
    Row("service-cache", "Stateroom, near cache on", near_cache, is_stateroom=True),
    Row("service-2", "Stateroom, two workers", partial(whole_service, workers=2), is_stateroom=True),
    Row(
        "burst",
        "Stateroom, two workers, registering and signing out",
        partial(whole_service, workers=2, **BURST),
        is_stateroom=True,
        script=HERE / "burst.lua",
        connections=16,
    ),
    Row("forward-auth", "nginx, asks Stateroom", forward_auth, is_stateroom=True),
    Row("forward-nothing", "nginx, asks a static 200", forward_nothing),
    Row("aiohttp-session", "aiohttp-session", partial(peer, command=peers.aiohttp_session)),
    Row("aiohttp-session-renew", "aiohttp-session, renewing", partial(peer, command=peers.aiohttp_session_renewing)),
    Row("starsessions", "starsessions, uvicorn", partial(peer, command=peers.starsessions)),
    Row("express-session", "express-session, Node", partial(peer, command=peers.express_session)),
    Row("gin", "gin, gorilla/sessions, Go", partial(peer, command=peers.gin)),
)
