"""Files that settings name are read again without a restart, and without a signal."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from stateroom.backend.dial import Dialer, Tls
from stateroom.drills.node import Node
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command, Serving
from ..conftest import require_tool
from .test_workers import until

NAME = "redis.example.com"


def events(service: Serving, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in service.output.splitlines() if f'"{name}"' in line]


def test_a_secret_that_kubernetes_swaps_is_read_without_a_signal(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()

    def mount(version: str, key: str) -> None:
        """As the kubelet does: a new folder, and a symbolic link that is renamed to it."""
        (volume / version).mkdir()
        (volume / version / "keys").write_text(key)
        (volume / "..data_tmp").symlink_to(version)
        os.rename(volume / "..data_tmp", volume / "..data")

    old, new = new_key(), new_key()
    mount("..1", old)
    (volume / "keys").symlink_to("..data/keys")
    with Serving(tmp_path, COOKIE_KEYS_FILE=volume / "keys") as service:
        cookie = service.sign_in()
        mount("..2", f"{new},{old}")
        service.wait_for("settings_files_read")
        assert service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"]
        mount("..3", new)
        until(lambda: len(events(service, "settings_files_read")) == 2, "the second change is read")
        assert not service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"]


def test_a_wrong_file_keeps_the_old_value_and_is_reported_once(tmp_path: Path) -> None:
    keys, token = tmp_path / "keys", tmp_path / "token"
    keys.write_text(new_key())
    token.write_text("first")
    with Serving(tmp_path, COOKIE_KEYS_FILE=keys, METRICS_TOKEN_FILE=token) as service:
        cookie = service.sign_in()
        keys.write_text("no-key-at-all")
        service.wait_for("settings_files_kept")
        assert service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"]
        keys.write_text(new_key())  # Looks take turns: when this one is read, the wrong one was looked at before.
        service.wait_for("settings_files_read")
        [kept] = events(service, "settings_files_kept")
        assert kept["settings"] == ["COOKIE_KEYS"]
        assert "no-key-at-all" not in service.output


def test_a_token_for_metrics_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with Serving(tmp_path, METRICS_TOKEN_FILE=file) as service:

        def may_read(token: str) -> bool:
            headers = {"X-Forwarded-For": "192.0.2.1", "Authorization": f"Bearer {token}"}
            return service.call("GET", "/metrics", headers=headers)[0] == 200

        assert (may_read("first"), may_read("second")) == (True, False)
        file.write_text("second")
        service.wait_for("settings_files_read")
        assert (may_read("first"), may_read("second")) == (False, True)


def write_tls(folder: Path, authority: trustme.CA) -> dict[str, Path]:
    issued = authority.issue_cert(NAME)
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    files["cert"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(files["key"]))
    return files


async def test_an_authority_and_a_password_that_were_replaced_are_used_at_the_next_connect(tmp_path: Path) -> None:
    files = write_tls(tmp_path, trustme.CA())
    password = tmp_path / "password"
    password.write_text("before")
    node = Node(tmp_path / "node", binary=require_tool("redis-server"), tls_files=files, options={"requirepass": "before"})
    node.dialer = Dialer(2, 5, password="before", tls=Tls.of("REDIS_TLS", files["ca"], None, None, NAME))
    await node.start()
    tls = {"REDIS_URL": f"rediss://{node.address}", "REDIS_TLS_CA": files["ca"], "REDIS_TLS_SERVER_NAME": NAME}
    with Serving(tmp_path, **tls, REDIS_PASSWORD_FILE=password, COOKIE_KEYS=new_key()) as service:
        try:

            async def is_connected(expected: bool) -> None:
                await asyncio.to_thread(
                    until, lambda: (service.call("GET", "/api/health")[0] == 200) is expected, f"connected: {expected}"
                )

            await is_connected(True)
            await node.stop()
            await is_connected(False)
            write_tls(tmp_path, trustme.CA())
            (tmp_path / "node" / "server.conf").unlink()
            node.options = {"requirepass": "after"}
            node.dialer = Dialer(2, 5, password="after", tls=Tls.of("REDIS_TLS", files["ca"], None, None, NAME))
            password.write_text("after")
            await node.start()
            await is_connected(True)
            assert "before" not in service.output
        finally:
            await node.stop()


@pytest.mark.parametrize("prefix", ["REDIS_TLS", "REDIS_SENTINEL_TLS"])
def test_a_key_with_a_pass_phrase_stops_startup_instead_of_asking_for_it(tmp_path: Path, command: Command, prefix: str) -> None:
    files = write_tls(tmp_path, trustme.CA())
    key = load_pem_private_key(files["key"].read_bytes(), None)
    files["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"nobody types this")))
    ended = command(
        "serve", COOKIE_KEYS=new_key(), REDIS_SENTINELS="127.0.0.1:1", DATABASE_URL=f"sqlite:///{tmp_path}/users.db",
        **{prefix: "true", f"{prefix}_CERT": files["cert"], f"{prefix}_KEY": files["key"]},
    )  # fmt: skip
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"stateroom: {prefix}_KEY: the key has a pass phrase")
