"""Large headers: accepted up to `HEADER_MAX_BYTES`, and beyond it refused with 431, which does not mean "signed out"."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..commands import Serving

LIMIT = 10_000
CHECK = "/api/auth/check"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("service"), HEADER_MAX_BYTES=LIMIT) as serving:
        yield serving


def get(path: str = CHECK, *headers: str) -> bytes:
    return "".join([f"GET {path} HTTP/1.1\r\nHost: a\r\n", *(f"{each}\r\n" for each in headers), "\r\n"]).encode()


def large(size: int) -> str:
    """A header whose value has so many bytes. aiohttp counts the bytes of the name only in the first header."""
    return "Cookie: a=" + "b" * (size - len("a="))


class Client:
    """One connection, on which responses are read one after another."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def send(self, *sent: bytes) -> None:
        self.sock.sendall(b"".join(sent))

    def answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        status = int(self._file.readline().split()[1])
        headers = dict(line.decode().rstrip("\r\n").lower().split(": ", 1) for line in iter(self._file.readline, b"\r\n"))
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    def is_closed(self) -> bool:
        return self._file.read() == b""


@pytest.fixture
def client(service: Serving) -> Iterator[Client]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock:
        yield Client(sock)


def assert_refused(client: Client, detail: str = f"longer than {LIMIT} bytes") -> None:
    status, headers, document = client.answer()
    assert (status, headers["content-type"], headers["connection"]) == (431, "application/problem+json", "close")
    assert document["type"] == "urn:stateroom:problem:request-header-fields-too-large"
    assert detail in str(document["detail"])
    assert "set-cookie" not in headers
    assert client.is_closed()


@pytest.mark.parametrize("part", ["header", "URL"])
def test_the_largest_is_accepted(client: Client, part: str) -> None:
    requests = {"header": get(CHECK, large(LIMIT - len("Cookie"))), "URL": get(f"{CHECK}?{'a' * (LIMIT - len(CHECK) - 1)}")}
    client.send(requests[part])
    assert client.answer()[0] == 200


def with_a_large(part: str, size: int) -> bytes:
    return {"value": get(CHECK, large(size)), "name": get(CHECK, "a" * size + ": b"), "URL": get("/" + "a" * size)}[part]


@pytest.mark.parametrize("size", [LIMIT + 1, 60_000], ids=["one byte more", "much"])
@pytest.mark.parametrize("part", ["value", "name", "URL"])
def test_a_larger_one_is_431(client: Client, part: str, size: int) -> None:
    client.send(with_a_large(part, size))
    assert_refused(client)


@pytest.mark.parametrize("part", ["value", "name", "URL"])
def test_one_that_is_still_being_sent_is_431_or_the_end_of_the_connection(service: Serving, part: str) -> None:
    """The service closes before it has read everything. Then the kernel may reset the connection before the client has read."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock, contextlib.suppress(ConnectionError):
        client = Client(sock)
        client.send(with_a_large(part, 600_000))
        assert_refused(client)
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock:
        client = Client(sock)
        client.send(get())
        assert client.answer()[0] == 200


@pytest.mark.parametrize("count", [128, 129, 5000])
def test_more_headers_than_128_are_431_too(client: Client, count: int) -> None:
    client.send(get(CHECK, *(f"X-{number}: a" for number in range(count - 1))))  # and `Host`
    if count > 128:
        assert_refused(client, "more than 128 headers")
    else:
        assert client.answer()[0] == 200


def test_the_request_before_it_on_the_connection_is_answered(client: Client) -> None:
    client.send(get())
    assert client.answer()[0] == 200
    client.send(get(CHECK, large(LIMIT + 1)))
    assert_refused(client)


def test_in_a_pipeline_nothing_after_it_is_answered(client: Client) -> None:
    client.send(get(CHECK, large(LIMIT + 1)), get())
    assert_refused(client)


def test_a_large_header_that_comes_in_pieces_is_refused_too(client: Client) -> None:
    sent = get(CHECK, large(LIMIT + 5000))
    for begin in range(0, LIMIT + 1, 1000):  # the last piece is too much
        client.send(sent[begin : begin + 1000])
    assert_refused(client)


def test_the_default_has_room_for_twice_the_cookies_of_other_servers(tmp_path: Path) -> None:
    with Serving(tmp_path) as service, socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock:
        client = Client(sock)
        client.send(get(CHECK, large(16_384 - len("Cookie"))))
        assert client.answer()[0] == 200
