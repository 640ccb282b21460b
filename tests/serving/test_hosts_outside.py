"""Startup says to which hosts a sign-in may lead although browsers do not send them the cookie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stateroom.serving.hosts_outside import warn_of_hosts_outside
from stateroom.settings import Settings

from ..commands import Serving
from ..logs import capture_events


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        ({"cookie_domain": "example.com", "return_hosts": "app.example.com, *.example.com:8443, example.com"}, []),
        ({"cookie_domain": ".Example.com", "return_hosts": "app.example.com"}, []),
        ({"cookie_domain": "example.com", "return_hosts": "app.example.com, app.example.org, [::1]"}, ["app.example.org", "[::1]"]),
        ({"cookie_domain": "app.example.com", "return_hosts": "*.example.com"}, ["*.example.com"]),
        ({"return_hosts": "app.example.com"}, []),  # it may be the service's own host
        ({"return_hosts": "*.example.com"}, ["*.example.com"]),
        ({"return_hosts": "app.example.com, login.example.com", "public_url": "https://login.example.com"}, ["app.example.com"]),
        ({"return_hosts": "[::1]:3000", "public_origins": "http://[::1]:8080"}, []),
        ({}, []),
    ],
)
def test_it_names_the_hosts(values: dict[str, Any], hosts: list[str]) -> None:
    with capture_events() as logs:
        warn_of_hosts_outside(Settings(_env_file=None, **values))
    assert [each["hosts"] for each in logs] == ([hosts] if hosts else [])
    assert all("COOKIE_DOMAIN" in each["fix"] for each in logs)


def test_a_service_says_it_once(tmp_path: Path) -> None:
    with Serving(tmp_path, "--workers", "2", RETURN_HOSTS="wiki.example.org", COOKIE_DOMAIN="example.com") as service:
        assert service.output.count("return_hosts_without_cookie") == 1
