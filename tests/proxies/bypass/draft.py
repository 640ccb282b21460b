"""A request while it is made, and the areas and hosts of the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

AREAS = ("/open/a", "/read/a", "/group/a", "/denied/a", "/elsewhere/a")
HOSTS = ("app.test", "staff.test", "unknown.test")


@dataclass
class Draft:
    """A good request, until tricks change it.

    `form`: of the target, with `path` and `host`. `lines`: lines among the headers of HTTP/1 that need not be headers. `hosts`: the
    `Host` headers if there is not the usual one. `credential`: of the sender. `tunnelled`: what is sent after the answer 101.
    """

    number: int
    random: Random
    method: str = "GET"
    path: str = AREAS[0]
    host: str = HOSTS[0]
    version: str = "1.1"
    form: str = "{path}"
    headers: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    hosts: list[str] | None = None
    body: bytes = b""
    credential: str = ""
    tunnelled: bytes = b""
    tricks: list[str] = field(default_factory=list)


Trick = Callable[[Draft], None]
