"""A Cluster of three primaries and three replicas, and workers of the service, for drills to break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.crc import key_slot

from stateroom.drills import topology
from stateroom.drills.client import Client
from stateroom.drills.load import Load
from stateroom.drills.node import Node, until
from stateroom.drills.ports import LOOPBACK
from stateroom.drills.workers import Worker
from stateroom.sessions.model.identity import user_key
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames

WORKERS = 2


@dataclass
class Clustered:
    """`nodes`: the primaries, then their replicas in the same order, until the first failover."""

    nodes: list[Node]
    workers: list[Worker]

    @property
    def urls(self) -> list[str]:
        return [worker.url for worker in self.workers]

    async def settled(self) -> None:
        """Return when every worker reports every shard as settled."""

        async def is_settled() -> bool:
            return all([await each.metric('stateroom_store_state{state="settled"}') == 1 for each in self.workers])

        await until(is_settled, "the workers find every shard settled", seconds=60)

    async def shard_of(self, client: Client, load: Load) -> int:
        """The shard that had this client's sessions at first."""
        assert client.session is not None
        user_id = (await load.ask(client.worker, client.session))["user_id"]
        return slot_of(user_id) * 3 // 16384


def slot_of(user_id: int) -> int:
    return int(key_slot(KeyNames("session").of_user(user_key(user_id))[0].encode()))


@contextlib.asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[Clustered]:
    """Run a Cluster with workers. On entry it is whole."""
    async with topology.cluster(folder / "cluster") as nodes, contextlib.AsyncExitStack() as exits:
        environment = _environment(folder, nodes)
        workers = [Worker(folder / f"worker-{number}", "127.0.0.1", environment) for number in range(WORKERS)]
        for worker in workers:
            exits.push_async_callback(worker.stop)
        await asyncio.gather(*(worker.start() for worker in workers))
        made = Clustered(nodes, workers)
        await made.settled()
        yield made


def _environment(folder: Path, nodes: Sequence[Node]) -> dict[str, str]:
    return {
        "PYTHONPATH": str(Path(topology.__file__).parents[2]),
        "HOST": LOOPBACK,
        "REDIS_CLUSTER_NODES": ",".join(str(node.address) for node in nodes[:2]),
        "REDIS_WRITE_REPLICAS": "1",
        "DATABASE_URL": f"sqlite:///{folder}/users.db",
        "COOKIE_KEYS": new_key(),
        "COOKIE_SECURE": "false",
        "SESSION_NAME": "session_id",
        "BCRYPT_ROUNDS": "4",
        "PASSWORD_BLOCKLIST": "off",
        "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
        "LOG_FORMAT": "json",
    }
