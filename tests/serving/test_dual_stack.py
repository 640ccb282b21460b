"""A listener for both families (HOST=::) treats an IPv4 client as a listener for IPv4 does."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..commands import TIMEOUT_SECONDS, Serving

REQUEST_ID = "from-the-proxy-1"
CLIENT = "203.0.113.77"


ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


@pytest.fixture
def dual(tmp_path: Path) -> Iterator[Serving]:
    """The service on `::`, behind a proxy on this machine that its settings name as a mapped network."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    settings = {"HOST": "::", "TRUSTED_PROXIES": "::ffff:127.0.0.0/104", "COOKIE_SECURE": "false", "METRICS_PORT": "0"}
    with Serving(tmp_path, **settings) as service:
        yield service


def answer(host: str, port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def test_an_ipv4_client_is_the_one_that_it_is(dual: Serving) -> None:
    for host in ("127.0.0.1", "::1"):
        assert answer(host, dual.port, "/metrics").status == 404, "others reach this listener: metrics have their own"
    # A proxy on this machine is trusted under IPv4 only; what it forwards is no loopback client's request.
    assert answer("127.0.0.1", dual.port, "/livez", X_Request_ID=REQUEST_ID).getheader("X-Request-ID") == REQUEST_ID
    assert answer("::1", dual.port, "/livez", X_Request_ID=REQUEST_ID).getheader("X-Request-ID") != REQUEST_ID


def test_a_session_has_the_client_that_the_proxy_names_or_the_ipv4_peer(dual: Serving) -> None:
    _, _, cookie = dual.call("POST", "/api/auth/register", ADA)
    _, listed, _ = dual.call("GET", "/api/sessions", cookie=cookie)
    assert [each["ip_address"] for each in listed["sessions"]] == ["127.0.0.1"]
    connection = http.client.HTTPConnection("127.0.0.1", dual.port, timeout=TIMEOUT_SECONDS)
    body = json.dumps({"email": ADA["email"], "password": ADA["password"]})
    connection.request("POST", "/api/auth/login", body, {"Content-Type": "application/json", "X-Forwarded-For": f"::ffff:{CLIENT}"})
    assert connection.getresponse().status == 200
    connection.close()
    _, listed, _ = dual.call("GET", "/api/sessions", cookie=cookie)
    assert {each["ip_address"] for each in listed["sessions"]} == {"127.0.0.1", CLIENT}
