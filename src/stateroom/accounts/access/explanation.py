"""Explains a ruling, for `stateroom access check`: which rule decides, and why the rules before it do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...addresses import parse_client
from ...errors import AccessDenied, BadInput
from .patterns import read_origin
from .rules import by_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .access import Access
    from .model import Asked, Ruling
    from .readings import Reading
    from .rules import Rule


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A rule that is not for the request, and why. `is_of_host`: whether it names the request's host."""

    rule: Rule
    reason: str
    is_of_host: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The ruling for a request, or `refusal`, why there is none.

    `rule`: the one that decides; None if the default does, or if there is no ruling. `passed_over`: the rules before it, or all.
    `readings`: for each of several rules, or None, the first reading of the path that leads to it; empty unless they disagree.
    """

    ruling: Ruling | None
    rule: Rule | None
    refusal: str
    passed_over: Sequence[PassedOver]
    readings: Sequence[tuple[Reading, Rule | None]]


def explain(access: Access, asked: Asked) -> Explanation:
    """Explain what `rule_for` answers or raises for a request that is told completely."""
    try:
        ruling = access.rule_for(asked)
    except AccessDenied as denied:
        passed_over = list(_passed_over(access, asked, None)) if access.is_configured else ()  # else the host was not looked at
        return Explanation(None, None, denied.detail, passed_over, ())
    except BadInput as bad:
        return Explanation(None, None, bad.detail, (), _disagreeing(access, asked))
    rule = access.rules.deciding(asked)
    return Explanation(ruling, rule, "", list(_passed_over(access, asked, rule)), ())


def _passed_over(access: Access, asked: Asked, decides: Rule | None) -> Iterator[PassedOver]:
    host = read_origin(asked.origin).host
    for rule in access.rules:
        if rule is decides:
            return
        if rule.hosts.name(host):
            yield PassedOver(rule, _mismatch(rule, asked), is_of_host=True)
        else:
            yield PassedOver(rule, f"its hosts do not include {host}", is_of_host=False)


def _mismatch(rule: Rule, asked: Asked) -> str:
    method, address = asked.method.upper(), parse_client(asked.address)
    if not rule.is_for_method(method):
        return f"its methods do not include {method}"
    if not rule.is_for_network(address):
        return f"its networks do not include {address}" if address else "it is for some networks, and no address is given"
    return f"its paths do not include {asked.path.partition('?')[0]}"


def _disagreeing(access: Access, asked: Asked) -> Sequence[tuple[Reading, Rule | None]]:
    first: dict[Rule | None, Reading] = {}
    try:
        for reading, rule in by_reading(access.rules.candidates(asked), asked.path):
            first.setdefault(rule, reading)
    except BadInput:  # the host or the path is invalid, or has too many readings
        return ()
    return [(reading, rule) for rule, reading in first.items()] if len(first) > 1 else ()
