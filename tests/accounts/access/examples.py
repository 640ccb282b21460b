"""Rules in few words, for tests of the pure part, and ways to write a path that servers read as the plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from urllib.parse import quote

from stateroom.accounts.access.model import Allow, Asked, Person
from stateroom.accounts.access.patterns import Hosts, Paths
from stateroom.accounts.access.rules import Rule, Rules
from stateroom.addresses import parse_network

ANYONE, SIGNED_IN, NOBODY = Allow(anyone=True), Allow(signed_in=True), Allow()
HOST = "app.example.com"


def staff(*names: str) -> Allow:
    return Allow(groups=frozenset(names or ["staff"]))


def rule(
    name: str,
    *,
    allow: Allow = ANYONE,
    hosts: Sequence[str] = (HOST,),
    paths: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
) -> Rule:
    return Rule(
        name,
        Hosts(frozenset(each for each in hosts if each[0] != "."), tuple(each for each in hosts if each[0] == ".")),
        allow,
        paths=None if paths is None else Paths(paths),
        methods=None if methods is None else frozenset(methods),
        networks=None if networks is None else tuple(map(parse_network, networks)),
    )


def rules(*some: Rule, default: Allow = NOBODY) -> Rules:
    return Rules(some, default)


def asked(path: str = "/", *, method: str = "GET", host: str = HOST, scheme: str = "https", address: str | None = None) -> Asked:
    return Asked(method, f"{scheme}://{host}", path, address)


def person(*groups: str, email: str = "") -> Person:
    return Person(7, email, frozenset(groups))


def _some(encode: Callable[[str], str]) -> Callable[[str, Random], str]:
    """Write some characters of a path in another way."""

    def rewrite(path: str, random: Random) -> str:
        return "/" + "".join(encode(each) if random.random() < 0.3 else each for each in path[1:])

    return rewrite


def _other_slash(path: str, random: Random) -> str:
    """Put something in place of one slash of a path. The first stays a slash."""
    place = random.choice([place for place, each in enumerate(path) if each == "/"])
    other = random.choice(["//", "/./", "/x/../", "/%2e/", "/;b/", "\\"][: 6 if place else 5])
    return f"{path[:place]}{other}{path[place + 1 :]}"


DISGUISES: Sequence[Callable[[str, Random], str]] = (
    _some(lambda each: "".join(f"%{byte:02x}" for byte in each.encode(errors="surrogateescape"))),
    _some(lambda each: each.upper()),
    _some(lambda each: f"%u{ord(each):04X}" if ord(each) < 0xD800 else each),
    _some(lambda each: f"%c{ord(each) >> 6:x}%{0x80 | ord(each) & 0x3F:x}" if each.isascii() else each),
    _some(lambda each: chr(ord(each) + 0xFEE0) if "!" <= each <= "~" and each != "%" else each),
    _some(lambda each: quote(chr(ord(each) + 0xFEE0)) if "!" <= each <= "~" and each != "%" else each),
    _other_slash,
    lambda path, random: f"/static/..{path}",
    lambda path, random: path + random.choice([";a=1", "%00", "%00.css", ".", "%20", "::$DATA", "?a=/static", "%3fa", "%23a"]),
    lambda path, random: path.replace("%", "%25"),
)
"""Each writes a path in another way, which some server reads as the former."""


def disguised(path: str, seed: int, times: int) -> str:
    """A path in another form, by several disguises, one over the other. Sometimes a host seems to stand before it."""
    random = Random(seed)
    for _ in range(times):
        path = random.choice(DISGUISES)(path, random)
    return random.choice(["", "", "", "//static", "//a.b", "/\\x"]) + path
