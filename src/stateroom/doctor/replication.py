"""A primary and its replicas: who is linked and how far behind, and whether a primary that is cut off stops by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .findings import Finding, fault, ok, warning

if TYPE_CHECKING:
    from ..settings import Settings
    from .servers import Server

LAG_WARNING_SECONDS = 3
"""A replica says each second how far it is."""
LAG_FAULT_SECONDS = 10
LONGEST_MAX_LAG = 10


def judge_primary(primary: Server, settings: Settings) -> list[Finding]:
    """What a primary says of its replicas."""
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
            say = fault if replica.lag >= LAG_FAULT_SECONDS else warning
            what = f"replica {replica.address} has said nothing for {replica.lag} s: a failover to it loses as much"
            yield say("lag", primary.where, what, "see that it runs and does not hang, its disk, and the network between them")


def _how_many(primary: Server, linked: int, settings: Settings) -> Iterator[Finding]:
    where, wanted = primary.where, settings.redis_write_replicas
    if linked == 0:
        what = "no replica follows it: there is nothing to fail over to"
        yield fault("no-replica", where, what, "start its replicas, and see their logs (replicaof, masteruser, masterauth)")
    elif linked == 1 and _is_guarded(primary):
        what = "one replica follows it: promoted, that has none itself and refuses writes (min-replicas-to-write)"
        yield warning("one-replica", where, what, "run a second replica")
    if 0 < linked < wanted:
        wait = f"{settings.redis_write_replicas_timeout:g} s"
        what = f"REDIS_WRITE_REPLICAS is {wanted}, with {linked} linked: each sign-in and logout waits {wait} for nothing"
        yield warning("write-replicas", where, what, "run more replicas, or lower REDIS_WRITE_REPLICAS")


def judge_min_replicas(server: Server) -> list[Finding]:
    """Of a primary, and of a replica: it is the next primary."""
    if not server.info:
        return []
    if not _is_guarded(server):
        what = "min-replicas-to-write is 0: cut off, it would take writes that are thrown away afterwards"
        mend = "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10, and in redis.conf"
        return [fault("min-replicas", server.where, what, mend)]
    if not server.is_primary:
        return []
    return list(_guard(server)) or [ok(server.where, "min-replicas is on: cut off, it stops to take writes")]


def _guard(primary: Server) -> Iterator[Finding]:
    config = primary.config or {}
    wanted, lag = int(config.get("min-replicas-to-write", 1)), int(config.get("min-replicas-max-lag", 0))
    good = primary.number("min_slaves_good_slaves")
    if good < wanted:
        what = f"it refuses writes: min-replicas-to-write asks for {wanted} replica(s) in good order, and has {good}"
        yield fault("min-replicas-unmet", primary.where, what, "bring its replicas back")
    elif wanted > 1 and good == wanted:
        what = f"min-replicas-to-write is {wanted}, as many as it has: with one away it refuses writes"
        yield warning("min-replicas-tight", primary.where, what, "lower it to 1, or run another replica")
    if lag > LONGEST_MAX_LAG:
        what = f"min-replicas-max-lag is {lag}: cut off, it takes writes for that many seconds, and loses them"
        mend = f"CONFIG SET min-replicas-max-lag {LONGEST_MAX_LAG}, and in redis.conf"
        yield warning("min-replicas-lag", primary.where, what, mend)


def judge_replica(replica: Server) -> list[Finding]:
    """What a replica says of its primary."""
    if not replica.info:
        return []
    heard = f"linked to its primary, last heard of {replica.number('master_last_io_seconds_ago')} s ago"
    return list(_link(replica)) or [ok(replica.where, heard)]


def _link(replica: Server) -> Iterator[Finding]:
    where, info = replica.where, replica.info
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        what = f"it has no link to {primary}: it gets no sessions, and promoted it would be without them"
        mend = "see its log: the primary must be in reach, and masteruser and masterauth be what its ACL has"
        yield fault("replica-not-linked", where, what, mend)
    if info.get("slave_read_only") == "0":
        what = "replica-read-only is no: what is written to it is lost"
        yield warning("replica-writable", where, what, "CONFIG SET replica-read-only yes, and in redis.conf")


def judge_together(servers: Sequence[Server]) -> Iterator[Finding]:
    """What must be alike on a primary and its replicas, since each may become the primary."""
    where = "Servers"
    replicas = [server for server in servers if "slave_priority" in server.info]
    if replicas and all(replica.info["slave_priority"] == "0" for replica in replicas):
        what = "replica-priority is 0 on every replica: Sentinel promotes none of them"
        yield fault("priority", where, what, "CONFIG SET replica-priority 100 on those that may be promoted, and in redis.conf")
    users = {(config.get("masteruser"), config.get("masterauth")) for server in servers if (config := server.config) is not None}
    if len(users) > 1:
        what = "masteruser and masterauth are not the same on all: after a failover one cannot follow"
        yield fault("masterauth", where, what, "set both on every server, on the primary too")
    if len({server.info.get("maxmemory") for server in servers if server.info}) > 1:
        what = "maxmemory is not the same on all: promoted, the one with the least may be full"
        yield warning("maxmemory-differs", where, what, "set the same on every server")
    versions = {server.version for server in servers if server.info}
    if len(versions) > 1:
        what = f"they are of several versions: {', '.join(sorted(versions))}"
        mend = "finish the upgrade, replicas first: an older one cannot read what a newer primary sends"
        yield warning("versions-differ", where, what, mend)


def _is_guarded(server: Server) -> bool:
    """INFO shows this only where both min-replicas settings are more than 0."""
    return "min_slaves_good_slaves" in server.info
