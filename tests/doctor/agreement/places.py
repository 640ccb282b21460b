"""Servers as they are found in the field. Each place starts when a case first uses it, and runs until the end of the module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stateroom.backend.dial import Dialer, Tls
from stateroom.drills import topology
from stateroom.drills.node import Node, until

from ...conftest import require_tool
from ...servers import ServerThread
from .parts import TLS_NAME, at, by_name, certificates, ipv6_loopback, knows_names, old_redis, own_address, three_primaries, watched

ODD_PASSWORD = "p@ss/w:rd?%41#ü€"
COMMANDS = (
    "ROLE",
    "EVALSHA",
    "EVAL",
    "TIME",
    "PTTL",
    "INFO",
    "PING",
    "WAIT",
    "CONFIG",
    "CLIENT",
    "ACL",
    "SCRIPT",
    "SELECT",
    "HELLO",
)

Given = dict[str, Any]


class Places:
    """Each method starts one place, and returns the settings that lead there."""

    def __init__(self, thread: ServerThread, folder: Path) -> None:
        self._thread = thread
        self._folder = folder
        self._given: dict[str, Given] = {}
        self._nodes: dict[str, Node] = {}
        self._cluster: list[Node] = []
        self._files: dict[str, dict[str, Path]] = {}

    def settings(self, place: str) -> Given:
        """The settings that lead to a place. `place`: the name of a method, then words for it."""
        if place not in self._given:
            name, *words = place.split()
            self._given[place] = getattr(self, name)(*words)
        return self._given[place]

    def file(self, owner: str, name: str) -> Path:
        """A PEM file (ca, cert, key) of `ours`, `theirs` (another authority), `old` (expired) or `locked` (a pass phrase)."""
        if not self._files:
            self._files = certificates(self._folder)
        return self._files[owner][name]

    # One server

    def open(self) -> Given:
        """A server without a password."""
        return at(self._single("open"))

    def locked(self) -> Given:
        """A server with a password."""
        return at(self._single("locked", options={"requirepass": "before"}, dialer=Dialer(2, 5, password="before")))

    def odd(self) -> Given:
        """A server whose user has a password with every special character."""
        node = self._single("odd")
        self._thread.run(node.call("ACL", "SETUSER", "app", "on", f">{ODD_PASSWORD}", "~*", "&*", "+@all"))
        return at(node)

    def forbidding(self, command: str) -> Given:
        """A server whose user may run every command but one. No script is known to it."""
        self.settings("open")
        node: Node = self._nodes["open"]
        self._thread.run(node.call("ACL", "SETUSER", f"not-{command}", "on", ">secret", "~*", "&*", "+@all", f"-{command}"))
        self._thread.run(node.call("SCRIPT", "FLUSH"))
        return at(node) | {"redis_username": f"not-{command}", "redis_password": "secret"}

    def lacking(self, command: str) -> Given:
        """A server without one command."""
        folder = f"lacking-{command.lower()}"
        return at(self._single(folder, lines=[f'rename-command {command} ""'], dialer=Dialer(2, 5, protocol=2)))

    def protected(self) -> Given:
        """A server in protected mode, reached from another address than loopback."""
        node = self._single("protected", options={"protected-mode": "yes", "bind": "0.0.0.0"})
        return {"redis_host": own_address(), "redis_port": node.port}

    def ipv6(self) -> Given:
        """A server on IPv6."""
        return at(self._single("ipv6", host=ipv6_loopback()))

    def old(self) -> Given:
        """A server of Redis 6.2."""
        return at(self._single("old", binary=old_redis()))

    # TLS

    def mutual(self, version: str) -> Given:
        """A server that wants a client certificate of our authority."""
        lines = ["tls-auth-clients yes", f'tls-protocols "{version}"']
        node = self._single(
            f"mutual-{version}", binary=require_tool("redis-server"), tls_files=self._ours, dialer=self._tls_dialer(), lines=lines
        )
        return at(node) | self._trusting("redis_tls")

    def mutual_sentinels(self) -> Given:
        """Servers and Sentinels that want a client certificate of our authority."""
        lines = ["tls-auth-clients yes"]
        setup = self._thread.start(
            topology.sentinels(
                self._folder / "mutual-sentinels", binary=require_tool("redis-server"), tls_files=self._ours,
                dialer=self._tls_dialer(), sentinel_dialer=self._tls_dialer(), server_lines=lines, sentinel_lines=lines,
            )
        )  # fmt: skip
        return watched(setup.sentinels) | self._trusting("redis_tls") | self._trusting("redis_sentinel_tls")

    # Sentinels

    def sentinels(self) -> Given:
        """Sentinels with a password."""
        password = ["requirepass watch", "sentinel sentinel-pass watch"]
        dialer = Dialer(2, 5, password="watch")
        setup = self._thread.start(topology.sentinels(self._folder / "sentinels", sentinel_dialer=dialer, sentinel_lines=password))
        return watched(setup.sentinels)

    def by_name(self) -> Given:
        """Sentinels of which one announces no host names."""
        return watched(self._thread.start(by_name(self._folder / "by-name")))

    def three_primaries(self) -> Given:
        """Three Sentinels, each of which watches another primary."""
        return watched(self._thread.start(three_primaries(self._folder / "three")))

    # A Cluster

    def cluster(self, names: str) -> Given:
        """A Cluster that names its nodes by host names; `names` is `with` or `without` such names."""
        self._cluster = nodes = self._cluster or self._thread.start(topology.cluster(self._folder / "cluster"))
        for node in nodes:
            for name, value in (
                ("cluster-announce-hostname", "localhost" if names == "with" else ""),
                ("cluster-preferred-endpoint-type", "hostname"),
            ):
                self._thread.run(node.call("CONFIG", "SET", name, value))
        self._thread.run(until(lambda: knows_names(nodes, is_named=names == "with"), "each node has the names of all"))
        return {"redis_cluster_nodes": ",".join(str(node.address) for node in nodes[:2])}

    def _single(self, name: str, **node: Any) -> Node:
        self._nodes[name] = self._thread.start(topology.single(self._folder / name, **node))
        return self._nodes[name]

    @property
    def _ours(self) -> Mapping[str, Path]:
        return {name: self.file("ours", name) for name in ("ca", "cert", "key")}

    def _tls_dialer(self) -> Dialer:
        return Dialer(2, 5, tls=Tls.of("REDIS_TLS", self._ours["ca"], self._ours["cert"], self._ours["key"], TLS_NAME))

    def _trusting(self, prefix: str) -> Given:
        return {prefix: True, f"{prefix}_ca": self._ours["ca"], f"{prefix}_server_name": TLS_NAME}
