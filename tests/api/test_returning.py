"""Which addresses a sign-in may redirect to."""

from __future__ import annotations

import pytest

from stateroom import Settings
from stateroom.api.safe_redirect import safe_return

OWN = "https://login.example.com"


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None, return_hosts="app.example.com, *.apps.example.com, local.example.com:8443, [::1]:9000")


@pytest.mark.parametrize(
    "value",
    [
        "/", "/account", "/a?b=c#d", "/a//b", "/%2f%2fevil.example", f"{OWN}/account", "https://app.example.com/",
        "https://app.example.com", "https://APP.example.com/x", "http://app.example.com:8080/x?y=https://evil.example",
        "https://one.apps.example.com/", "https://a.b.apps.example.com/", "https://local.example.com:8443/", "http://[::1]:9000/x",
    ],
)  # fmt: skip
def test_our_own_pages_and_named_hosts_are_good(settings: Settings, value: str) -> None:
    assert safe_return(settings, value, own_origin=OWN) == value


@pytest.mark.parametrize(
    "value",
    [
        "", " /x", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "/\t/evil.example", "/\n/evil.example",
        "https:evil.example", "https:/evil.example", "https:///evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)",
        "data:text/html,x", "https://evil.example/", "https://app.example.com.evil.example/", "https://evil.example/app.example.com",
        "https://app.example.com@evil.example/", "https://user:pw@app.example.com/", "https://evil.example\\@app.example.com/",
        "https://evil.example#@app.example.com/", "https://app.example.com:99999/", "https://app.example.com:x/",
        "https://apps.example.com/", "https://.apps.example.com/", "https://xapps.example.com/", "https://local.example.com/",
        "https://local.example.com:8444/", "https://app.exampl\u0435.com/", "https://app.example.com\u2025evil", "http://[::1/x",
        "https://[::1]/x", "ftp://app.example.com/", f"{OWN}.evil.example/", f"{OWN}@evil.example/", "x" * 3000, "/" + "x" * 3000,
        "account", "./account", "?rd=x", "https://app.example.com%2eevil.example/", "https://app_example.com/",
    ],
)  # fmt: skip
def test_anything_else_is_no_redirect(settings: Settings, value: str) -> None:
    assert safe_return(settings, value, own_origin=OWN) is None


def test_without_hosts_only_our_own_pages_are_good() -> None:
    settings = Settings(_env_file=None)
    assert safe_return(settings, "/account") == "/account"
    assert safe_return(settings, "https://app.example.com/") is None


def test_public_origins_are_our_own() -> None:
    settings = Settings(_env_file=None, public_origins="https://sign-in.example.com")
    assert safe_return(settings, "https://sign-in.example.com/x") == "https://sign-in.example.com/x"
    assert safe_return(settings, "https://sign-in.example.com:444/x") is None


def test_a_default_port_is_no_difference() -> None:
    settings = Settings(_env_file=None, public_origins="https://sign-in.example.com", return_hosts="app.example.com:443")
    for value in ("https://sign-in.example.com:443/x", "https://app.example.com/x", "https://app.example.com:443/x"):
        assert safe_return(settings, value) == value
    assert safe_return(settings, "https://own.example.com:443/x", own_origin="https://own.example.com") is not None
    for value in ("http://sign-in.example.com:443/x", "http://app.example.com/x", "https://app.example.com:80/x"):
        assert safe_return(settings, value) is None
