"""Judges what reached the application, as the least careful application would read it.

The application's rules are written here once more, so that the judge shares nothing with the code that it judges. A request must be
allowed by every reading of its path, its hosts and its methods. Identity headers must be those of the sender, in every spelling.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, unquote_to_bytes

from .plain import Arrival

RULES = """
- name: open
  hosts: [app.test]
  paths: ["/open/*"]
  allow: anyone
- name: read
  hosts: [app.test]
  paths: ["/read/*"]
  methods: [GET, HEAD]
  allow: anyone
- name: group
  hosts: [app.test]
  paths: ["/group/*"]
  allow: {groups: [staff]}
- name: denied
  hosts: [app.test]
  paths: ["/denied/*"]
  allow: {users: [nobody@example.com]}
- name: staff
  hosts: [staff.test]
  allow: {groups: [staff]}
"""
IDENTITY = ("remote-user", "remote-email", "remote-name", "remote-groups", "remote-session-degraded", "remote-assertion")
MOST_STEPS = 6
"""How many steps an application takes in a row."""
_METHOD_NAMES = {"x-http-method-override", "x-http-method", "x-method-override"}
_PATH_NAMES = {"x-original-url", "x-rewrite-url"}
_HOST_NAMES = {"x-forwarded-host"}
_OF_CONNECTION = {"close", "keep-alive", "upgrade", "te"}
"""What a proxy itself may say in `Connection`. The next server removes the headers that are named there."""


@dataclass(frozen=True)
class Sender:
    """A user, as Stateroom names him to applications. `secrets`: what the application must not see."""

    headers: Mapping[str, str]
    is_staff: bool
    secrets: tuple[str, ...] = ()


NOBODY = Sender({}, is_staff=False)


def complaint(arrival: Arrival, senders: Collection[Sender], its_host: str) -> str:
    """Why this request should not have reached the application like this. Empty if it is right.

    `senders`: who may have sent it. `its_host`: the application's.
    """
    seen = next((each for each in (*senders, NOBODY) if not forged(arrival, each)), None)
    if seen is None:
        return "; ".join(sorted({forged(arrival, each) for each in (*senders, NOBODY)}))
    for secret in {secret for each in senders for secret in each.secrets}:
        if secret in arrival.raw.decode("latin-1"):
            return "it has a credential of Stateroom"
    if hops := {token.strip().lower() for value in arrival.values("connection") for token in value.split(",")} - _OF_CONNECTION:
        return f"the client lets the next server remove {hops}"
    for host in hosts_of(arrival):
        if host != its_host:
            return f"read as for {host!r}, it reached the application of {its_host!r}"
        for path in paths_of(arrival):
            for method in methods_of(arrival):
                if not is_allowed(method, host, path, seen):
                    return f"read as {method} {path!r} of {host!r}, which {seen.headers.get('remote-name', 'nobody')} may not"
    return ""


def is_allowed(method: str, host: str, path: str, sender: Sender) -> bool:
    """What `RULES` say."""
    if host == "staff.test":
        return sender.is_staff
    if host != "app.test":
        return False
    area = "/".join(path.split("/")[:2])
    if area == "/open":
        return True
    if area == "/read":
        return method in {"GET", "HEAD"}
    return area == "/group" and sender.is_staff


def forged(arrival: Arrival, sender: Sender) -> str:
    """What differs from the sender's identity."""
    found: dict[str, list[str]] = {}
    for name, value in arrival.headers:
        if (read_as := _folded(name)) in IDENTITY and (value or name.lower() != read_as):
            found.setdefault(read_as, []).append(unquote(value))
    assertions = found.pop("remote-assertion", [])
    if len(assertions) > 1 or any(_subject(each) != sender.headers.get("remote-user") for each in assertions):
        return f"the assertion is not his: {assertions}"
    wanted = {name: [value] for name, value in sender.headers.items() if value}
    return "" if found == wanted else f"the identity is {found}"


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "-", name.strip().lower())


def _subject(assertion: str) -> str | None:
    try:
        claims = assertion.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])
    except (ValueError, LookupError):
        return None


def methods_of(arrival: Arrival) -> Iterator[str]:
    yield arrival.method.upper()
    yield from (value.upper() for name, value in arrival.headers if _folded(name) in _METHOD_NAMES)


def hosts_of(arrival: Arrival) -> Iterator[str]:
    """The hosts that an application may read. A port is none of its business."""
    hosts = [value for name, value in arrival.headers if _folded(name) in _HOST_NAMES | {"host"}]
    if absolute := re.match(r"[a-z][a-z0-9+.-]*://([^/?#\\]*)", arrival.target, re.IGNORECASE):
        hosts.append(absolute[1])
    for host in hosts or [""]:
        yield re.sub(r":[0-9]*$", "", host.rpartition("@")[2].lower()).removesuffix(".")


def paths_of(arrival: Arrival) -> Iterator[str]:
    yield from readings(arrival.target)
    for name, value in arrival.headers:
        if _folded(name) in _PATH_NAMES:
            yield from readings(value)


@lru_cache(1 << 14)
def readings(target: str) -> frozenset[str]:
    """Every path that an application may read in a request's target, by the steps that applications take, in any order."""
    target = re.sub(r"^[a-z][a-z0-9+.-]*://[^/?#\\]*", "", target, flags=re.IGNORECASE)
    found = left = frozenset({target.partition("?")[0]})
    for _ in range(MOST_STEPS):
        left = frozenset(step(path) for path in left for step in _STEPS) - found
        found |= left
    return found


def _decoded(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")


def _cut(path: str) -> str:
    return re.split(r"[?#\0]", path, maxsplit=1)[0]


def _without_parameters(path: str) -> str:
    return re.sub(r";[^/]*", "", path)


def _merged(path: str) -> str:
    return re.sub(r"/{2,}", "/", path)


def _resolved(path: str) -> str:
    """RFC 3986, section 5.2.4."""
    kept: list[str] = []
    for part in (parts := path.split("/")):
        if part == "..":
            del kept[max(1, len(kept) - 1) :]
        elif part != ".":
            kept.append(part)
    return "/".join(kept) + ("/" if parts[-1] in {".", ".."} and kept[-1:] != [""] else "")


def _with_slashes(path: str) -> str:
    return path.replace("\\", "/")


_STEPS = (_decoded, _cut, _without_parameters, _merged, _resolved, str.lower, _with_slashes)
