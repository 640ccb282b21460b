"""Administration from the shell, while the service runs."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from stateroom.cli import accounts, admin, app, privacy, service
from stateroom.cli.answer import columns, ended
from stateroom.errors import SettingsError

from ..commands import Command, Serving

DEMO = {"email": "demo@example.com", "password": "password123"}
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada Ada"}


def cells(line: str) -> list[str]:
    """The cells of a line of a table. Two spaces or more separate two of them."""
    return re.split(r"  +", line)


def test_users_are_listed_with_their_state(serving: Serving, command: Command) -> None:
    serving.call("POST", "/api/auth/register", ADA)
    head, *lines = command("users", "list").stdout.splitlines()
    assert cells(head) == ["ID", "EMAIL", "NAME", "STATE", "VERIFIED", "GROUPS"]
    assert [cells(line)[1:] for line in lines] == [
        ["demo@example.com", "Demo", "active", "yes"],
        ["ada@example.com", "Ada Ada", "active", "unproved"],
    ]
    assert {line.index("active") for line in lines} == {head.index("STATE")}, "columns are aligned"
    command("users", "disable", "ADA@example.com")
    assert cells(command("users", "list").stdout.splitlines()[2])[1:] == ["ada@example.com", "Ada Ada", "disabled", "unproved"]


def test_a_list_without_rows_says_so(serving: Serving, command: Command) -> None:
    assert command("sessions", "list", "--all").stdout == "there are no live sessions\n"
    assert command("sessions", "list", DEMO["email"]).stdout == "demo@example.com has no live sessions\n"
    assert command("users", "erase", DEMO["email"], "--yes").stdout == "demo@example.com is erased; 0 sessions ended\n"
    assert command("users", "list").stdout == "there are no users\n"


def test_columns_are_as_wide_as_their_widest_cell_on_a_terminal() -> None:
    assert columns(("NAME", "STATE"), [("\u7d2b\u5f0f\u90e8", "active"), ("Al", "")]) == [
        "NAME    STATE",
        "\u7d2b\u5f0f\u90e8  active",  # Each of these characters is two columns wide.
        "Al",
    ]


ONE_USER = (
    "users add --name Ada",
    "users invite",
    "users set-password",
    "users groups",
    "users disable",
    "users enable",
    "users export",
    "users erase --yes",
    "sessions list",
    "sessions revoke",
)


@pytest.mark.parametrize("command", ONE_USER)
@pytest.mark.parametrize("address", [["ada@example.com"], ["--user", "ada@example.com"]], ids=["argument", "option"])
def test_the_address_is_given_as_an_argument_or_with_user(
    monkeypatch: pytest.MonkeyPatch, command: str, address: list[str]
) -> None:
    acted: list[str | None] = []
    actions = (
        (admin, ("disable_user", "enable_user", "list_sessions", "revoke_sessions")),
        (accounts, ("add_user", "invite", "make_reset_link", "groups_of")),
        (privacy, ("export_user", "erase_user")),
    )
    for module, names in actions:
        for name in names:
            monkeypatch.setattr(module, name, lambda service, email, **_: acted.append(email))
    monkeypatch.setattr(service, "run", lambda action, as_json: action(None))
    done = CliRunner().invoke(app, [*command.split(), *address])
    assert done.exit_code == 0, done.exception
    assert acted == ["ada@example.com"]


@pytest.mark.parametrize("command", ONE_USER)
def test_both_addresses_or_none_is_refused(command: str) -> None:
    both = CliRunner().invoke(app, [*command.split(), "ada@example.com", "--user", "bob@example.com"])
    assert isinstance(both.exception, SettingsError)
    assert str(both.exception) == (
        "the user is named twice, as ada@example.com and with --user bob@example.com; give the address once"
    )
    none = CliRunner().invoke(app, command.split())
    assert isinstance(none.exception, SettingsError)
    assert str(none.exception).startswith("no user is named; give ")


def test_no_address_is_one_line_and_exit_2(command: Command) -> None:
    done = command("users", "disable")
    line = "stateroom: no user is named; give the user's email address, for example ada@example.com\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 sessions ended"),
        (1, "1 session ended"),
        (2, "2 sessions ended"),
        (None, "the sessions have ended; their number is unknown, because Redis is unavailable"),
    ],
)
def test_a_count_has_the_noun_in_its_number(count: int | None, words: str) -> None:
    assert ended(count) == words


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
    head, line = command("sessions", "list", "--user", DEMO["email"]).stdout.splitlines()
    assert cells(head) == ["EMAIL", "SESSION", "LAST ACCESS", "IP ADDRESS", "DEVICE"]
    email, listed, last_access, address, _ = cells(line)
    assert (email, listed, address) == (DEMO["email"], handle, "127.0.0.1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last_access)
    assert len(command("sessions", "list", "--all").stdout.splitlines()) == 3

    assert command("sessions", "revoke", "--user", DEMO["email"]).stdout == "1 session ended\n"
    assert serving.call("GET", "/api/profile", cookie=demo)[1]["reason"] == "revoked"
    assert serving.call("GET", "/api/profile", cookie=ada)[0] == 200
    assert command("sessions", "revoke", "--all").stderr.endswith("run the command with --yes\n"), "it asks first"
    assert serving.call("GET", "/api/profile", cookie=ada)[0] == 200
    assert command("sessions", "revoke", "--all", "--yes").stdout == "1 session ended\n"
    assert serving.call("GET", "/api/profile", cookie=ada)[1]["reason"] == "everybody"
    assert serving.call("GET", "/api/profile", cookie=serving.sign_in())[0] == 200


def test_administration_needs_no_running_service(serving: Serving, command: Command) -> None:
    assert serving.stop() == 0
    assert cells(command("users", "list").stdout.splitlines()[1]) == ["1", "demo@example.com", "Demo", "active", "yes"]


@pytest.mark.parametrize("arguments", [("users", "list"), ("sessions", "list", "--all"), ("users", "enable", "ada@example.com")])
def test_a_command_with_settings_of_another_service_leaves_the_demo_account_as_it_is(
    serving: Serving, command: Command, arguments: tuple[str, ...]
) -> None:
    """A service with these settings would lock it."""
    serving.call("POST", "/api/auth/register", ADA)
    cookie = serving.sign_in()
    done = command(*arguments, HOST="0.0.0.0")
    assert done.returncode == 0, done.stderr
    assert serving.call("GET", "/api/profile", cookie=cookie)[0] == 200
    assert serving.call("POST", "/api/auth/login", DEMO)[0] == 200


def test_the_lease_is_changed_from_the_shell(serving: Serving, command: Command) -> None:
    refused = command("db", "lease", "0.1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "JOURNAL_LEASE" in refused.stderr
    assert "JOURNAL_LEASE=2" in command("db", "lease", "2").stdout
    stopped = command("users", "list")
    assert stopped.returncode == 2
    assert "JOURNAL_LEASE: 0.5 s here but 2 s in the user database" in stopped.stderr
    assert "is now 0.5 s" in command("db", "lease", "500ms").stdout
    assert command("users", "list").returncode == 0
