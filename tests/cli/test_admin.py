"""Administration from the shell, while the service runs."""

from __future__ import annotations

import re

from ..commands import Command, Serving

DEMO = {"email": "demo@example.com", "password": "password123"}
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


def test_users_are_listed_with_their_state(serving: Serving, command: Command) -> None:
    serving.call("POST", "/api/auth/register", ADA)
    assert [line.partition("\t")[2] for line in command("users", "list").stdout.splitlines()] == [
        "demo@example.com\tDemo\tactive",
        "ada@example.com\tAda\tactive",
    ]
    command("users", "disable", "ADA@example.com")
    assert command("users", "list").stdout.splitlines()[1].partition("\t")[2] == "ada@example.com\tAda\tdisabled"


def test_a_disabled_user_is_out_at_once_and_may_come_back_when_enabled(serving: Serving, command: Command) -> None:
    cookies = [serving.sign_in(), serving.sign_in()]
    result = command("users", "disable", DEMO["email"])
    assert (result.returncode, result.stdout) == (0, "demo@example.com is disabled; 2 sessions ended\n")
    for cookie in cookies:
        status, problem, _ = serving.call("GET", "/api/profile", cookie=cookie)
        assert (status, problem["reason"]) == (401, "disabled")
    assert serving.call("POST", "/api/auth/login", DEMO)[0] == 401
    assert command("users", "enable", DEMO["email"]).stdout == "demo@example.com is enabled\n"
    assert serving.call("GET", "/api/profile", cookie=cookies[0])[0] == 401
    assert serving.call("GET", "/api/profile", cookie=serving.sign_in())[0] == 200


def test_sessions_are_listed_and_revoked_by_user_or_all(serving: Serving, command: Command) -> None:
    demo = serving.sign_in()
    _, _, ada = serving.call("POST", "/api/auth/register", ADA)
    handle = serving.call("GET", "/api/profile", cookie=demo)[1]["session"]["id"]
    [line] = command("sessions", "list", "--user", DEMO["email"]).stdout.splitlines()
    email, listed, last_access, address, _ = line.split("\t")
    assert (email, listed, address) == (DEMO["email"], handle, "127.0.0.1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last_access)
    assert len(command("sessions", "list", "--all").stdout.splitlines()) == 2

    assert command("sessions", "revoke", "--user", DEMO["email"]).stdout == "1 sessions ended\n"
    assert serving.call("GET", "/api/profile", cookie=demo)[1]["reason"] == "revoked"
    assert serving.call("GET", "/api/profile", cookie=ada)[0] == 200
    assert command("sessions", "revoke", "--all").returncode == 1, "it asks first"
    assert serving.call("GET", "/api/profile", cookie=ada)[0] == 200
    assert command("sessions", "revoke", "--all", "--yes").stdout == "1 sessions ended\n"
    assert serving.call("GET", "/api/profile", cookie=ada)[1]["reason"] == "everybody"
    assert serving.call("GET", "/api/profile", cookie=serving.sign_in())[0] == 200


def test_administration_needs_no_running_service(command: Command) -> None:
    assert command("users", "list").stdout == "1\tdemo@example.com\tDemo\tactive\n"


def test_the_lease_is_changed_from_the_shell(serving: Serving, command: Command) -> None:
    refused = command("db", "lease", "0.1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "JOURNAL_LEASE" in refused.stderr
    assert "JOURNAL_LEASE=2" in command("db", "lease", "2").stdout
    stopped = command("users", "list")
    assert stopped.returncode == 2
    assert "JOURNAL_LEASE: 0.5 s here, 2 s in the user database" in stopped.stderr
    assert command("db", "lease", "0.5").returncode == 0
    assert command("users", "list").returncode == 0
