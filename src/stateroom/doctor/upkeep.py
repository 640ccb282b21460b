"""Checks that a server keeps its data: its append-only file, its snapshots, its memory and what it evicts.

If a primary restarts without its data, its replicas delete their data too. A server that cannot write to its disk refuses
writes (MISCONF). A server that evicts keys deletes the data of sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..backend.version import OLDEST, TOO_OLD, TOO_OLD_FIX, version_of
from .findings import Finding, fault, ok, unseen, warning

if TYPE_CHECKING:
    from .servers import Server

FULL = 0.95
"""A fault: this part of the memory is used."""
FILLING = 0.8
"""A warning: this part of the memory is used."""


def judge_upkeep(server: Server) -> list[Finding]:
    """Judge the version, the disk and the memory of one server."""
    if not server.info:
        return []
    fsync = "" if server.config is None else f" (appendfsync {server.config.get('appendfsync', 'unknown')})"
    used, limit = server.number("used_memory"), server.number("maxmemory")
    room = f"with a maxmemory of {_size(limit)}" if limit else "without a maxmemory"
    return [
        *_version(server),
        *(list(_disk(server)) or [ok(server.where, f"AOF is on{fsync}, and its last writes to disk succeeded")]),
        *(
            list(_memory(server, used, limit))
            or [ok(server.where, f"maxmemory-policy is noeviction, and {_size(used)} of memory is used, {room}")]
        ),
    ]


def _version(server: Server) -> Iterator[Finding]:
    known = version_of(server.info)
    if known and known < OLDEST:
        yield fault("version", server.where, f"{server.version} {TOO_OLD}", TOO_OLD_FIX)


def _disk(server: Server) -> Iterator[Finding]:
    where, info, config = server.where, server.info, server.config or {}
    if info.get("aof_enabled") == "0":
        snapshots = (
            "" if server.config is None else (", with snapshots only" if config.get("save") else ", and no snapshots are taken")
        )
        what = f"AOF is off{snapshots}, so a restart loses sessions, and a restarted primary deletes them on its replicas too"
        yield fault("aof-off", where, what, "run CONFIG SET appendonly yes, and set it in redis.conf too")
    elif config.get("appendfsync") == "no":
        what = "appendfsync is no, so a crash of the machine loses about 30 s of writes"
        yield warning("appendfsync", where, what, "run CONFIG SET appendfsync everysec, and set it in redis.conf too")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        stops = config.get("stop-writes-on-bgsave-error", "yes") == "yes"
        what = f"its last snapshot failed{', so it refuses writes (MISCONF) until a snapshot succeeds' if stops else ''}"
        yield fault(
            "bgsave-failed",
            where,
            what,
            "read its log for the cause (a full disk, the rights of its folder, no memory for a fork), fix it, then run BGSAVE",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        what = "its last write to the AOF failed, so it refuses writes (MISCONF) until a write to the AOF succeeds"
        yield fault("aof-write-failed", where, what, "free space on its disk, and read its log")
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        what = "its last rewrite of the AOF failed, so the file keeps growing and a restart takes longer"
        yield warning(
            "aof-rewrite-failed", where, what, "read its log for the cause, free space on its disk, then run BGREWRITEAOF"
        )


def _memory(server: Server, used: int, limit: int) -> Iterator[Finding]:
    policy = server.info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        what = f"maxmemory-policy is {policy}, so a full server evicts sessions with all their data"
        yield fault("eviction", server.where, what, "run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf too")
    room = limit or server.number("total_system_memory")
    if room and used / room > FILLING:
        judge = fault if used / room > FULL else warning
        of_what, fix = ("maxmemory", "raise maxmemory") if limit else ("the machine's memory", "give the machine more memory")
        what = f"{used / room:.0%} of {of_what} is used; a full server refuses writes"
        yield judge("memory", server.where, what, f"{fix}, or shorten SESSION_ABSOLUTE_MAX_AGE")


def judge_unseen(servers: Sequence[Server]) -> Iterator[Finding]:
    """One finding for all servers: settings that INFO does not show and no user was allowed to read."""
    if any(server.config is None for server in servers):
        what = (
            "the service's user may not run CONFIG GET and does not need it, so the doctor cannot see appendfsync, save, "
            "min-replicas-max-lag and masterauth"
        )
        yield unseen(
            "config-unseen", "Servers", what, "run `stateroom doctor --admin NAME` with an ACL user that may run CONFIG GET"
        )


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
