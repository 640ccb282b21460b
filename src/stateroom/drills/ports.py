"""Chooses ports for servers that are about to start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
# By default Linux gives outgoing connections ports from here on: Documentation/networking/ip-sysctl.rst.
OUTGOING = 32768
LOWEST = 10_000

_given: set[int] = set()
_share = (0, 1)


def take_share(number: int, count: int) -> None:
    """Give only each `count`-th port from now on, beginning with this number.

    Several processes of one test run give ports. A port that one has given is free until its server has started, and the
    other must not give it too.
    """
    global _share  # noqa: PLW0603 (it belongs to the process)
    assert 0 <= number < count
    _share = (number, count)


def free_port(host: str = LOOPBACK) -> int:
    """A port that is free, that this process has not returned before, and that no outgoing connection will use.

    If the kernel chose the port (`bind` to 0), it would be from the range of outgoing connections. One of those could
    take it before the server has started.

    Raises `OSError` if no port is found.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first, step = _share
    for port in random.sample(range(LOWEST + first, _outgoing(), step), k=200):
        if port in _given:
            continue
        with socket.socket(family) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no free port between {LOWEST} and {_outgoing()} on {host}")


def _outgoing() -> int:
    """The first port of the range for outgoing connections."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return OUTGOING
    return lowest if lowest > LOWEST + 1000 else OUTGOING
