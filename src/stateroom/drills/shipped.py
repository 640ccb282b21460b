"""Makes servers and Sentinels from the shipped configuration files. Each is behind a relay, whose address it announces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..backend.dial import Dialer
from ..sessions.sealing.key_ring import new_key
from ..settings import Address
from .node import Node
from .ports import LOOPBACK
from .topology import SERVICE_NAME

DOWN_AFTER_MS = 1000
SOURCES = {"redis.conf": "deploy/redis.conf", "users.acl": "deploy/users.acl", "sentinel.conf": "sentinel.conf"}


def shipped(name: str) -> Path:
    """A configuration file that is shipped to operators. A wheel has it beside this module, a checkout in its own place."""
    installed = Path(__file__).with_name("files") / name
    return installed if installed.exists() else Path(__file__).parents[3] / SOURCES[name]


def make_server(folder: Path, binary: str, number: int, relayed: Sequence[Address], passwords: Mapping[str, str]) -> Node:
    """A server with the shipped configuration. Number 0 begins as the primary."""
    data = folder / "data"
    data.mkdir(parents=True)
    users = shipped("users.acl").read_text(encoding="utf-8")
    for user in ("stateroom", "sentinel", "replica"):
        users = users.replace(f"user {user} on resetpass", f"user {user} on resetpass >{passwords[user]}")
    (folder / "users.acl").write_text(f"{users}user drill on >{passwords['drill']} ~* &* +@all\n", encoding="utf-8")
    options = {
        "dir": str(data),
        "aclfile": str(folder / "users.acl"),
        "masterauth": passwords["replica"],
        "bind-source-addr": f"127.0.1.{number + 1}",
        "replica-announce-ip": relayed[number].host,
        "replica-announce-port": str(relayed[number].port),
        **({"replicaof": f"{relayed[0].host} {relayed[0].port}"} if number else {}),
    }
    dialer = Dialer(2.0, 5.0, username="drill", password=passwords["drill"])
    return Node(folder, binary, options=options, dialer=dialer, shipped=shipped("redis.conf"))


def make_sentinel(folder: Path, binary: str, number: int, relayed: Sequence[Address], passwords: Mapping[str, str]) -> Node:
    """A Sentinel with the shipped configuration, except for `down-after-milliseconds`."""
    at = relayed[3 + number]
    folder.mkdir(parents=True)
    config = write_sentinel_config(folder, relayed[0])
    lines = [
        f"sentinel auth-pass {SERVICE_NAME} {passwords['sentinel']}",
        f"sentinel announce-ip {at.host}",
        f"sentinel announce-port {at.port}",
    ]
    options = {"bind-source-addr": f"127.0.2.{number + 1}"}
    return Node(folder, binary, is_sentinel=True, shipped=config, options=options, lines=lines)


def write_sentinel_config(folder: Path, primary: Address) -> Path:
    """Write the part of a Sentinel's file that is shipped. `primary`: what it shall monitor."""
    text = shipped("sentinel.conf").read_text(encoding="utf-8")
    text = text.replace(
        f"sentinel monitor {SERVICE_NAME} redis-0 6379", f"sentinel monitor {SERVICE_NAME} {primary.host} {primary.port}"
    )
    text = text.replace(
        f"sentinel down-after-milliseconds {SERVICE_NAME} 5000", f"sentinel down-after-milliseconds {SERVICE_NAME} {DOWN_AFTER_MS}"
    )
    config = folder / "shipped.conf"
    config.write_text(text, encoding="utf-8")
    return config


def make_environment(folder: Path, sentinels: Sequence[Address], passwords: Mapping[str, str], *, user: str) -> dict[str, str]:
    """The settings of the service's processes. `user`: their ACL user. A peer needs one that may use any key."""
    return {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOST": LOOPBACK,
        "REDIS_SENTINELS": ", ".join(map(str, sentinels)),
        "REDIS_MASTER_NAME": SERVICE_NAME,
        "REDIS_USERNAME": user,
        "REDIS_PASSWORD": passwords[user],
        "DATABASE_URL": f"sqlite:///{folder}/users.db",
        "COOKIE_KEYS": new_key(),
        "COOKIE_SECURE": "false",
        "SESSION_NAME": "session_id",
        "BCRYPT_ROUNDS": "10",
        "PASSWORD_BLOCKLIST": "off",
        "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
        "LOG_FORMAT": "json",
    }
