"""Hosts as processes of their own, with the Redis and the user database that a test gives them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import redis

from stateroom.drills.node import Node
from stateroom.sessions.store.key_names import KeyNames

from ..commands import TIMEOUT_SECONDS, Serving, environment
from ..patience import wait_until
from ..servers import Servers
from .deployments import ADA, Place
from .user_databases import UserDatabase

BOB = {"email": "bob@example.com", "password": "correct pony", "name": "Bob"}
SETTLED = 'stateroom_store_state{state="settled"}'
HASTE_SECONDS = 1.0
"""Between the two looks that find a user unknown. The service itself waits a minute."""


class Service(Serving):
    """A running service, and requests that carry any kind of credential."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.settle()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def settle(self) -> None:
        """Wait until it has replayed the journal into its store, which it does after startup and each reconnection."""
        wait_until(lambda: self.metric(SETTLED) == 1, "the store is settled")

    def ask(self, path: str, value: str, place: Place = "cookie", *, method: str = "GET") -> tuple[int, dict[str, Any]]:
        """The status and the body of the answer to a request with this credential."""
        headers = {"Cookie": value} if place == "cookie" else {"Authorization": f"Bearer {value}"}
        status, document, _ = self.call(method, path, headers=headers)
        return status, document

    def whom(self, value: str, place: Place = "cookie") -> int | str:
        """Which user it takes the sender for; for an anonymous visitor why the session has ended, or "nobody"."""
        status, document = self.ask("/api/auth/check", value, place)
        assert status == 200, document
        if document["authenticated"]:
            return int(document["user_id"])
        return str(document.get("ended", "nobody"))

    def register(self, user: Mapping[str, str] = ADA) -> tuple[int, str]:
        """Make an account. Returns its id and the session's cookie."""
        status, document, cookie = self.call("POST", "/api/auth/register", user)
        assert status == 201, document
        return int(document["user"]["id"]), cookie

    def credentials(self, user: Mapping[str, str] = ADA) -> dict[str, tuple[str, Place]]:
        """A new credential of each kind, each with a session of its own, and where it belongs."""
        sign_in = {"email": user["email"], "password": user["password"]}
        _, bearer, _ = self.call("POST", "/api/auth/login", sign_in | {"transport": "bearer"})
        _, token, _ = self.call("POST", "/api/auth/token", sign_in)
        return {
            "cookie": (self.sign_in(user["email"], user["password"]), "cookie"),
            "bearer": (bearer["session_token"], "bearer"),
            "access token": (token["access_token"], "bearer"),
        }


class Hasty(Service):
    """A service that looks for an unknown user the second time after a second."""

    PROGRAM: ClassVar = ("stateroom.drills.worker", "--second-look", str(HASTE_SECONDS))


class Host:
    """A folder, and the settings of everything that runs in it."""

    def __init__(self, folder: Path, node: Node | None, database: UserDatabase | None, **settings: object) -> None:
        """`node`: its Redis; None for embedded mode. `database`: None for the default, a file in the host's folder."""
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.settings: dict[str, object] = {"COOKIE_SECURE": "false", "PASSWORD_BLOCKLIST": "off"}
        if node is not None:
            self.settings |= {"REDIS_URL": f"redis://{node.address}", "REDIS_READ_TIMEOUT": 5}
        if database is not None:
            self.settings |= {"DATABASE_URL": database.url}
        self.settings |= settings

    def serve(self, *arguments: str, kind: type[Service] = Service, **settings: object) -> Service:
        """The service, started. As a context manager it is settled on entry, and stops at the end."""
        return kind(self.folder, *arguments, **(self.settings | settings))

    def run(self, *arguments: str, given: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
        """Run `stateroom …`. `given`: what the operator types."""
        return subprocess.run(
            [sys.executable, "-m", "stateroom", *arguments],
            env=environment(self.folder, self.settings | settings),
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def refusal(self, **settings: object) -> str:
        """The one line with which the service refuses to start."""
        done = self.run("serve", given="", **settings)
        assert done.returncode == 2, done.stderr
        [line] = done.stderr.splitlines()
        return line


class Store:
    """A Redis server, as an operator sees it."""

    def __init__(self, servers: Servers, node: Node) -> None:
        self._servers = servers
        self.node = node

    def sessions(self) -> set[bytes]:
        """The keys of every stored session."""
        with self._client() as client:
            return set(client.scan_iter("*:s:*"))

    def flush(self) -> None:
        with self._client() as client:
            client.flushall()

    def copy_sessions(self) -> dict[bytes, bytes]:
        """Every stored session as it is now, for `put_back`."""
        with self._client() as client:
            return {key: client.dump(key) for key in client.scan_iter("*:s:*")}

    def put_back(self, copies: Mapping[bytes, bytes]) -> None:
        """Store these sessions again as they were, as a server does that comes back with an old disk."""
        with self._client() as client:
            for key, copied in copies.items():
                client.restore(key, 0, copied, replace=True)

    def cursor(self) -> int:
        """The number up to which the journal has been replayed into it."""
        with self._client() as client:
            return int(client.get(KeyNames("session").cursor("")) or 0)

    def deployment(self) -> str:
        """The id of the deployment that it belongs to; empty if none has claimed it."""
        with self._client() as client:
            return (client.get(KeyNames("session").fleet("")) or b"").decode()

    def stop(self) -> None:
        self._servers.thread.run(self.node.stop())

    def start(self) -> None:
        self._servers.thread.run(self.node.start())

    def _client(self) -> redis.Redis:
        return redis.Redis(host=self.node.host, port=self.node.port)
