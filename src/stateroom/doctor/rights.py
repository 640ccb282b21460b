"""Finds out which commands the service may run on a server.

A command can be missing for two reasons: the ACL forbids it to the service's user, or the server does not have it
(`rename-command`, or a proxy in front). Commands that change nothing are tried. For the others a script asks whether its
user may run them (`redis.acl_check_cmd`, Redis 7.0 and Valkey: https://valkey.io/topics/lua-api/). This needs only the
right to EVAL, which the service needs anyway.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    {"ROLE", "TIME", "PING", "WAIT", "EVALSHA", "HGETALL", "GET", "ZRANGE", "ZCOUNT", "PTTL", "CLUSTER", "SELECT", "HELLO"}
)
"""Commands that change nothing. A script that no server knows (EVALSHA) runs nothing."""
_TRACKING = ("CLIENT", "TRACKING", "ON")
_ON_EVERY_SERVER = "in users.acl on every server (deploy/users.acl has the whole line), then run ACL LOAD"

_ASK = """#!lua flags=no-writes
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
    has_near_cache: bool

    @classmethod
    def of(cls, settings: Settings, *, is_cluster: bool) -> Needs:
        """What a service with these settings needs."""
        key = f"{settings.redis_key_prefix}:{{{TAGS[0]}}}:doctor"
        has_near_cache = settings.session_cache_max_age > 0
        calls = [
            *((name, key, *rest) for name, rest in _ON_A_KEY.items()),
            ("EVALSHA", "0" * 40, "1", key), ("TIME",), ("PING",), ("ROLE",),
        ]  # fmt: skip
        if settings.redis_write_replicas:
            calls.append(("WAIT", "0", "1"))
        if settings.redis_db:
            calls.append(("SELECT", str(settings.redis_db)))
        if has_near_cache:
            calls.append(("HELLO", "3"))
        if is_cluster:
            calls += [("CLUSTER", "SLOTS"), ("ASKING",)]
        return cls(calls, settings.redis_key_prefix, has_near_cache)

    @property
    def trials(self) -> list[tuple[str, ...]]:
        """The calls that are made. The last ones turn tracking on and off again, and read nothing between."""
        tracking = [_TRACKING, ("CLIENT", "TRACKING", "OFF")] if self.has_near_cache else []
        return [*(call for call in self.calls if call[0] in _TRIED), *tracking]

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
    if isinstance(asked, Exception):
        findings += _of_eval(where, user, asked)
    else:
        answers = dict(zip(needs.calls, asked, strict=True))
        forbidden |= {call for call, answer in answers.items() if answer == 0}
        missing |= {call for call, answer in answers.items() if answer < 0}
    findings += _of_tracking(where, user, {call for call in forbidden | missing if call[0] == "CLIENT"})
    if lacking := [call for call in needs.calls if call in missing]:
        names = ", ".join(dict.fromkeys(map(name_of, lacking)))
        what = f"it does not have {names}, which the service needs"
        findings.append(
            fault("rights", where, what, f"remove the `rename-command` lines of {names}, or use another server or proxy")
        )
    findings += _of_acl(where, user, needs, [call for call in needs.calls if call in forbidden])
    return findings or [ok(where, f"user {user} may run every command that the service needs on {needs.prefix}:*")]


def _of_eval(where: str, user: str, error: Exception) -> list[Finding]:
    if _MISSING.search(str(error)):
        fix = "remove the line `rename-command EVAL` from its configuration, or use another server or proxy"
        return [fault("rights", where, "it does not have EVAL, which every write needs", fix)]
    if "NOPERM" in str(error) or "permission" in str(error).lower():
        return [
            fault("rights", where, f"user {user} may not run EVAL, which every write needs", f"give it +eval {_ON_EVERY_SERVER}")
        ]
    return [
        unseen(
            "rights-unseen",
            where,
            f"the doctor cannot see which commands user {user} may run: {error}",
            f"run ACL GETUSER {user} as an administrator; the user needs the rights that its line in deploy/users.acl has",
        )
    ]


def _of_tracking(where: str, user: str, refused: set[tuple[str, ...]]) -> list[Finding]:
    if not refused:
        return []
    what = f"user {user} may not run CLIENT TRACKING, so no worker keeps copies of sessions (SESSION_CACHE_MAX_AGE has no effect)"
    return [warning("near-cache", where, what, f"give it +client|tracking {_ON_EVERY_SERVER}, or unset SESSION_CACHE_MAX_AGE")]


def _of_acl(where: str, user: str, needs: Needs, forbidden: Sequence[tuple[str, ...]]) -> list[Finding]:
    if not forbidden:
        return []
    if all(call in forbidden for call in needs.calls if call[0] in _ON_A_KEY):
        what = f"user {user} may not use keys that begin with {needs.prefix}: (REDIS_KEY_PREFIX)"
        return [fault("rights", where, what, f"give it ~{needs.prefix}:* {_ON_EVERY_SERVER}")]
    names = list(dict.fromkeys(map(name_of, forbidden)))
    grants = " ".join(f"+{name.lower()}" for name in names)
    return [fault("rights", where, f"user {user} may not run {', '.join(names)}", f"give it {grants} {_ON_EVERY_SERVER}")]
