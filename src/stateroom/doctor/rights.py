"""Finds out which commands the service may run on a server.

A command can be missing for two reasons: the ACL forbids it to the service's user, or the server does not have it
(`rename-command`, or a proxy in front). Commands that change nothing are tried. For the others a script asks whether its
user may run them (`redis.acl_check_cmd`, Redis 7.0 and Valkey: https://valkey.io/topics/lua-api/). This needs only the
right to EVAL, which the service needs anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from ..sessions.store.key_names import TAGS
from .findings import Finding, fault, ok, unseen, warning

if TYPE_CHECKING:
    from ..backend.client import Argument, Command
    from ..settings import Settings

_ON_A_KEY = {
    "HGETALL": (), "HGET": ("f",), "HSET": ("f", "v"), "HDEL": ("f",), "HMGET": ("f",), "HSTRLEN": ("f",), "EXISTS": (),
    "DEL": (), "PEXPIRE": ("1",), "PTTL": (), "ZADD": ("1", "m"), "ZREM": ("m",), "ZRANGE": ("0", "0"),
    "ZRANGEBYSCORE": ("0", "0"), "ZCOUNT": ("0", "0"), "SET": ("v",), "GET": (), "INCR": (), "DECR": (),
}  # fmt: skip
_TRIED = frozenset(
    {"ROLE", "TIME", "PING", "WAIT", "EVALSHA", "HGETALL", "GET", "ZRANGE", "ZCOUNT", "PTTL", "CLUSTER", "SELECT", "INFO"}
)
"""Commands that change nothing. EVALSHA calls a script that no server knows, so it runs nothing. But Redis takes it for a script
that may write."""
_EVAL = ("EVAL",)
_TRACKING = ("CLIENT", "TRACKING", "ON")
_OF_A_CLUSTER = (("CLUSTER", "SLOTS"), ("CLUSTER", "NODES"), ("CLUSTER", "INFO"), ("ASKING",))
_NO_COPIES = "the near cache is off: no worker keeps copies of sessions, and SESSION_CACHE_MAX_AGE has no effect"
_NO_AGE = "the service cannot tell an old map of the slots from a new one"
_NO_RUN_ID = (
    "the service learns no run id: reads and writes share one connection, so reads wait behind writes that CLIENT PAUSE WRITE "
    "holds back, and nothing checks that all connections lead to one server; its metrics of memory and replicas are missing"
)
_OPTIONAL = {
    "INFO": _NO_RUN_ID,
    "HELLO": _NO_COPIES,
    "CLIENT|TRACKING": _NO_COPIES,
    "CLUSTER|NODES": _NO_AGE,
    "CLUSTER|INFO": _NO_AGE,
}
"""Commands that the service can do without, by the name that ACLs use, and what happens without them."""
_ON_EVERY_SERVER = "in users.acl on every server (deploy/users.acl has the whole line), then run ACL LOAD"

_ASK = """#!lua flags=no-writes
assert(redis.acl_check_cmd, 'the server has no redis.acl_check_cmd')
local answers, at = {}, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  local is_known, may = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + count))
  answers[#answers + 1] = is_known and (may and 1 or 0) or -1
  at = at + count + 1
end
return answers"""

_MISSING = re.compile(r"(?i)unknown (redis )?command|unsupported command|command not supported|command is disabled")


@dataclass(frozen=True, slots=True)
class Needs:
    """What the service needs on a server: one call of each command, on a key with the service's prefix."""

    calls: list[tuple[str, ...]]
    prefix: str

    @classmethod
    def of(cls, settings: Settings, *, is_cluster: bool) -> Needs:
        """What a service with these settings needs."""
        key = f"{settings.redis_key_prefix}:{{{TAGS[0]}}}:doctor"
        calls = [
            *((name, key, *rest) for name, rest in _ON_A_KEY.items()),
            ("EVALSHA", "0" * 40, "1", key), ("TIME",), ("PING",), ("ROLE",), ("INFO",),
        ]  # fmt: skip
        if settings.redis_write_replicas:
            calls.append(("WAIT", "0", "1"))
        if settings.redis_db:
            calls.append(("SELECT", str(settings.redis_db)))
        if settings.session_cache_max_age:
            calls += [("HELLO", "3"), _TRACKING]
        if is_cluster:
            calls += _OF_A_CLUSTER
        return cls(calls, settings.redis_key_prefix)

    @property
    def trials(self) -> list[tuple[str, ...]]:
        """The calls that are made. EVALSHA is the last one: a server that holds writes back does not reply to it."""
        return sorted((call for call in self.calls if call[0] in _TRIED), key=lambda call: call[0] == "EVALSHA")

    @property
    def question(self) -> Command:
        """The script call that asks about all `calls`. It returns 1 (allowed), 0 (forbidden) or -1 (no such command) for each."""
        words: list[Argument] = []
        for call in self.calls:
            words += [len(call), *call]
        return ("EVAL", _ASK, 0, *words)


def name_of(call: Sequence[str]) -> str:
    """A command as an ACL names it. Some names include the second word."""
    return "|".join(call[:2]) if call[0] in {"CLIENT", "CLUSTER"} else call[0]


def judge_rights(where: str, user: str, needs: Needs, asked: Any, tried: Sequence[Any]) -> list[Finding]:
    """Judge the replies to `needs.question` and to `needs.trials`."""
    replies = dict(zip(needs.trials, tried, strict=True))
    forbidden = {call for call, reply in replies.items() if isinstance(reply, NoPermissionError)}
    missing = {call for call, reply in replies.items() if isinstance(reply, Exception) and _MISSING.search(str(reply))}
    findings: list[Finding] = []
    if isinstance(asked, NoPermissionError):
        forbidden.add(_EVAL)
    elif isinstance(asked, Exception) and _MISSING.search(str(asked)):
        missing.add(_EVAL)
    elif isinstance(asked, Exception):
        what = f"the doctor cannot see which commands user {user} may run: {asked}"
        fix = f"run ACL GETUSER {user} as an administrator; the user needs the rights that its line in deploy/users.acl has"
        findings.append(unseen("rights-unseen", where, what, fix))
    else:
        answers = dict(zip(needs.calls, asked, strict=True))
        forbidden |= {call for call, answer in answers.items() if answer == 0}
        missing |= {call for call, answer in answers.items() if answer < 0}
    if forbidden.issuperset(call for call in needs.calls if call[0] in _ON_A_KEY):
        what = f"user {user} may not use keys that begin with {needs.prefix}: (REDIS_KEY_PREFIX)"
        return [*findings, fault("rights", where, what, f"give it ~{needs.prefix}:* {_ON_EVERY_SERVER}")]
    findings += _judge(where, _names(needs, forbidden), f"user {user} may not run", _grants)
    findings += _judge(where, _names(needs, missing), "it does not have", _renamed)
    return findings or [ok(where, f"user {user} may run every command that the service needs on {needs.prefix}:*")]


def _names(needs: Needs, calls: set[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(name_of(call) for call in [_EVAL, *needs.calls] if call in calls))


def _judge(where: str, names: Sequence[str], lacks: str, fix: Callable[[Sequence[str]], str]) -> Iterator[Finding]:
    """Judge commands that cannot be run for the same reason."""
    if needed := [name for name in names if name not in _OPTIONAL]:
        yield fault("rights", where, f"{lacks} {', '.join(needed)}", fix(needed))
    if optional := [name for name in names if name in _OPTIONAL]:
        effects = dict.fromkeys(_OPTIONAL[name] for name in optional)
        instead = "; or unset SESSION_CACHE_MAX_AGE" if [*effects] == [_NO_COPIES] else ""
        yield warning("rights", where, f"{lacks} {', '.join(optional)}, so {'; '.join(effects)}", fix(optional) + instead)


def _grants(names: Sequence[str]) -> str:
    return f"give it {' '.join(f'+{name.lower()}' for name in names)} {_ON_EVERY_SERVER}"


def _renamed(names: Sequence[str]) -> str:
    return f"remove `rename-command` of {', '.join(names)} from its configuration, or use another server or proxy"
