"""A request's address and origin come from a proxy's headers only if the proxy is trusted."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from stateroom.request.client_info import device_type
from stateroom.request.proxies import Proxies
from stateroom.settings import Settings

from ..logs import capture_events


class Transport:
    """A transport of a connection from this address."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 1234) if name == "peername" else default


def request(peer: str, *headers: tuple[str, str]) -> Any:
    return make_mocked_request("GET", "/", headers=CIMultiDict([("Host", "app.local"), *headers]), transport=Transport(peer))


def proxies(trusted: str = "10.0.0.0/8, ::1/128", **values: Any) -> Proxies:
    return Proxies(Settings(_env_file=None, trusted_proxies=trusted, **values))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["1.1.1.1"], "203.0.113.7"),  # This is no trusted proxy, so its headers are ignored.
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["9.9.9.9, 1.1.1.1"], "1.1.1.1"),  # The client may have written the values further left.
        ("10.0.0.1", ["9.9.9.9, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        ("10.0.0.1", ["1.1.1.1", "2.2.2.2"], "2.2.2.2"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("::1", ["[2001:db8::1]"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5:4711, 10.0.0.2:80"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5:x"], "10.0.0.1"),
        ("::1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy(peer: str, forwarded: list[str], address: str) -> None:
    asked = request(peer, *(("X-Forwarded-For", value) for value in forwarded))
    assert proxies().address(asked) == address


@pytest.mark.parametrize(
    ("forwarded", "told"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("nonsense, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.3", "10.0.0.3"),  # A client beside the proxy.
        ("::ffff:1.1.1.1", "1.1.1.1"),
        (None, None),
        ("", None),
        ("unknown", None),
        ("unix:", None),
        ("1.1.1.1,", None),
        ("1.1.1.1, nonsense, 10.0.0.2", None),
        ("nonsense, " + "10.0.0.2, " * 20 + "10.0.0.2", None),  # Too long to be remembered.
    ],
)
def test_a_proxy_is_not_taken_for_the_client_that_it_does_not_name(forwarded: str | None, told: str | None) -> None:
    headers = [] if forwarded is None else [("X-Forwarded-For", forwarded)]
    assert proxies().told_address(request("10.0.0.1", *headers)) == told


@pytest.mark.parametrize(
    ("keep", "address", "kept"),
    [
        ("full", "203.0.113.77", "203.0.113.77"),
        ("truncated", "203.0.113.77", "203.0.113.0"),
        ("truncated", "2001:db8:1:2:3::4", "2001:db8:1::"),
        ("off", "203.0.113.77", ""),
    ],
)
def test_no_more_of_an_address_is_kept_than_settings_allow(keep: str, address: str, kept: str) -> None:
    assert proxies(session_address=keep).kept_address(request(address)) == kept


def test_the_origin_is_what_the_client_used() -> None:
    forwarded = (("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "App.Example.com"))
    assert proxies().origin(request("10.0.0.1", *forwarded)) == "https://app.example.com"
    assert proxies().origin(request("203.0.113.7", *forwarded)) == "http://app.local"


@pytest.mark.parametrize(
    ("proto", "host", "origin"),
    [
        ("http", "app.example.com", "https://app.example.com"),
        ("http", "APP.example.com:80", "https://app.example.com"),
        ("http", "app.example.com:443", "https://app.example.com"),
        ("https", "app.example.com", "https://app.example.com"),
        ("https", "app.example.com:9000", "https://app.example.com:9000"),  # another port is another origin
        ("http", "app.example.com:9000", "http://app.example.com:9000"),
        ("http", "sso.example.com", "https://sso.example.com:8443"),
        ("http", "sso.example.com:8443", "https://sso.example.com:8443"),
        ("http", "plain.example.com", "http://plain.example.com"),
        ("https", "plain.example.com", "https://plain.example.com"),
        ("http", "[2001:db8::1]", "https://[2001:db8::1]:8443"),
        ("http", "wiki.example.com", "http://wiki.example.com"),
        ("http", "app.example.com.evil.example", "http://app.example.com.evil.example"),
        ("http", "app.example.com.", "http://app.example.com."),
        ("http", "x_y.example.com", "http://x_y.example.com"),
    ],
)
def test_the_public_url_wins_for_its_host(proto: str, host: str, origin: str) -> None:
    ours = proxies(
        public_url="https://app.example.com/sso",
        public_origins="https://sso.example.com:8443, http://plain.example.com, https://plain.example.com, https://[2001:db8::1]:8443",
    )
    assert ours.origin(request("10.0.0.1", ("X-Forwarded-Proto", proto), ("X-Forwarded-Host", host))) == origin


def test_the_public_url_wins_for_a_client_too_that_comes_directly() -> None:
    """Its `Host` is the name that the operator has set, so it leads nowhere else."""
    direct = make_mocked_request("GET", "/", headers={"Host": "app.local"}, transport=Transport("203.0.113.7"))
    assert Proxies(Settings(_env_file=None, public_url="https://app.local")).origin(direct) == "https://app.local"


@pytest.mark.parametrize(
    ("values", "origin"), [({}, ""), ({"public_url": "https://app.example.com/sso"}, "https://app.example.com")]
)
def test_a_request_without_a_host_does_not_name_this_machine(values: dict[str, Any], origin: str) -> None:
    bare = make_mocked_request("GET", "/", headers={}, transport=Transport("203.0.113.7"))
    assert "Host" not in bare.headers
    assert Proxies(Settings(_env_file=None, **values)).origin(bare) == origin


@pytest.mark.parametrize(
    ("values", "is_https"),
    [
        ({"public_url": "https://app.local"}, True),
        ({"public_origins": "https://app.local"}, True),
        ({"public_url": "http://app.local"}, False),
        ({"public_url": "https://other.local"}, False),
        ({}, False),
    ],
)
def test_the_settings_say_whether_a_host_is_reached_with_https(values: dict[str, Any], *, is_https: bool) -> None:
    assert proxies(**values).is_https_by_settings(request("203.0.113.7")) is is_https


def test_forwarding_headers_of_strangers_are_logged_once() -> None:
    ours = proxies()
    with capture_events() as logs:
        for _ in range(3):
            ours.address(request("203.0.113.7", ("X-Forwarded-For", "1.1.1.1")))
    assert [each["event"] for each in logs] == ["forwarding_headers_ignored"]
    assert "TRUSTED_PROXIES" in logs[0]["fix"]


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", "mobile"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1", "tablet"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "desktop"),
        ("Googlebot/2.1 (+http://www.google.com/bot.html)", "bot"),
        ("curl/8.0", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_kind_of_device_is_told_by_its_user_agent(agent: str, kind: str) -> None:
    assert device_type(agent) == kind


def test_a_long_list_of_hops_is_read_as_a_short_one_is() -> None:
    """Short lists are remembered, long ones are not, because clients choose them."""
    proxies = Proxies(Settings(_env_file=None, trusted_proxies="10.0.0.0/8"))
    for length in (1, 1000):
        hops = ", ".join(["192.0.2.9"] * length)
        for client in ("198.51.100.1", "198.51.100.2"):
            assert proxies.address(request("10.0.0.1", ("X-Forwarded-For", f"{hops}, {client}, 10.0.0.2"))) == client
            assert proxies.address(request("192.0.2.1", ("X-Forwarded-For", f"{hops}, {client}"))) == "192.0.2.1"
    assert proxies._client.cache_info().currsize <= 3
