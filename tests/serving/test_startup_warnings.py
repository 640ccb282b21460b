"""Startup warns once of settings that may do what nobody wants: hosts without the cookie, doors for whoever registers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stateroom.serving.startup_warnings import warn_at_startup
from stateroom.settings import Settings

from ..commands import Serving
from ..logs import capture_events
from .test_settings_files import events


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
def test_it_names_the_hosts_that_the_cookie_does_not_reach(values: dict[str, Any], hosts: list[str]) -> None:
    with capture_events() as logs:
        warn_at_startup(Settings(_env_file=None, **values))
    assert [each["hosts"] for each in logs] == ([hosts] if hosts else [])
    assert all("COOKIE_DOMAIN" in each["fix"] for each in logs)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_says_it_once(tmp_path: Path, workers: str) -> None:
    with Serving(tmp_path, "--workers", workers, RETURN_HOSTS="wiki.example.org", COOKIE_DOMAIN="example.com") as service:
        assert service.output.count("return_hosts_without_cookie") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_startup_warns_once_if_whoever_registers_is_admitted(tmp_path: Path, workers: str) -> None:
    with Serving(tmp_path, "--workers", workers, ACCESS_DEFAULT="signed-in", REGISTRATION="open") as service:
        service.wait_for("anybody_may_enter")
        [warning] = events(service, "anybody_may_enter")
        assert (warning["level"], warning["through"]) == ("warning", ["ACCESS_DEFAULT=signed-in"])
        assert "REGISTRATION=invited" in str(warning["fix"])


def test_startup_does_not_warn_if_nobody_is_admitted_unasked(tmp_path: Path) -> None:
    with Serving(tmp_path, ACCESS_DEFAULT="signed-in", REGISTRATION="invited") as service:
        assert service.call("GET", "/livez")[0] == 200
        service.stop()
        assert "anybody_may_enter" not in service.output


def test_startup_warns_of_access_rules_that_never_decide(tmp_path: Path) -> None:
    rules = "- name: all\n  hosts: [app.example.com]\n  allow: nobody\n"
    (tmp_path / "rules.yaml").write_text(rules + rules.replace("all\n", "part\n  paths: [/part]\n"))
    with capture_events() as logs:
        warn_at_startup(Settings(_env_file=None, access_rules_file=tmp_path / "rules.yaml"))
    [warning] = logs
    assert (warning["event"], warning["rules"]) == ("access_rules_without_effect", ["part (line 4) after all (line 1)"])
