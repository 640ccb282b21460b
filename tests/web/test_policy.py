"""Which hosts the Content-Security-Policy lets a form lead to."""

from __future__ import annotations

from typing import Any

import pytest

from stateroom import Settings
from stateroom.web.policy import policy


def form_action(**values: Any) -> str:
    directives = dict(each.split(" ", 1) for each in policy(Settings(_env_file=None, **values)).split("; "))
    return directives["form-action"]


def test_without_other_hosts_a_form_leads_to_us() -> None:
    assert form_action() == "'self'"


@pytest.mark.parametrize(
    ("hosts", "sources"),
    [
        ("app.example.com", "http://app.example.com:*"),  # http matches https too
        ("*.example.com", "http://*.example.com:*"),
        (".example.com", "http://*.example.com:*"),
        ("app.example.com:8443, *.x.example:444", "http://app.example.com:8443 http://*.x.example:444"),
        ("app.example.com:443", "https://app.example.com"),
        ("a_b.example.com", "http://*.example.com:*"),  # a policy cannot name hosts with an underscore
        ("*.a_b.x_y.example.com:8443", "http://*.example.com:8443"),
        ("a_b", "http:"),
        ("127.0.0.1:8000, localhost", "http://127.0.0.1:8000 http://localhost:*"),
        ("app.example.com, [::1]:8000", "http:"),  # a policy cannot name an IPv6 address
    ],
)
def test_it_allows_what_a_sign_in_may_lead_to(hosts: str, sources: str) -> None:
    assert form_action(return_hosts=hosts) == f"'self' {sources}"


def test_our_own_origins_are_among_them() -> None:
    allowed = form_action(
        public_url="https://example.com/sso", public_origins="https://a.example, https://example.com, tauri://localhost"
    )
    assert allowed == "'self' https://example.com https://a.example"


def test_a_list_that_is_too_long_for_the_headers_of_a_response_is_no_list() -> None:
    hosts = [f"application-{number}.example.com" for number in range(100)]
    assert form_action(return_hosts=",".join(hosts)) == "'self' http:"
    assert len(form_action(return_hosts=",".join(hosts[:50]))) > 1500
