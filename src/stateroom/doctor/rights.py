"""Asks a server which commands the service's user may run, without running them.

A script can ask whether its user may run a command (`redis.acl_check_cmd`, Redis 7.0 and Valkey:
https://valkey.io/topics/lua-api/). This needs only the right to EVAL, which the service needs anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..sessions.store.key_names import TAGS
from .findings import Finding, fault, ok, unseen, warning

if TYPE_CHECKING:
    from ..backend.client import Argument, Command

_ON_A_KEY = {
    "HGETALL": (), "HGET": ("f",), "HSET": ("f", "v"), "HDEL": ("f",), "HMGET": ("f",), "HSTRLEN": ("f",), "EXISTS": (),
    "DEL": (), "PEXPIRE": ("1",), "PTTL": (), "ZADD": ("1", "m"), "ZREM": ("m",), "ZRANGE": ("0", "0"),
    "ZRANGEBYSCORE": ("0", "0"), "ZCOUNT": ("0", "0"), "SET": ("v",), "GET": (), "INCR": (), "DECR": (),
}  # fmt: skip
_WITHOUT_KEY = (
    ("TIME",), ("INFO",), ("PING",), ("ROLE",), ("HELLO", "3"), ("SELECT", "0"), ("WAIT", "1", "1"), ("EVALSHA", "0" * 40, "0"),
)  # fmt: skip
_OF_A_CLUSTER = (("CLUSTER", "SLOTS"), ("CLUSTER", "NODES"), ("CLUSTER", "INFO"), ("ASKING",))
_CAN_LACK = {("CLUSTER", "NODES"), ("CLUSTER", "INFO")}
"""What the service can do without."""
_OF_A_NEAR_CACHE = (("CLIENT", "TRACKING", "ON"),)

_ASK = """#!lua flags=no-writes
local answers, at = {}, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  answers[#answers + 1] = redis.acl_check_cmd(unpack(ARGV, at + 1, at + count)) and 1 or 0
  at = at + count + 1
end
return answers"""


def needed(prefix: str, *, is_cluster: bool, has_near_cache: bool) -> list[tuple[str, ...]]:
    """One call of each command that the service runs, on a key with the service's prefix."""
    key = f"{prefix}:{{{TAGS[0]}}}:doctor"
    return [
        *((name, key, *rest) for name, rest in _ON_A_KEY.items()),
        ("EVALSHA", "0" * 40, "1", key),
        *_WITHOUT_KEY,
        *(_OF_A_CLUSTER if is_cluster else ()),
        *(_OF_A_NEAR_CACHE if has_near_cache else ()),
    ]


def name_of(call: Sequence[str]) -> str:
    """A command as an ACL names it. Some names include the second word."""
    return "|".join(call[:2]) if call[0] in {"CLIENT", "CLUSTER"} else call[0]


def question(calls: Sequence[Sequence[str]]) -> Command:
    """The script call that asks about all these calls. It returns 1 or 0 for each."""
    words: list[Argument] = []
    for call in calls:
        words += [len(call), *call]
    return ("EVAL", _ASK, 0, *words)


def judge_rights(where: str, user: str, prefix: str, calls: Sequence[Sequence[str]], reply: Any) -> list[Finding]:
    """Judge the reply to `question(calls)`."""
    everywhere = "in users.acl on every server (deploy/users.acl has the whole line), then run ACL LOAD"
    if isinstance(reply, Exception):
        if "unknown command" in str(reply):
            return [
                fault(
                    "rights",
                    where,
                    "it has no EVAL, which every write needs",
                    "remove the line `rename-command EVAL` from its configuration, or use another server",
                )
            ]
        if "NOPERM" in str(reply) or "permission" in str(reply).lower():
            return [fault("rights", where, f"user {user} may not run EVAL, which every write needs", f"give it +eval {everywhere}")]
        return [
            unseen(
                "rights-unseen",
                where,
                f"the doctor cannot see which commands user {user} may run: {reply}",
                f"run ACL GETUSER {user} as an administrator; the user needs the rights that its line in deploy/users.acl has",
            )
        ]
    refused = [call for call, is_allowed in zip(calls, reply, strict=True) if not is_allowed]
    if not refused:
        return [ok(where, f"user {user} may run every command that the service needs on {prefix}:*")]
    with_keys = [call for call in calls if call[0] in _ON_A_KEY]
    if all(call in refused for call in with_keys):
        return [
            fault(
                "rights",
                where,
                f"user {user} may not use keys that begin with {prefix}: (REDIS_KEY_PREFIX)",
                f"give it ~{prefix}:* {everywhere}",
            )
        ]
    names = list(dict.fromkeys(map(name_of, refused)))
    grants = " ".join(f"+{name.lower()}" for name in names)
    what, fix = f"user {user} may not run {', '.join(names)}", f"give it {grants} {everywhere}"
    if _CAN_LACK.issuperset(refused):
        return [warning("rights", where, f"{what}; the service cannot tell an old map of the slots from a new one", fix)]
    return [fault("rights", where, what, fix)]
