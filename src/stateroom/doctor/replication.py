"""Checks replication: which replicas are linked, how far behind they are, and whether an isolated primary stops writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..plurals import counted
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
    return [ok(primary.where, f"{counted(len(linked), 'replica')} linked, lag at most {lag} s, {counted(behind, 'byte')} behind")]


def _lags(primary: Server) -> Iterator[Finding]:
    for replica in primary.replicas:
        if replica.lag is not None and replica.lag >= LAG_WARNING_SECONDS:
            judge = fault if replica.lag >= LAG_FAULT_SECONDS else warning
            what = (
                f"replica {replica.address} has not reported for {replica.lag} s, so a failover to it loses the writes of that time"
            )
            yield judge(
                "lag",
                primary.where,
                what,
                "check that the replica runs and does not hang; check its disk and its network to the primary",
            )


def _how_many(primary: Server, linked: int, settings: Settings) -> Iterator[Finding]:
    where, wanted = primary.where, settings.redis_write_replicas
    if linked == 0:
        what = "it has no linked replica, so a failover is impossible"
        fix = (
            "start its replicas, and read their logs; check replicaof, masteruser and masterauth; if a server that should be a "
            "replica says that it is a primary, run REPLICAOF there (in a Cluster: CLUSTER REPLICATE)"
        )
        yield fault("no-replica", where, what, fix)
    elif linked == 1 and _is_guarded(primary):
        what = "it has one replica; if that one is promoted, it has no replica itself and refuses writes (min-replicas-to-write)"
        yield warning("one-replica", where, what, "run a second replica")
    if 0 < linked < wanted:
        wait = f"{settings.redis_write_replicas_timeout:g} s"
        are = "is" if linked == 1 else "are"
        what = (
            f"REDIS_WRITE_REPLICAS is {wanted}, but {counted(linked, 'replica')} {are} linked, "
            f"so each sign-in and sign-out waits {wait} for confirmations that cannot come"
        )
        yield warning("write-replicas", where, what, "run more replicas, or lower REDIS_WRITE_REPLICAS")


def judge_min_replicas(server: Server) -> list[Finding]:
    """Judge min-replicas. A replica is judged too, because it may be the next primary."""
    if not server.info:
        return []
    if not _is_guarded(server):
        what = "min-replicas-to-write is 0, so an isolated primary accepts writes that are lost afterwards"
        fix = "run CONFIG SET min-replicas-to-write 1 and CONFIG SET min-replicas-max-lag 10, and set both in redis.conf too"
        return [fault("min-replicas", server.where, what, fix)]
    if not server.is_primary:
        return []
    return list(_guard(server)) or [ok(server.where, "min-replicas is on, so an isolated primary stops accepting writes")]


def _guard(primary: Server) -> Iterator[Finding]:
    config = primary.config or {}
    wanted, lag = int(config.get("min-replicas-to-write", 1)), int(config.get("min-replicas-max-lag", 0))
    good = primary.number("min_slaves_good_slaves")
    if good < wanted:
        what = f"it refuses writes, because min-replicas-to-write requires {counted(wanted, 'healthy replica')} and it has {good}"
        yield fault("min-replicas-unmet", primary.where, what, "start its replicas")
    elif wanted > 1 and good == wanted:
        what = f"min-replicas-to-write is {wanted}, and there are only {wanted} replicas; if one fails, the primary refuses writes"
        yield warning("min-replicas-tight", primary.where, what, "lower min-replicas-to-write to 1, or run another replica")
    if lag > LONGEST_MAX_LAG:
        what = f"min-replicas-max-lag is {lag}, so an isolated primary accepts writes for {lag} s, and these writes are lost"
        fix = f"run CONFIG SET min-replicas-max-lag {LONGEST_MAX_LAG}, and set it in redis.conf too"
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
        what = f"it has no link to {primary}, so it receives no new sessions; if it is promoted, these sessions are lost"
        fix = "read its log; it must reach the primary, and its masteruser and masterauth must be in the primary's ACL"
        yield fault("replica-not-linked", where, what, fix)
    if info.get("slave_read_only") == "0":
        what = "replica-read-only is no, so clients can write to it, and these writes are lost"
        yield warning("replica-writable", where, what, "run CONFIG SET replica-read-only yes, and set it in redis.conf too")


def judge_together(servers: Sequence[Server]) -> Iterator[Finding]:
    """Compare the settings that must be equal on all servers, because each may become the primary."""
    where = "Servers"
    replicas = [server for server in servers if "slave_priority" in server.info]
    if replicas and all(replica.info["slave_priority"] == "0" for replica in replicas):
        what = "replica-priority is 0 on every replica, so Sentinels promote none of them"
        yield fault(
            "priority",
            where,
            what,
            "run CONFIG SET replica-priority 100 on each replica that may be promoted, and set it in redis.conf too",
        )
    users = {(config.get("masteruser"), config.get("masterauth")) for server in servers if (config := server.config) is not None}
    if len(users) > 1:
        what = "masteruser or masterauth differ between the servers, so a server may be unable to replicate after a failover"
        yield fault("masterauth", where, what, "set both to the same values on every server, including the primary")
    if len({server.info.get("maxmemory") for server in servers if server.info}) > 1:
        what = "maxmemory differs between the servers, so the server with the lowest value may be full when it is promoted"
        yield warning("maxmemory-differs", where, what, "set the same value on every server")
    versions = {server.version for server in servers if server.info}
    if len(versions) > 1:
        what = f"the versions of the servers differ: {', '.join(sorted(versions))}"
        fix = "finish the upgrade, replicas first, because an older replica may be unable to read the data of a newer primary"
        yield warning("versions-differ", where, what, fix)


def _is_guarded(server: Server) -> bool:
    """Whether min-replicas is on. INFO shows this field only if both min-replicas settings are above 0."""
    return "min_slaves_good_slaves" in server.info
