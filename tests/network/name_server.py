"""A name server on loopback, and processes that use it: they see another /etc/resolv.conf and /etc/hosts.

Each process has its own mount namespace, which needs root. A resolver always asks port 53, so the name server has a loopback
address of its own.
"""

from __future__ import annotations

import functools
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from ..conftest import do_without

_A, _AAAA = 1, 28
_NO_ERROR, _NO_SUCH_NAME = 0x8180, 0x8183
_ENTER = """
mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/hosts" /etc/hosts &&
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf && shift && exec "$@"
"""


class NameServer:
    """Answers for `names`: IP addresses by name. Other names do not exist. It does not answer for names in `silent`."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.silent: set[str] = set()
        # How often each name was asked for.
        self._asked: dict[str, int] = {}
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self.host = f"127.53.{worker}.{os.getpid() % 250 + 1}"

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, 53))
        self._thread = threading.Thread(target=self._serve, name="name server")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.sendto(b"", (self.host, 53))  # An empty packet ends it.
        self._thread.join()
        self._socket.close()

    def was_asked(self, name: str) -> bool:
        return name in self._asked

    def forget_questions(self) -> None:
        self._asked.clear()

    def launcher(self, folder: Path, hosts: Iterable[str] = (), *, wait: int = 30) -> tuple[str, ...]:
        """A command that runs another one, which asks this name server.

        `hosts`: the lines of its /etc/hosts. `wait`: after how many seconds the system asks again, five times. By default a
        look-up without an answer hangs for 150 seconds: far longer than any test waits.
        """
        folder.mkdir()
        (folder / "resolv.conf").write_text(f"nameserver {self.host}\noptions timeout:{wait} attempts:5\n")
        (folder / "hosts").write_text("".join(f"{line}\n" for line in ("127.0.0.1 localhost", *hosts)))
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(folder))

    def _serve(self) -> None:
        while True:
            packet, client = self._socket.recvfrom(1500)
            if not packet:
                return
            name, kind = _question(packet)
            self._asked[name] = self._asked.get(name, 0) + 1
            if name not in self.silent:
                self._socket.sendto(self._reply(packet, name, kind), client)

    def _reply(self, packet: bytes, name: str, kind: int) -> bytes:
        """https://www.rfc-editor.org/rfc/rfc1035#section-4"""
        known = self.names.get(name)
        family = {_A: socket.AF_INET, _AAAA: socket.AF_INET6}.get(kind)
        packed = [
            socket.inet_pton(family, each)
            for each in known or ()
            if family is not None and (":" in each) == (family == socket.AF_INET6)
        ]
        flags = _NO_SUCH_NAME if known is None else _NO_ERROR
        header = packet[:2] + flags.to_bytes(2) + (1).to_bytes(2) + len(packed).to_bytes(2) + bytes(4)
        question = packet[12 : packet.index(b"\0", 12) + 5]
        answers = (b"\xc0\x0c" + kind.to_bytes(2) + b"\0\x01" + bytes(4) + len(each).to_bytes(2) + each for each in packed)
        return header + question + b"".join(answers)


def script(launcher: Iterable[str], binary: str, path: Path) -> str:
    """A program at this path that runs `binary` by this launcher."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(launcher)} {shlex.quote(binary)} "$@"\n')
    path.chmod(0o700)
    return str(path)


@functools.cache
def _refusal() -> str:
    try:
        tried = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "mount", "--bind", "/etc/hosts", "/etc/hosts"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        return str(error)
    return tried.stderr.strip()


def need_namespaces() -> None:
    """Skip the test, or fail it in CI, where the system allows no mount namespaces."""
    if refusal := _refusal():
        do_without("mount namespaces", f"mount namespaces are not permitted here, and need root: {refusal}")


def _question(packet: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), int.from_bytes(packet[at + 1 : at + 3])
