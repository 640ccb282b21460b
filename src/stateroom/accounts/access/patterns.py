"""The hosts and paths that a rule names, and the host of a request.

Each has one form in which it is compared, so that no other spelling of a host or a path is for another rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ...addresses import compressed, plain_ipv4
from ...errors import BadInput
from ...origins import plain_origin
from .readings import Reading, folded

MAX_HOST_LENGTH = 253
ORIGINS_REMEMBERED = 1024

INVALID = "the host or the scheme of the request is invalid"

_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LIKE_IPV4 = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Origin(NamedTuple):
    """Where a request goes to. `host`: as `plain_host` returns it. `text`: the origin as browsers write it, with that host."""

    host: str
    text: str


@lru_cache(ORIGINS_REMEMBERED)
def read_origin(text: str) -> Origin:
    """The origin of a request. Raises `BadInput` if it is none, or if its host has a form that servers read in several ways."""
    found = _ORIGIN.fullmatch(plain_origin(text))
    if found is None or not text.isascii():  # in lower case, the Kelvin sign is a k
        raise BadInput(INVALID)
    scheme, host, port = found.groups(default="")
    try:
        host = plain_host(host)
    except ValueError:
        raise BadInput(INVALID) from None
    return Origin(host, f"{scheme}://{host}{port}")


def plain_host(text: str) -> str:
    """A host as rules compare it: in lower case, without a dot at its end, an address in its usual form. Raises `ValueError`."""
    host = text.lower().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        return f"[{compressed(host[1:-1])}]"
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host is invalid")
    # 127.1 and 0x7f000001 are 127.0.0.1: https://url.spec.whatwg.org/#ends-in-a-number-checker
    return plain_ipv4(host) if _LIKE_IPV4.fullmatch(labels[-1]) else host


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a rule. `exact`: these. `below`: every host that ends with one of these texts, which begin with a dot."""

    exact: frozenset[str]
    below: tuple[str, ...] = ()

    def name(self, host: str) -> bool:
        """Whether this host, in the form of `plain_host`, is one of them."""
        return host in self.exact or host.endswith(self.below)

    def include(self, others: Hosts) -> bool:
        """Whether all hosts of another rule are among them. Hosts that only several entries together name count as not included."""
        return all(map(self.name, others.exact)) and all(each.endswith(self.below) for each in others.below)


class Paths:
    """The paths of a rule: exact ones, and with `/*` at the end a path and everything below it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._as_written = _Spelling(self.patterns)
        self._folded = _Spelling(map(folded, self.patterns))

    def name(self, reading: Reading) -> bool:
        """Whether this reading of a path is one of them."""
        spelling = self._folded if reading.is_folded else self._as_written
        return reading.path in spelling.exact or reading.path.startswith(spelling.begin)

    def name_exactly(self, reading: Reading) -> bool:
        """Whether this reading of a path is one of them, and not because it lies below another path."""
        return reading.path in (self._folded if reading.is_folded else self._as_written).exact


class _Spelling:
    """Paths of a rule, as they are written or folded. `exact`: these. `begin`: every path that begins with one of these texts."""

    __slots__ = ("begin", "exact")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = list(patterns)
        self.begin = tuple(each[:-1] for each in patterns if each.endswith("/*"))
        self.exact = frozenset(each.removesuffix("/*") for each in patterns if each != "/*")


def slash_toggled(reading: Reading) -> Reading:
    """The reading without the slash at its end, or with one if it has none. Many applications serve both alike."""
    path = reading.path[:-1] if reading.path.endswith("/") else f"{reading.path}/"
    return Reading(path or "/", (*reading.steps, "with or without the slash at the end"), reading.is_folded)
