"""Worker processes with copies of sessions: if one acknowledges an end, all refuse the session."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path

from ..commands import Serving

CONNECTIONS = 12
ROUNDS = 40
TRIALS = 10


def is_known(connection: http.client.HTTPConnection, cookie: str) -> bool:
    connection.request("GET", "/api/auth/check", headers={"Cookie": cookie})
    return bool(json.loads(connection.getresponse().read())["authenticated"])


def test_a_logout_holds_at_every_worker_once_it_is_answered(tmp_path: Path) -> None:
    with (
        Serving(tmp_path, "--workers", "2", session_cache_max_age=30, redis_read_timeout=5) as service,
        contextlib.ExitStack() as stack,
    ):
        connections = [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)))
            for _ in range(CONNECTIONS)  # The kernel distributes the connections.
        ]
        for _ in range(TRIALS):
            cookie = service.sign_in()
            for _ in range(ROUNDS):
                assert all(is_known(connection, cookie) for connection in connections)
            assert service.call("POST", "/api/auth/logout", cookie=cookie)[0] == 200
            assert not any(is_known(connection, cookie) for connection in connections)
        assert service.metric("stateroom_workers") == 2
        assert (service.metric("stateroom_session_cache_hits_total") or 0) > 1000
