"""Checks replication: which replicas are linked, how far behind they are, and whether an isolated primary stops writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .findings import Finding, fault, ok, warning

if TYPE_CHECKING:
    from ..settings import Settings
    from .servers import Server

LAG_WARNING_SECONDS = 3
"""A replica reports its offset once a second, so a healthy lag is 0 or 1."""
LAG_FAULT_SECONDS = 10
LONGEST_MAX_LAG = 10


def judge_primary(primary: Server, settings: Settings) -> list[Finding]:
    """Judge the replicas that a primary lists."""
    if not primary.info:
        return []
    linked = [replica for replica in primary.replicas if replica.lag is not None]
    findings = [*_lags(primary), *_how_many(primary, len(linked), settings)]
    if findings:
        return findings
    lag, behind = max(replica.lag or 0 for replica in linked), max(replica.behind for replica in linked)
    return [ok(primary.where, f"{len(linked)} replica(s) linked, lag at most {lag} s, {behind} bytes behind")]


def _lags(primary: Server) -> Iterator[Finding]:
    for replica in primary.replicas:
        if replica.lag is not None and replica.lag >= LAG_WARNING_SECONDS:
            judge = fault if replica.lag >= LAG_FAULT_SECONDS else warning
            what = f"replica {replica.address} has not reported for {replica.lag} s: a failover to it loses the writes of that time"
            yield judge(
                "lag", primary.where, what, "check that it runs and does not hang, its disk, and the network between the two"
            )


def _how_many(primary: Server, linked: int, settings: Settings) -> Iterator[Finding]:
    where, wanted = primary.where, settings.redis_write_replicas
    if linked == 0:
        what = "it has no replica: a failover is impossible"
        yield fault("no-replica", where, what, "start its replicas, and read their logs (replicaof, masteruser, masterauth)")
    elif linked == 1 and _is_guarded(primary):
        what = "it has one replica: if promoted, that replica has none and refuses writes (min-replicas-to-write)"
        yield warning("one-replica", where, what, "run a second replica")
    if 0 < linked < wanted:
        wait = f"{settings.redis_write_replicas_timeout:g} s"
        what = f"REDIS_WRITE_REPLICAS is {wanted}, but {linked} are linked: each sign-in and logout waits {wait} in vain"
        yield warning("write-replicas", where, what, "run more replicas, or lower REDIS_WRITE_REPLICAS")


def judge_min_replicas(server: Server) -> list[Finding]:
    """Judge min-replicas, on a replica too: it may be the next primary."""
    if not server.info:
        return []
    if not _is_guarded(server):
        what = "min-replicas-to-write is 0: an isolated primary would accept writes, and lose them afterwards"
        fix = "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10, and in redis.conf"
        return [fault("min-replicas", server.where, what, fix)]
    if not server.is_primary:
        return []
    return list(_guard(server)) or [ok(server.where, "min-replicas is on: an isolated primary stops accepting writes")]


def _guard(primary: Server) -> Iterator[Finding]:
    config = primary.config or {}
    wanted, lag = int(config.get("min-replicas-to-write", 1)), int(config.get("min-replicas-max-lag", 0))
    good = primary.number("min_slaves_good_slaves")
    if good < wanted:
        what = f"it refuses writes: min-replicas-to-write requires {wanted} healthy replica(s), and there are {good}"
        yield fault("min-replicas-unmet", primary.where, what, "start its replicas")
    elif wanted > 1 and good == wanted:
        what = f"min-replicas-to-write is {wanted}, as many as it has: if one fails, it refuses writes"
        yield warning("min-replicas-tight", primary.where, what, "lower it to 1, or run another replica")
    if lag > LONGEST_MAX_LAG:
        what = f"min-replicas-max-lag is {lag}: an isolated primary accepts writes for that many seconds, and loses them"
        fix = f"CONFIG SET min-replicas-max-lag {LONGEST_MAX_LAG}, and in redis.conf"
        yield warning("min-replicas-lag", primary.where, what, fix)


def judge_replica(replica: Server) -> list[Finding]:
    """Judge a replica's link to its primary."""
    if not replica.info:
        return []
    heard = f"linked to its primary, last heard from {replica.number('master_last_io_seconds_ago')} s ago"
    return list(_link(replica)) or [ok(replica.where, heard)]


def _link(replica: Server) -> Iterator[Finding]:
    where, info = replica.where, replica.info
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        what = f"it has no link to {primary}: it receives no sessions, and would lack them if promoted"
        fix = "read its log: it must reach the primary, and masteruser and masterauth must be in the primary's ACL"
        yield fault("replica-not-linked", where, what, fix)
    if info.get("slave_read_only") == "0":
        what = "replica-read-only is no: a write to it is lost"
        yield warning("replica-writable", where, what, "CONFIG SET replica-read-only yes, and in redis.conf")


def judge_together(servers: Sequence[Server]) -> Iterator[Finding]:
    """Compare the settings that must be equal on all servers, because each may become the primary."""
    where = "Servers"
    replicas = [server for server in servers if "slave_priority" in server.info]
    if replicas and all(replica.info["slave_priority"] == "0" for replica in replicas):
        what = "replica-priority is 0 on every replica: Sentinel promotes none of them"
        yield fault("priority", where, what, "CONFIG SET replica-priority 100 on those that may be promoted, and in redis.conf")
    users = {(config.get("masteruser"), config.get("masterauth")) for server in servers if (config := server.config) is not None}
    if len(users) > 1:
        what = "masteruser or masterauth differ: after a failover a server may be unable to replicate"
        yield fault("masterauth", where, what, "set both to the same values on every server, on the primary too")
    if len({server.info.get("maxmemory") for server in servers if server.info}) > 1:
        what = "maxmemory differs: the server with the least may be full when it is promoted"
        yield warning("maxmemory-differs", where, what, "set the same value on every server")
    versions = {server.version for server in servers if server.info}
    if len(versions) > 1:
        what = f"their versions differ: {', '.join(sorted(versions))}"
        fix = "finish the upgrade, replicas first: an older replica may be unable to read the data of a newer primary"
        yield warning("versions-differ", where, what, fix)


def _is_guarded(server: Server) -> bool:
    """Whether min-replicas is on. INFO shows this field only if both min-replicas settings are above 0."""
    return "min_slaves_good_slaves" in server.info
