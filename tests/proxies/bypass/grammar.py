"""Generates requests that may confuse a proxy, the access rules or the application: each one from a seed and a number alone.

Every request begins as a good one, and then gets none to four tricks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from . import tricks_of_headers, tricks_of_paths
from .draft import AREAS, HOSTS, Draft
from .plain import NUMBER
from .raw import h2

TRICKS = (*tricks_of_paths.TRICKS, *tricks_of_headers.TRICKS)
Credentials = Mapping[str, Sequence[tuple[str, str]]]
"""By the name of each user: the headers of which each one signs the user in."""


@dataclass(frozen=True)
class Attempt:
    """A request to send. `senders`: whose credentials it has; nobody's if it is empty."""

    number: int
    is_h2: bool
    raw: bytes
    tunnelled: bytes
    senders: frozenset[str]
    tricks: tuple[str, ...]


def attempt(seed: int, number: int, credentials: Credentials) -> Attempt:
    """The attempt of a seed with this number."""
    random = Random(f"{seed}/{number}")
    draft = Draft(number, random, path=random.choice(AREAS), host=random.choices(HOSTS, (8, 2, 1))[0])
    draft.version = random.choices(("1.1", "1.0", "2"), (6, 1, 3))[0]
    draft.headers.append(("Accept", random.choice(("text/html,*/*;q=0.8", "*/*"))))
    if random.random() < 0.3:
        draft.headers.append(("Sec-Fetch-Mode", "navigate"))
    senders = _sign_in(draft, credentials)
    for trick in random.choices(TRICKS, k=random.choices((0, 1, 2, 3, 4), (1, 3, 3, 2, 1))[0]):
        trick(draft)
        draft.tricks.append(trick.__name__)
    raw = _as_h2(draft) if draft.version == "2" else _as_h1(draft)
    return Attempt(number, draft.version == "2", raw, draft.tunnelled, senders, tuple(draft.tricks))


def _sign_in(draft: Draft, credentials: Credentials) -> frozenset[str]:
    """Add the credentials of nobody, of one user or, rarely, of several."""
    users = [*credentials]
    [how_many] = draft.random.choices((0, 1, len(users)), (5, 8, 1))
    senders = draft.random.sample(users, how_many)
    for user in senders:
        draft.headers.append(draft.random.choice(credentials[user]))
        draft.credential = re.split("[= ]", draft.headers[-1][1])[-1]
    return frozenset(senders)


def _target(draft: Draft) -> str:
    return draft.form.format(path=draft.path, host=draft.host)


def _as_h1(draft: Draft) -> bytes:
    hosts = [draft.host] if draft.hosts is None else draft.hosts
    lines = [f"{draft.method} {_target(draft)} HTTP/{draft.version}", *(f"Host: {host}" for host in hosts)]
    lines += [f"{NUMBER}: {draft.number}", *(f"{name}: {value}" for name, value in draft.headers), *draft.lines]
    if draft.body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in draft.lines):
        lines.append(f"Content-Length: {len(draft.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + draft.body


def _as_h2(draft: Draft) -> bytes:
    pseudo = [(":method", draft.method), (":scheme", "http"), (":path", _target(draft)), (":authority", draft.host)]
    headers = [*pseudo, *(("host", host) for host in draft.hosts or []), (NUMBER, str(draft.number)), *draft.headers]
    sent = [(name if draft.random.random() < 0.02 else name.lower(), value) for name, value in headers]
    return h2([(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent], draft.body)
