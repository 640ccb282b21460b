"""Which addresses a sign-in may redirect to."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from stateroom import Settings
from stateroom.api.safe_redirect import MAX_LENGTH, safe_return

OWN = "https://login.example.com"
RETURN_HOSTS = (
    "app.example.com, *.apps.example.com, local.example.com:8443, [::1]:9000, *.ports.example.com:8443, .dot.example.com:444, "
    "a_b.example.com, [2001:DB8:0::1], 127.0.0.1:9001"
)


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None, return_hosts=RETURN_HOSTS)


@pytest.mark.parametrize(
    "value",
    [
        "/", "/account", "/a?b=c#d", "/a//b", "/%2f%2fevil.example", f"{OWN}/account", "https://app.example.com/",
        "https://app.example.com", "https://APP.example.com/x", "http://app.example.com:8080/x?y=https://evil.example",
        "https://one.apps.example.com/", "https://a.b.apps.example.com/", "https://local.example.com:8443/", "http://[::1]:9000/x",
        "https://a_b.example.com/x_y", "https://a_b.apps.example.com/", "https://x.ports.example.com:8443/", "http://[2001:db8::1]/",
        "http://[2001:db8:0:0::1]:80/", "https://x.dot.example.com:444/", "http://127.0.0.1:9001/", "https://app.example.com?x",
        "https://app.example.com#top", "https://app.example.com:/", "/reports/2026?a=1,2&b=%5C#/row/7?x", "HTTPS://app.example.com/",
    ],
)  # fmt: skip
def test_our_own_pages_and_named_hosts_are_good(settings: Settings, value: str) -> None:
    assert safe_return(settings, value, own_origin=OWN) == value


@pytest.mark.parametrize(
    "value",
    [
        "", " /x", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/a\\..\\..\\\\evil.example",
        "/\t/evil.example", "/\n/evil.example", "/x\x00", "/x\x7f", "/x?a\r\nb", "https://app.example.com\\", "/\ud800",
        "https:evil.example", "https:/evil.example", "https:///evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)",
        "data:text/html,x", "https://evil.example/", "https://app.example.com.evil.example/", "https://evil.example/app.example.com",
        "https://app.example.com@evil.example/", "https://user:pw@app.example.com/", "https://evil.example\\@app.example.com/",
        "https://evil.example#@app.example.com/", "https://app.example.com:99999/", "https://app.example.com:x/",
        "https://apps.example.com/", "https://.apps.example.com/", "https://xapps.example.com/", "https://local.example.com/",
        "https://local.example.com:8444/", "https://app.exampl\u0435.com/", "https://app.example.com\u2025evil", "http://[::1/x",
        "https://[::1]/x", "ftp://app.example.com/", f"{OWN}.evil.example/", f"{OWN}@evil.example/", "x" * 3000, "https://app.example.com./",
        "account", "./account", "?rd=x", "https://app.example.com%2eevil.example/", "https://app_example.com/",
        "https://x.ports.example.com/", "https://ports.example.com:8443/", "https://dot.example.com:444/", "https://a_b.example.com.evil/",
        "https://app.example.com:\u0664\u0664\u0663/", "https://127.1:9001/", "https://0x7f000001:9001/", "https://[::1%25eth0]:9000/",
        "https://app.example.com/a\\b", "/a\\b?c", "https://app.example.com\u3002evil.example/", "https://\uff41pp.example.com/",
    ],
)  # fmt: skip
def test_anything_else_is_no_redirect(settings: Settings, value: str) -> None:
    assert safe_return(settings, value, own_origin=OWN) is None


@pytest.mark.parametrize("start", ["", "https://app.example.com"])
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (r"/find?q=a\b", "/find?q=a%5Cb"),
        (r"/find?path=C:\x#row\7", "/find?path=C:%5Cx#row%5C7"),
        ("/caf\u00e9/\u6771\u4eac?q=\u00fc#\u00df", "/caf%C3%A9/%E6%9D%B1%E4%BA%AC?q=%C3%BC#%C3%9F"),
        ("/two words?a b#c d", "/two%20words?a%20b#c%20d"),
        ("/caf%C3%A9?100%", "/caf%C3%A9?100%"),
        ("/a\u2028b\u3000c\u0085", "/a%E2%80%A8b%E3%80%80c%C2%85"),
        ("/%5Cevil.example", "/%5Cevil.example"),
    ],
)
def test_what_does_not_belong_into_an_address_is_encoded(settings: Settings, start: str, asked: str, kept: str) -> None:
    assert safe_return(settings, start + asked) == start + kept
    assert safe_return(settings, start + kept) == start + kept


def test_a_long_address_is_kept_and_one_that_no_proxy_takes_leads_to_the_root_of_its_host(settings: Settings) -> None:
    for start in ("/", "https://app.example.com/"):
        long = f"{start}{'x' * (MAX_LENGTH - len(quote(start, safe='')))}"
        assert safe_return(settings, long) == long
        assert safe_return(settings, f"{long}#row") == long  # better without the fragment than not at all
        assert safe_return(settings, f"{long}x") == start
        assert safe_return(settings, f"{start}?{'/' * (MAX_LENGTH // 2)}") == start  # in a query each slash takes three bytes
    assert safe_return(settings, f"https://evil.example/{'x' * MAX_LENGTH}") is None


def test_the_sign_in_with_the_longest_address_is_a_request_that_proxies_accept(settings: Settings) -> None:
    longest = safe_return(settings, f"https://app.example.com/{'x' * 7_900}")
    assert longest is not None
    line = f"GET /.stateroom/login?signed-out=logout&rd={quote(longest, safe='')} HTTP/1.1\r\n"
    assert 7_900 < len(line) < 8_190  # Apache's LimitRequestLine; nginx has 8,192 (large_client_header_buffers)


def test_without_hosts_only_our_own_pages_are_good() -> None:
    settings = Settings(_env_file=None)
    assert safe_return(settings, "/account") == "/account"
    assert safe_return(settings, "https://app.example.com/") is None


def test_public_origins_and_the_public_url_are_our_own() -> None:
    settings = Settings(_env_file=None, public_origins="https://sign-in.example.com", public_url="https://example.com/sso")
    assert safe_return(settings, "https://sign-in.example.com/x") == "https://sign-in.example.com/x"
    assert safe_return(settings, "https://example.com/x") == "https://example.com/x"
    assert safe_return(settings, "https://sign-in.example.com:444/x") is None
    assert safe_return(settings, "http://example.com/x") is None


def test_a_default_port_is_no_difference() -> None:
    settings = Settings(_env_file=None, public_origins="https://sign-in.example.com", return_hosts="app.example.com:443")
    for value in ("https://sign-in.example.com:443/x", "https://app.example.com/x", "https://app.example.com:443/x"):
        assert safe_return(settings, value) == value
    assert safe_return(settings, "https://own.example.com:443/x", own_origin="https://own.example.com") is not None
    for value in ("http://sign-in.example.com:443/x", "http://app.example.com/x", "https://app.example.com:80/x"):
        assert safe_return(settings, value) is None
