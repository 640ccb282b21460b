"""Malformed HTTP is refused with a problem document that does not repeat it, because it may contain a cookie."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..commands import Serving

SECRET = "c2VjcmV0"
LONG = 2100


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("service")) as serving:
        yield serving


def exchange(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(sent)
        received = b"".join(iter(lambda: sock.recv(4096), b""))  # The service closes the connection.
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


LONG_LINE = ("431", "request-header-fields-too-large", "longer than 16384 bytes")
NO_HTTP = ("400", "bad-request", "not valid HTTP")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        pytest.param(f"GET / HTTP/1.1\r\nHost: a\r\nCookie: s={SECRET}\x01\r\n\r\n", NO_HTTP, id="header"),
        pytest.param(f"GET / HTTP/1.1\r\nHost: a\r\nCookie: {SECRET * LONG}\r\n\r\n", LONG_LINE, id="long header"),
        pytest.param(f"GET /{SECRET * LONG} HTTP/1.1\r\nHost: a\r\n\r\n", LONG_LINE, id="long address"),
        pytest.param(f"\x16\x03\x01{SECRET}\r\n\r\n", NO_HTTP, id="TLS"),
        pytest.param(
            f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}",
            NO_HTTP,
            id="two lengths",
        ),
        pytest.param(f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n", NO_HTTP, id="chunk"),
    ],
)
def test_it_is_told_so_and_nothing_of_it_is_repeated(service: Serving, sent: str, told: tuple[str, str, str]) -> None:
    code, kind, words = told
    counted = f'http_requests_total{{code="{code}",method="OTHER",route="unmatched"}}'
    before = service.metric(counted) or 0
    status, headers, body = exchange(service.port, sent.encode("latin-1"))
    assert (status, headers["content-type"], headers["server"]) == (int(code), "application/problem+json", "stateroom")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    document = json.loads(body)
    assert document["type"] == f"urn:stateroom:problem:{kind}"
    assert document["request_id"] == headers["x-request-id"]
    assert words in document["detail"]
    assert SECRET not in body.decode()
    [line] = [line for line in service.output.splitlines() if document["request_id"] in line]
    assert SECRET not in service.output
    assert "Traceback" not in service.output
    assert "request_malformed" in line
    assert service.metric(counted) == before + 1


def post(body: str, *headers: str, path: str = "/api/auth/login", kind: str = "application/json") -> str:
    lines = "".join(f"{each}\r\n" for each in headers)
    length = "" if "chunked" in lines else f"Content-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n{lines}{length}\r\n{body}"


FORM = "application/x-www-form-urlencoded"
CODINGS = ("gzip", "deflate", "br", "zstd", "unknown")
ODD = {
    **{
        f"{coding} of {path}": post(SECRET * 9, f"Content-Encoding: {coding}", path=path)
        for coding in CODINGS
        for path in ("/api/auth/login", "/nothing")
    },
    "JSON": post("{" + SECRET),
    "not UTF-8": post('{"email": "\xff"}'),
    "deep JSON": post("[" * 60_000),
    "charset": post("{}", kind="application/json; charset=nonsense"),
    "content type": post("{}", kind="\xff/;;;="),
    "form": post(SECRET + "=%ff&&=;", path="/login", kind=f"{FORM}; charset=nonsense"),
    "multipart": post(f"--x\r\n{SECRET}", path="/login", kind="multipart/form-data; boundary=x"),
    "multipart without boundary": post(f"--x\r\n{SECRET}", path="/login", kind="multipart/form-data"),
    "late chunk": post(f"3\r\nabc\r\n{SECRET}\r\n", "Transfer-Encoding: chunked"),
    "late chunk of nothing": post(f"3\r\nabc\r\n{SECRET}\r\n", "Transfer-Encoding: chunked", path="/nothing"),
    "trailer": post(f"0\r\n{SECRET}\r\n\r\n", "Transfer-Encoding: chunked"),
    "coding of the transfer": post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked"),
    "expectation": post("{}", "Expect: nonsense"),
    "many headers": "GET / HTTP/1.1\r\nHost: a\r\n" + "X-A: b\r\n" * 20_000 + "\r\n",
    "much in headers": "GET / HTTP/1.1\r\nHost: a\r\n" + f"X-A: {'a' * 8000}\r\n" * 200 + "\r\n",
    "host": "GET /auth/forward HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n",
    "origin": post("", "Origin: http://[", path="/api/auth/logout"),
}


@pytest.mark.parametrize("kind", ODD)
def test_no_request_of_a_stranger_logs_a_traceback_or_more_than_its_line(service: Serving, kind: str) -> None:
    before = service.output
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock:
        try:
            sock.sendall(ODD[kind].encode("latin-1"))
            received = b"".join(iter(lambda: sock.recv(4096), b""))
        except ConnectionError:  # It answers and closes before it has read all.
            received = b""
    assert not received or 400 <= int(received.split()[1]) < 500, received
    assert service.call("GET", "/livez")[0] == 200  # Its line comes after all lines of the request.
    told = [line for line in service.output[len(before) :].splitlines() if '"/livez"' not in line]
    assert len(told) <= 1, told
    assert not told or (json.loads(told[0])["event"] in {"request", "request_malformed"} and len(told[0]) < 300)
    assert SECRET not in service.output


@pytest.mark.parametrize(("kept", "address"), [("full", "127.0.0.1"), ("truncated", "127.0.0.0"), ("off", "")])
def test_the_log_keeps_of_the_address_what_sessions_may_keep(tmp_path: Path, kept: str, address: str) -> None:
    with Serving(tmp_path, SESSION_ADDRESS=kept) as serving:
        _, headers, _ = exchange(serving.port, b"no HTTP\r\n\r\n")
        serving.wait_for(headers["x-request-id"])
        lines = [json.loads(line) for line in serving.output.splitlines() if headers["x-request-id"] in line]
    assert [(line["event"], line["address"]) for line in lines] == [("request_malformed", address)]
