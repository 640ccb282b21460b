"""The access rules: which rule is for a request. No input or output.

1. The rules of a request are those that name its host. The default is only for a host that no rule names.
2. Of these, the first decides that names the path, the method and the client's network. A rule without `paths`, `methods` or
   `networks` is for all of them. If none of the host's rules is for the request, nobody is admitted.
3. An application may read the path in several ways (`readings.py`). If they lead to different rules, the request is refused.

Who asks plays no part in this. If a rule does not admit a user, no later rule is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ...addresses import IPAddress, Network, is_in, parse_client
from ...errors import AccessDenied, BadInput
from .model import NO_NEED, Allow, Asked, Need, Ruling
from .patterns import Hosts, Origin, PathIndex, Paths, read_origin, slash_toggled
from .readings import Reading, readings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOSTS_REMEMBERED = 1024
RULINGS_REMEMBERED = 8192
INDEXES_REMEMBERED = 16
LONGEST_REMEMBERED = 256
"""Of a method, an origin and a path together, in characters. Clients choose them, and must not fill our memory."""

MISSING = "the proxy did not tell the method, the host or the path of the request"
NO_RULE = "no rule of this application is for the request"
DISAGREE = "applications may read the path in several ways, and different rules are for them; send the path in its usual form"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule. `methods` in upper case. None means: all of them. `line`: where it begins in its file."""

    name: str
    hosts: Hosts
    allow: Allow
    need: Need = NO_NEED
    paths: Paths | None = None
    methods: frozenset[str] | None = None
    networks: tuple[Network, ...] | None = None
    line: int = 0

    @property
    def is_for_all_requests(self) -> bool:
        """Whether it is for every request to its hosts, so that no later rule of these hosts decides."""
        return (self.paths is None or "/*" in self.paths.patterns) and self.methods is None and self.networks is None

    def is_for_method(self, method: str) -> bool:
        """Whether the rule names this method, which is in upper case."""
        return self.methods is None or method in self.methods

    def is_for_network(self, address: IPAddress | None) -> bool:
        """Whether the rule names a network of this client. A client whose address is unknown is in none."""
        return self.networks is None or is_in(address, self.networks)


class Rules:
    """All rules, in the order of their file, and whom `default` admits to hosts that no rule names."""

    def __init__(self, rules: Sequence[Rule], default: Allow) -> None:
        self._rules = tuple(rules)
        self._default = default
        self._asks_for_address = any(rule.networks is not None for rule in self._rules)
        self.of_host = lru_cache(HOSTS_REMEMBERED)(self._of_host)
        self._remembered = lru_cache(RULINGS_REMEMBERED)(self._ruling)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def rule_for(self, asked: Asked) -> Ruling:
        """The ruling for a request. Raises `AccessDenied` and `BadInput`, as `deciding`.

        Rulings for short requests are remembered, because many users open the same pages.
        """
        method, origin, path = asked.method, asked.origin, asked.path.partition("?")[0]
        rule_for = self._remembered if len(method) + len(origin) + len(path) <= LONGEST_REMEMBERED else self._ruling
        return rule_for(method, origin, path, asked.address if self._asks_for_address else None)

    def _ruling(self, *question: *tuple[str, str, str, str | None]) -> Ruling:
        asked = Asked(*question)
        rule = self.deciding(asked)
        origin = read_origin(asked.origin)
        if rule is None:
            return Ruling(self._default, origin.text)
        return Ruling(rule.allow, self.audience(rule, origin), rule.need)

    def deciding(self, asked: Asked) -> Rule | None:
        """The rule that decides about a request. None if no rule names the host, so that the default decides.

        Raises `AccessDenied` if the request is not told completely, or if none of the host's rules is for it. Raises `BadInput` if
        the host or the path is invalid, or if different rules are for the readings of the path.
        """
        if not (asked.method and asked.origin and asked.path):
            raise AccessDenied(MISSING)
        if not asked.path.startswith("/"):
            raise BadInput("the path of the request must begin with a slash")
        if not self.of_host(read_origin(asked.origin).host):
            return None
        rules = self.candidates(asked)
        if not rules:
            raise AccessDenied(NO_RULE)
        if rules[0].paths is None:  # for every reading of every path
            return rules[0]
        rule, *others = {rule for _, rule in by_reading(rules, asked.path)}
        if others:
            raise BadInput(DISAGREE)
        if rule is None:
            raise AccessDenied(NO_RULE)
        return rule

    def candidates(self, asked: Asked) -> Sequence[Rule]:
        """The rules that name the host, the method and the network of a request. Raises `BadInput` for an invalid host."""
        method, address = asked.method.upper(), parse_client(asked.address)
        of_host = self.of_host(read_origin(asked.origin).host)
        return [rule for rule in of_host if rule.is_for_method(method) and rule.is_for_network(address)]

    def audience(self, rule: Rule, origin: Origin) -> str:
        """Whom an assertion is meant for that is given out under this rule: the origin, or the name of the rule.

        If several rules of the host ask for a sign-in, they may be for different applications, and an assertion for one must be
        worth nothing to another. Open rules do not count, so that opening a path does not change the audience of the rest.
        """
        others = [each for each in self.of_host(origin.host) if each is not rule and not each.allow.is_nobody]
        is_shared = any(rule.allow.anyone or not each.allow.anyone for each in others)
        return rule.name if is_shared else origin.text

    def may_be_audience(self, text: str) -> bool:
        """Whether `audience` may return this text for a request: it names a rule, or an origin that is open to signed-in users."""
        try:
            origin = read_origin(text)
        except BadInput:
            return any(rule.name == text for rule in self._rules)
        return bool(self.of_host(origin.host)) or not self._default.is_nobody

    def hidden(self) -> Iterator[tuple[Rule, Rule]]:
        """The rules that decide about nothing, each with the earlier rule of its hosts that decides about every request."""
        for number, rule in enumerate(self._rules):
            for earlier in self._rules[:number]:
                if earlier.is_for_all_requests and earlier.hosts.include(rule.hosts):
                    yield rule, earlier
                    break

    def _of_host(self, host: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._rules if rule.hosts.name(host))


def by_reading(rules: Sequence[Rule], path: str) -> Iterator[tuple[Reading, Rule | None]]:
    """Each reading of a path, with the first of the rules that is for it. Raises `BadInput` for a path with too many readings.

    Many applications serve a path with and without a slash at its end alike. So if a rule names one of the two exactly, that rule
    must be for the other too; else it says nothing about the other.
    """
    rules = tuple(rules)
    index = _index(rules)

    def first(reading: Reading) -> Rule | None:
        number = index.first(reading)
        return None if number is None else rules[number]

    for reading in readings_of(path):
        yield reading, first(reading)
        toggled = slash_toggled(reading)
        if index.is_exact(toggled):
            yield toggled, first(toggled)


@lru_cache(INDEXES_REMEMBERED)
def _index(rules: tuple[Rule, ...]) -> PathIndex:
    return PathIndex([rule.paths for rule in rules])
