"""The authority and the client certificate are renewed on disk, and the server restarts: the service needs no restart."""

from __future__ import annotations

from pathlib import Path

import trustme
from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS
from stateroom.app import make_app
from stateroom.backend.dial import Dialer, Tls
from stateroom.drills.node import Node, until
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

from ...conftest import require_tool
from ...patience import settled
from .parts import TLS_NAME, issue
from .verdicts import doctor


async def test_a_renewed_authority_and_client_certificate_are_used_without_a_restart(tmp_path: Path) -> None:
    files = issue(tmp_path / "tls", trustme.CA())
    node = Node(tmp_path / "node", require_tool("redis-server"), tls_files=files, lines=["tls-auth-clients yes"])

    def as_on_disk() -> Dialer:
        return Dialer(2, 5, tls=Tls.of("REDIS_TLS", files["ca"], files["cert"], files["key"], TLS_NAME))

    node.dialer = as_on_disk()
    await node.start()
    settings = Settings(
        _env_file=None, cookie_keys=new_key(), state_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/users.db",
        bcrypt_rounds=4, password_blocklist="off", redis_host=node.host, redis_port=node.port, redis_tls=True,
        redis_tls_ca=files["ca"], redis_tls_cert=files["cert"], redis_tls_key=files["key"], redis_tls_server_name=TLS_NAME,
        redis_dial_timeout=5, redis_read_timeout=5,
    )  # fmt: skip
    app = make_app(settings)
    client = TestClient(TestServer(app))
    try:
        await client.start_server()
        await settled(app)
        await node.stop()

        async def is_away() -> bool:
            return app[SESSIONS].store_state() == "away"

        await until(is_away, "the service has lost its connection")
        issue(tmp_path / "tls", trustme.CA())
        node.dialer = as_on_disk()
        await node.start()
        await settled(app)
        assert (await doctor(settings)).is_good
    finally:
        await client.close()
        await node.stop()
