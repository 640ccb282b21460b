"""The answers of a Sentinel and a server in a healthy stack. Each test changes one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stateroom.doctor.sentinels import Sentinel
from stateroom.doctor.servers import Server
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings

PRIMARY = Address("10.0.0.1", 6379)
SENTINELS = [Address(f"10.0.1.{number}", 26379) for number in range(3)]


def settings(**values: Any) -> Settings:
    own = {"redis_sentinels": ",".join(map(str, SENTINELS)), "database_url": "none", "cookie_keys": new_key()}
    return Settings(**({"_env_file": None} | own | values))


def sentinel(number: int = 0, **state: str) -> Sentinel:
    """A Sentinel. `state`: its fields, with underscores for hyphens."""
    said = {
        "name": "mymaster", "config-epoch": "7", "num-other-sentinels": "2", "quorum": "2", "down-after-milliseconds": "5000",
        "failover-timeout": "30000", "parallel-syncs": "1",
    }  # fmt: skip
    said |= {name.replace("_", "-"): value for name, value in state.items()}
    return Sentinel(SENTINELS[number], "no TLS, no password", f"id-{number}", PRIMARY, said, quorum="OK 3 usable Sentinels.")


def group(**state: str) -> list[Sentinel]:
    return [sentinel(number, **state) for number in range(3)]


def primary(info: Mapping[str, str] | None = None, *, config: Mapping[str, str] | None = None) -> Server:
    said = {
        "redis_version": "7.2.4", "valkey_version": "9.1.2", "role": "master", "aof_enabled": "1", "maxmemory_policy": "noeviction",
        "used_memory": "1000", "maxmemory": "0", "total_system_memory": "1000000", "min_slaves_good_slaves": "2",
        "connected_slaves": "2", "master_repl_offset": "50",
        "slave0": "ip=10.0.0.2,port=6379,state=online,offset=50,lag=0",
        "slave1": "ip=10.0.0.3,port=6379,state=online,offset=50,lag=1",
    }  # fmt: skip
    return Server("Primary 10.0.0.1:6379", PRIMARY, "no TLS", said | dict(info or {}), is_primary=True, config=config)


def replica(number: int = 2, info: Mapping[str, str] | None = None, *, config: Mapping[str, str] | None = None) -> Server:
    said = dict(primary().info) | {
        "role": "slave", "connected_slaves": "0", "min_slaves_good_slaves": "0", "master_link_status": "up",
        "slave_priority": "100", "slave_read_only": "1",
    }  # fmt: skip
    address = Address(f"10.0.0.{number}", 6379)
    return Server(f"Replica {address}", address, "no TLS", said | dict(info or {}), is_primary=False, config=config)
