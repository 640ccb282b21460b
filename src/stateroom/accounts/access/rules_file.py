"""Reads the file of the access rules. Each fault names the file, the line and the fix. docs/access-rules.md describes the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from ...addresses import parse_network
from ...errors import BadInput, SettingsError
from ...settings.durations import Seconds
from ..chosen import email_errors, normal_email
from ..groups import NO_GROUP, check_names
from .model import Allow, Need
from .patterns import Hosts, Paths, plain_host
from .readings import TOO_MANY, readings_of
from .rules import Rule
from .strict_yaml import MAX_BYTES, Fault, fields, items, line_of, load, plain_of, shown, text_of, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ...addresses import Network

T = TypeVar("T")

KEYS = ("name", "hosts", "paths", "methods", "networks", "allow", "need")
ALLOW_KEYS = ("groups", "emails", "users")
NEED_KEYS = ("second_factor", "fresh", "device_bound")
MAX_NAME_LENGTH = 100
LEAST_FRESH_SECONDS = 1
"""A browser needs longer from the page that asks for the password to the application. With less it would go round."""

_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = {"anyone": Allow(anyone=True), "signed-in": Allow(signed_in=True), "nobody": Allow()}
_DURATION = TypeAdapter(Seconds)


def read_rules(path: Path) -> Sequence[Rule]:
    """The rules of a file, in its order. Raises `SettingsError` with one line: the file, the line in it, the fault and the fix."""
    try:
        with path.open("rb") as file:  # a device has no end
            return _rules(load(file.read(MAX_BYTES + 1)))
    except Fault as fault:
        raise SettingsError(f"ACCESS_RULES_FILE: {path}, line {fault.line}: {fault}") from None
    except OSError as error:
        fix = "restore the file, and let the service's user read it"
        raise SettingsError(f"ACCESS_RULES_FILE: {path} cannot be read: {error.strerror}; {fix}") from None


def _rules(root: yaml.Node) -> Sequence[Rule]:
    rules: dict[str, Rule] = {}
    for node in items(root, "the file"):
        rule = _rule(node)
        if rule.name in rules:
            wrong(node, f"the rule of line {rules[rule.name].line} has the name {shown(rule.name)} too; give each its own")
        rules[rule.name] = rule
    return list(rules.values())


def _rule(node: yaml.Node) -> Rule:
    found = fields(node, "a rule", KEYS)
    for key, example in (("name", "name: wiki"), ("hosts", "hosts: [wiki.example.com]"), ("allow", "allow: {groups: [staff]}")):
        if key not in found:
            wrong(node, f"the rule has no {key}; write for example {example}")
    allow = _allow(found["allow"])
    if "need" in found and (allow.anyone or allow.is_nobody):
        wrong(found["need"], "need is about a sign-in, and this rule asks for none; remove need, or allow signed-in users only")
    return Rule(
        name=_name(found["name"]),
        hosts=_hosts(found["hosts"]),
        allow=allow,
        need=_need(found["need"]) if "need" in found else Need(),
        paths=Paths(_each(found["paths"], "paths", _path)) if "paths" in found else None,
        methods=frozenset(_each(found["methods"], "methods", _method)) if "methods" in found else None,
        networks=tuple(_each(found["networks"], "networks", _network)) if "networks" in found else None,
        line=line_of(node),
    )


def _name(node: yaml.Node) -> str:
    name = text_of(node, "name")
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable() or "://" in name:
        wrong(node, f"name must have 1 to {MAX_NAME_LENGTH} printable characters and must not be a URL; write for example wiki")
    return name


def _hosts(node: yaml.Node) -> Hosts:
    patterns = _each(node, "hosts", _host)
    return Hosts(
        frozenset(each for each in patterns if not each.startswith(".")), tuple(each for each in patterns if each.startswith("."))
    )


def _host(text: str) -> str:
    """A host, or a dot and a host for all hosts below it."""
    if text == "*":
        raise ValueError("is for every host; name the hosts, and set ACCESS_DEFAULT for those that no rule names")
    if "://" in text or "/" in text:
        raise ValueError("must be a host without a scheme and a path; write for example wiki.example.com")
    bare = text.removeprefix("*.")
    if "*" in bare:
        raise ValueError('must have * only as the first label; write for example "*.example.com"')
    if not bare.isascii():
        raise ValueError("is not in ASCII, as browsers send it; write for example xn--bcher-kva.example")
    if bare.count(":") == 1 or "]:" in bare:
        raise ValueError("must be a host without a port, because a rule is for all ports; write for example wiki.example.com")
    try:
        host = plain_host(f"[{bare}]" if ":" in bare and not bare.startswith("[") else bare)
    except ValueError:
        raise ValueError('is not a host; write for example wiki.example.com or "*.example.com"') from None
    is_address = host.startswith("[") or host.rpartition(".")[2].isdecimal()
    if bare != text and is_address:
        raise ValueError("is an address, and there are no hosts below it; write the address alone")
    return host if bare == text else f".{host}"


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError('must begin with /; write for example "/static/*"')
    begin, star, end = text.partition("*")
    if star and (end or not begin.endswith("/")):
        raise ValueError('must have * only at the end, after a slash; write for example "/static/*"')
    if "?" in begin or "#" in begin:
        raise ValueError("must not have a query, which rules do not look at; write only the path")
    below = "x" if star else ""
    try:
        sent, *others = [reading.path for reading in readings_of(begin + below) if not reading.is_folded]
    except BadInput:
        raise ValueError(f"cannot be used, because {TOO_MANY}") from None
    if others:
        raise ValueError("can be read in several ways; write it decoded, without %, //, ;, \\ and without . and .. as segments")
    return sent.removesuffix(below) + star


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise ValueError("is not a method; write for example GET")
    return text.upper()


def _network(text: str) -> Network:
    try:
        return parse_network(text)
    except ValueError:
        raise ValueError("is not a network; write for example 10.0.0.0/8 or 2001:db8::/32") from None


def _allow(node: yaml.Node) -> Allow:
    if isinstance(node, yaml.ScalarNode):
        word = plain_of(node, "allow")
        if word not in _WORDS:
            wrong(node, f"allow is {shown(word)}; write anyone, signed-in, nobody, or for example {{groups: [staff]}}")
        return _WORDS[word]
    found = fields(node, "allow", ALLOW_KEYS)
    emails = _each(found["emails"], "emails", _email) if "emails" in found else []
    users = _each(found["users"], "users", _address) if "users" in found else []
    return Allow(
        groups=frozenset(_each(found["groups"], "groups", _group)) if "groups" in found else frozenset(),
        addresses=frozenset([*users, *(each for each in emails if not each.startswith("@"))]),
        domains=frozenset(each[1:] for each in emails if each.startswith("@")),
    )


def _group(text: str) -> str:
    try:
        check_names([text])
    except BadInput:
        raise ValueError(f"is not a group: {NO_GROUP}; write for example staff") from None
    return text


def _email(text: str) -> str:
    """An address, or an @ and a domain for all addresses in it."""
    return _address(f"any{text[1:]}").removeprefix("any") if text.startswith("*@") else _address(text)


def _address(text: str) -> str:
    if "*" in text:
        raise ValueError(
            'must have * only in place of all before the @, and only in emails; write for example "*@example.com" there'
        )
    if email_errors(text):
        raise ValueError("is not an email address; write for example ada@example.com")
    return normal_email(text)


def _need(node: yaml.Node) -> Need:
    found = fields(node, "need", NEED_KEYS)
    return Need(
        fresh_seconds=_duration(found["fresh"]) if "fresh" in found else None,
        second_factor=_is_true(found["second_factor"], "second_factor") if "second_factor" in found else False,
        device_bound=_is_true(found["device_bound"], "device_bound") if "device_bound" in found else False,
    )


def _duration(node: yaml.Node) -> float:
    text = plain_of(node, "fresh")
    try:
        seconds = _DURATION.validate_python(text)
    except ValidationError:
        wrong(node, f"fresh is {shown(text)}, which is no time; write for example 15m, 1h or 900 (seconds)")
    if seconds < LEAST_FRESH_SECONDS:
        wrong(node, f"fresh is {shown(text)}, too short to enter a password and come back; write 1s or more, for example 15m")
    return seconds


def _is_true(node: yaml.Node, what: str) -> bool:
    text = plain_of(node, what)
    if text not in {"true", "false"}:
        wrong(node, f"{what} must be true or false; write {what}: true, or remove it")
    return text == "true"


def _each(node: yaml.Node, what: str, read: Callable[[str], T]) -> list[T]:
    """The items of a list of texts. `read` raises `ValueError` with what is wrong with one, and the fix."""
    found = []
    for item in items(node, what):
        text = text_of(item, f"an item of {what}")
        try:
            found.append(read(text))
        except ValueError as error:
            wrong(item, f"{shown(text)} in {what} {error}")
    return found
