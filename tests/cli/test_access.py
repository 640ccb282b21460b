"""`stateroom access check` says what forward auth answers, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stateroom.accounts.access import Access, Asked
from stateroom.accounts.access.explanation import explain
from stateroom.settings import Settings

from ..commands import Command, Serving

RULES = """
- name: status page
  hosts: [status.example.com]
  allow: anyone
- name: wiki, read
  hosts: [wiki.example.com]
  methods: [GET, HEAD]
  networks: [10.0.0.0/8]
  allow: anyone
- name: wiki, old pages
  hosts: [wiki.example.com]
  paths: [/old/*]
  allow: nobody
- name: wiki
  hosts: [wiki.example.com]
  paths: [/, /pages/*]
  allow: {groups: [staff], users: [demo@example.com]}
  need: {fresh: 15m}
- name: till
  hosts: [till.example.com]
  allow: signed-in
  need: {second_factor: true}
"""
WIKI = "https://wiki.example.com"
DEMO = "demo@example.com"

Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def check(command: Command, file: Path, serving: Serving) -> Check:
    """Run the command. Gives its exit status and its lines."""

    def run(*arguments: str, **settings: object) -> tuple[int, list[str]]:
        done = command("access", "check", *arguments, **{"ACCESS_RULES_FILE": file, **settings})
        return done.returncode, (done.stdout or done.stderr).splitlines()

    return run


def test_it_says_which_rule_decides_and_who_is_admitted(check: Check, command: Command) -> None:
    assert check("--url", f"{WIKI}/pages/1?a=b", "--user", DEMO, "--method", "post") == (0, [
        f"POST {WIKI}/pages/1?a=b",
        "not for this host: 1 rule",
        "passed over: wiki, read (line 5): its methods do not include POST",
        "passed over: wiki, old pages (line 10): its paths do not include /pages/1",
        "decides: wiki (line 14)",
        "needs: a sign-in or a confirmed password of the last 900 seconds",
        "audience of assertions: https://wiki.example.com",
        "demo@example.com: verified address demo@example.com; groups none",
        "demo@example.com is admitted: the rule admits this user",
    ])  # fmt: skip
    assert check("--url", "https://status.example.com")[1][-1] == "an anonymous visitor is admitted: the rule admits everybody"
    status, lines = check("--url", "https://till.example.com/", "--user", DEMO)
    assert (status, lines[-1]) == (
        1, "demo@example.com is not admitted: the rule needs what no account has yet: a second factor, or a bound device",
    )  # fmt: skip
    command("users", "groups", DEMO, "--add", "staff")
    command("users", "disable", DEMO)
    status, lines = check("--url", f"{WIKI}/", "--user", DEMO, "--address", "192.0.2.1")
    assert (status, lines[-2:]) == (1, [
        "demo@example.com: verified address demo@example.com; groups staff",
        "demo@example.com is not admitted: the account is disabled",
    ])  # fmt: skip


def test_an_address_that_a_stranger_may_have_typed_admits_nobody(check: Check, command: Command, serving: Serving) -> None:
    command("users", "erase", DEMO, "--yes")
    serving.call("POST", "/api/auth/register", {"email": DEMO, "password": "correct horse", "name": "Eve"})
    of_eve = "--url", f"{WIKI}/pages/1", "--user", DEMO
    assert check(*of_eve)[0] == 1
    assert check(*of_eve)[1][-2:] == [
        f"{DEMO}: verified address none; groups none",
        f"{DEMO} is not admitted: the rule admits neither this address nor one of these groups",
    ]
    assert check(*of_eve, REGISTRATION="closed")[0] == 0


def test_it_says_why_nobody_is_admitted(check: Check) -> None:
    status, lines = check("--url", f"{WIKI}/other", "--user", DEMO)
    assert status == 1
    assert lines[-1].startswith(f"{DEMO} is not admitted: no rule of this application is for the request")
    status, lines = check("--url", f"{WIKI}/pages/..%2fold/1")
    assert status == 1
    assert lines[1:3] == [
        "as sent: '/pages/..%2fold/1' is for wiki (line 14)",
        "percent-decoded, dots resolved: '/old/1' is for wiki, old pages (line 10)",
    ]
    assert check("--url", "https://other.example.com/", ACCESS_DEFAULT="signed-in")[1][-3:] == [
        "decides: ACCESS_DEFAULT, because no rule names the host",
        "audience of assertions: https://other.example.com",
        "an anonymous visitor is not admitted: nobody is signed in",
    ]
    assert "the operator sets ACCESS_RULES_FILE, or ACCESS_DEFAULT" in check("--url", WIKI, ACCESS_RULES_FILE="")[1][-1]


def test_programs_get_the_same_as_json(check: Check) -> None:
    status, lines = check("--url", f"{WIKI}/old/1", "--address", "10.1.2.3", "--user", DEMO, "--method", "DELETE", "--json")
    document: dict[str, Any] = json.loads("\n".join(lines))
    assert status == 1
    assert document.keys() >= {"store", "database", "need", "groups", "verified_email", "readings", "user"}
    assert (document["admitted"], document["reason"], document["rule"], document["method"]) == (
        False,
        "the rule admits nobody",
        {"name": "wiki, old pages", "line": 10},
        "DELETE",
    )
    assert [each["name"] for each in document["passed_over"]] == ["status page", "wiki, read"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "wiki.example.com"], "--url is 'wiki.example.com', which is no address of a page"),
        (["--url", "ftp://wiki.example.com/"], "--url is"),
        (["--url", "https://ada@wiki.example.com/"], "--url is"),
        (["--url", WIKI, "--address", "office"], "--address is 'office', which is no IP address"),
        (["--url", WIKI, "--method", "G ET"], "--method is 'G ET', which is no method"),
    ],
)
def test_an_invalid_option_is_named(command: Command, arguments: list[str], reason: str) -> None:
    done = command("access", "check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"stateroom: {reason}")
    assert "; give for example " in line


@pytest.mark.parametrize("who", [[], ["--user", DEMO]])
def test_stores_that_do_not_exist_are_refused_and_not_made(command: Command, tmp_path: Path, who: list[str]) -> None:
    done = command("access", "check", "--url", WIKI, *who)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stateroom: STATE_DIR: ")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_named_where_no_stores_are(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("- name: till\n")
    done = command("access", "check", "--url", WIKI, ACCESS_RULES_FILE=tmp_path / "rules.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stateroom: ACCESS_RULES_FILE: ")


def test_a_wrong_file_and_an_unknown_user_are_named(check: Check, file: Path) -> None:
    status, lines = check("--url", WIKI, "--user", "nobody@example.com")
    assert (status, lines[-1]) == (
        1, "stateroom: there is no user nobody@example.com; find the address with `stateroom users list`",
    )  # fmt: skip
    file.write_text(RULES + "- name: till\n")
    status, lines = check("--url", WIKI)
    assert (status, lines) == (
        2,
        [f"stateroom: ACCESS_RULES_FILE: {file}, line 23: the rule has no hosts; write for example hosts: [wiki.example.com]"],
    )


def test_the_explanation_agrees_with_the_rules(file: Path) -> None:
    access = Access(Settings(_env_file=None, access_rules_file=file))
    found = explain(access, Asked("GET", WIKI, "/pages/x", "10.0.0.1"))
    assert found.rule is not None
    assert (found.rule.name, found.ruling) == ("wiki, read", access.rule_for(Asked("GET", WIKI, "/pages/x", "10.0.0.1")))
    for path in ("x", "/pages" + "%25" * 5 + "/%2e%2e;/%2f//%5c;" * 9):
        found = explain(access, Asked("PUT", WIKI, path, None))
        assert (found.ruling, found.rule) == (None, None)
        assert found.refusal


@pytest.mark.parametrize("url", [WIKI, "http://b\u00fccher.example", "http://127.1"])
def test_without_rules_it_says_so_whatever_the_host_is(url: str) -> None:
    found = explain(Access(Settings(_env_file=None)), Asked("GET", url, "/", None))
    assert "ACCESS_RULES_FILE" in found.refusal
    assert list(found.passed_over) == []
