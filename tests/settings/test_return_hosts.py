"""Which entries `RETURN_HOSTS` takes, and which hosts they name."""

from __future__ import annotations

import pytest

from stateroom.errors import SettingsError
from stateroom.settings import Settings
from stateroom.settings.return_hosts import is_within, matches


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("App.Example.COM", "app.example.com"),
        ("*.x.example:8443", "*.x.example:8443"),
        (".x.example:8443", "*.x.example:8443"),
        (".example.com", "*.example.com"),
        ("a_b.example.com", "a_b.example.com"),
        ("*.a_b.example.com", "*.a_b.example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("app.example.com:0443", "app.example.com:443"),
        ("[2001:DB8:0:0::1]:9000", "[2001:db8::1]:9000"),
        ("[::1]", "[::1]"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("localhost", "localhost"),
        ("3com.example", "3com.example"),
    ],
)
def test_an_entry_is_kept_in_one_form(written: str, kept: str) -> None:
    assert Settings(_env_file=None, return_hosts=written).return_hosts == (kept,)


@pytest.mark.parametrize(
    ("entry", "fix"),
    [
        ("*x", "write for example *.example.com"),
        ("*", "write for example *.example.com"),
        ("app.*.example.com", "write for example *.example.com"),
        ("*.*.example.com", "write for example *.example.com"),
        ("app.example.com.", "remove the dot"),
        ("b\u00fccher.example", "write for example xn--bcher-kva.example"),
        ("*.b\u00fccher.example:8443", "write for example xn--bcher-kva.example"),
        ("\u00fc.\u0300", "in ASCII"),
        ("::1", "brackets; write for example [::1]"),
        ("[::1", "write for example [::1]"),
        ("[fe80::1%eth0]", "write for example [::1]"),
        ("[::1]x", "write for example [::1]"),
        ("app.example.com:", "write for example app.example.com:8443"),
        ("app.example.com:0", "write for example app.example.com:8443"),
        ("app.example.com:65536", "write for example app.example.com:8443"),
        ("app.example.com:80:80", "write for example app.example.com:8443"),
        ("*:8443", "write for example *.example.com"),
        ("127.1", "for example 127.0.0.1"),
        ("0x7f.1", "for example 127.0.0.1"),
        ("*.0.0.1", "for example 127.0.0.1"),
        ("a..b.example", "write for example app.example.com"),
        ("-a.example", "write for example app.example.com"),
        (".", "write for example"),
        ("..", "remove the dot"),
        ("app.example.com/path", "write for example app.example.com"),
        ("https://app.example.com", "write for example app.example.com"),
        ("app.example.com?x", "write for example app.example.com"),
        ("user:hunter2@app.example.com", "write for example app.example.com"),
    ],
)
def test_an_entry_that_would_name_nothing_is_refused_with_its_fix(entry: str, fix: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(_env_file=None, return_hosts=f"good.example.com, {entry}")
    line = str(caught.value)
    assert line.startswith("RETURN_HOSTS: ")
    assert fix in line
    assert "\n" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("entry", "named", "other"),
    [
        (
            "app.example.com",
            [("app.example.com", 443), ("app.example.com", 8443)],
            [("example.com", 443), ("x.app.example.com", 443)],
        ),
        ("app.example.com:8443", [("app.example.com", 8443)], [("app.example.com", 443)]),
        ("*.x.example:8443", [("a.x.example", 8443), ("b.a_.x.example", 8443)], [("a.x.example", 443), ("x.example", 8443)]),
        (
            "*.x.example",
            [("a.x.example", 1)],
            [("x.example", 443), (".x.example", 443), ("ax.example", 443), ("a.x.example.", 443)],
        ),
        ("[::1]:9000", [("[::1]", 9000)], [("[::1]", 443), ("[::2]", 9000)]),
        ("[::1]", [("[::1]", 9000)], [("[::1:1]", 443)]),
    ],
)
def test_it_names_these_hosts_and_no_other(entry: str, named: list[tuple[str, int]], other: list[tuple[str, int]]) -> None:
    assert [each for each in named + other if matches(entry, *each)] == named


@pytest.mark.parametrize(
    ("entry", "is_reached"),
    [
        ("example.com", True),
        ("app.example.com:8443", True),
        ("*.example.com", True),
        ("*.app.example.com", True),
        ("*.com", False),
        ("notexample.com", False),
        ("example.com.evil.example", False),
        ("127.0.0.1", False),
        ("[::1]:80", False),
    ],
)
def test_a_cookie_of_the_domain_reaches_it_or_does_not(entry: str, *, is_reached: bool) -> None:
    assert is_within(entry, "example.com") is is_reached
