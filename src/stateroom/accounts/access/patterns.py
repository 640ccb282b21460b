"""The hosts and paths that a rule names, and the host of a request.

Each has one form in which it is compared, so that no other spelling of a host or a path is for another rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
        if "%" in host:
            raise ValueError("a zone is a matter of one machine, and no browser sends it")
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
    """The paths of a rule: exact ones, and with `/*` at the end a path and everything below it.

    `as_written`, `folded`: the same paths for readings that have their case, and for those that have lost it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self.as_written = _Spelling(self.patterns)
        self.folded = _Spelling(map(folded, self.patterns))


class _Spelling:
    """Paths of a rule in one spelling. `exact`: these. `begin`: every path that begins with one of these texts, which end in /."""

    __slots__ = ("begin", "exact")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = list(patterns)
        self.begin = frozenset(each[:-1] for each in patterns if each.endswith("/*"))
        self.exact = frozenset(each.removesuffix("/*") for each in patterns if each != "/*")


class PathIndex:
    """Finds the first of several rules that names a reading of a path. The time does not grow with the number of rules.

    A path may have many readings, and whoever asks chooses the path.
    """

    def __init__(self, of_rules: Sequence[Paths | None]) -> None:
        """`of_rules`: the paths of each rule, in the order of the rules; None for a rule that is for all paths."""
        self._count = len(of_rules)
        self._for_all = of_rules.index(None) if None in of_rules else self._count
        numbered = [(number, paths) for number, paths in enumerate(of_rules) if paths is not None]
        self._as_written = _Numbers((number, paths.as_written) for number, paths in numbered)
        self._folded = _Numbers((number, paths.folded) for number, paths in numbered)

    def first(self, reading: Reading) -> int | None:
        """The place of the first rule that names this reading, counted from 0. None if no rule does."""
        spelling, path = self._of(reading), reading.path
        found = min(self._for_all, spelling.exact.get(path, self._count))
        slash = path.find("/")
        while 0 <= slash < spelling.longest:
            found = min(found, spelling.begin.get(path[: slash + 1], self._count))
            slash = path.find("/", slash + 1)
        return found if found < self._count else None

    def is_exact(self, reading: Reading) -> bool:
        """Whether a rule names this reading, and not because it lies below another path."""
        return reading.path in self._of(reading).exact

    def _of(self, reading: Reading) -> _Numbers:
        return self._folded if reading.is_folded else self._as_written


class _Numbers:
    """The first rule for each path in one spelling. `longest`: the length of the longest text of `begin`."""

    __slots__ = ("begin", "exact", "longest")

    def __init__(self, spellings: Iterable[tuple[int, _Spelling]]) -> None:
        self.exact: dict[str, int] = {}
        self.begin: dict[str, int] = {}
        for number, spelling in spellings:
            for path in spelling.exact:
                self.exact.setdefault(path, number)
            for path in spelling.begin:
                self.begin.setdefault(path, number)
        self.longest = max(map(len, self.begin), default=0)


def slash_toggled(reading: Reading) -> Reading:
    """The reading without the slash at its end, or with one if it has none. Many applications serve both alike."""
    path = reading.path[:-1] if reading.path.endswith("/") else f"{reading.path}/"
    return Reading(path or "/", (*reading.steps, "with or without the slash at the end"), reading.is_folded)
