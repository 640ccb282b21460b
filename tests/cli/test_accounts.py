"""`stateroom users add`, `invite`, `set-password` and `groups`, while the service runs."""

from __future__ import annotations

import email
import email.policy
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command, Serving, environment
from ..documents import examples
from ..servers import Servers

ADA = "ada@example.com"
PASSWORD, NEW_PASSWORD = "correct horse", "battery staple"

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Serving]:
    """The service with an embedded server. Accounts can do nothing before their address is verified."""
    with Serving(tmp_path, EMAIL_VERIFICATION="required") as service:
        yield service


@pytest.fixture
def command_of_strict(command: Command) -> Command:
    return lambda *arguments, **settings: command(*arguments, **{"EMAIL_VERIFICATION": "required", **settings})


@pytest.fixture
def without_mail(tmp_path: Path, servers: Servers, command: Command) -> Iterator[Command]:
    """Commands for a service that has a Redis of its own and sends no mails. They do not know what links begin with."""
    node = servers.valkey
    settings = {
        "REDIS_URL": f"redis://{node.host}:{node.port}", "REDIS_KEY_PREFIX": tmp_path.name, "COOKIE_KEYS": new_key(),
        "COOKIE_SECURE": "false", "SESSION_NAME": "session_id",
    }  # fmt: skip
    with Serving(tmp_path, **settings):
        yield lambda *arguments, **more: command(*arguments, **{**settings, **more})


def good(done: Done) -> list[str]:
    """The lines of a command that succeeded. Its log has no secret and no address."""
    assert done.returncode == 0, done.stderr
    assert "@example.com" not in done.stderr
    assert PASSWORD not in done.stderr
    for token in re.findall(r"token=([\w-]+)", done.stdout):
        assert token not in done.stderr
    return done.stdout.splitlines()


def token_of(text: str, page: str) -> str:
    """The token of the only link to this page."""
    token: str
    [token] = re.findall(rf"http://\S+/{page}\?token=([\w-]{{43}})\s", text + "\n")
    return token


def refusal(done: Done) -> tuple[int, str]:
    """The exit status and the reason of a command that failed. The line before it may name the stores."""
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2
    return done.returncode, done.stderr.splitlines()[-1].removeprefix("stateroom: ")


class MailFolder:
    """The mails that a service has written to its folder."""

    def __init__(self, service: Serving) -> None:
        self._service = service

    def wait_for(self, count: int) -> list[str]:
        """The texts of so many mails, oldest first."""
        self._service.wait_until(lambda: len(self._texts()) >= count, f"{count} mails")
        return self._texts()

    def _texts(self) -> list[str]:
        found = []
        for path in sorted((self._service.folder / "var" / "mail").glob("*.eml")):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            body = message.get_body(("plain",))
            assert body is not None
            found.append(f"{message['To']}\n{body.get_content()}")
        return found


def can_sign_in(service: Serving, password: str, address: str = ADA) -> bool:
    return service.call("POST", "/api/auth/login", {"email": address, "password": password})[0] == 200


def reset(service: Serving, token: str, password: str) -> int:
    return service.call("POST", "/api/auth/password/reset", {"token": token, "new_password": password})[0]


def register(service: Serving, address: str, invitation: str) -> tuple[int, dict[str, Any]]:
    body = {"email": address, "password": PASSWORD, "name": "Carl", "invitation": invitation}
    status, document, _ = service.call("POST", "/api/auth/register", body)
    return status, document


def test_an_added_account_has_the_password_of_standard_input_and_counts_as_verified(
    strict: Serving, command_of_strict: Command
) -> None:
    done = command_of_strict("users", "add", "Ada@example.com", "--name", "Ada", "--password-stdin", typed=f"{PASSWORD}\n")
    assert good(done) == ["Ada@example.com is added"]
    cookie = strict.sign_in(ADA, PASSWORD)
    assert strict.call("GET", "/api/sessions", cookie=cookie)[0] == 200, "an unverified account may not list its sessions"
    assert not list((strict.folder / "var" / "mail").glob("*.eml"))


def test_the_owner_of_an_added_account_sets_the_password_by_the_mailed_link(strict: Serving, command_of_strict: Command) -> None:
    lines = good(command_of_strict("users", "add", "--user", ADA, "--name", "Ada"))
    assert lines == [
        f"{ADA} is added",
        "the service sends a mail with a link that sets a new password; the link is valid for 1 hour",
    ]
    [mail] = MailFolder(strict).wait_for(1)
    assert mail.startswith(ADA)
    assert not can_sign_in(strict, PASSWORD)
    assert reset(strict, token_of(mail, "reset"), PASSWORD) == 200
    cookie = strict.sign_in(ADA, PASSWORD)
    assert strict.call("GET", "/api/sessions", cookie=cookie)[0] == 200


def test_a_printed_link_is_valid_at_once_and_is_not_mailed(serving: Serving, command: Command) -> None:
    added, what, link = good(command("users", "add", ADA, "--name", "Ada", "--print"))
    assert added == f"{ADA} is added"
    assert what == "this link sets a new password; it is valid once, for 1 hour:"
    assert reset(serving, token_of(link, "reset"), PASSWORD) == 200
    assert reset(serving, token_of(link, "reset"), NEW_PASSWORD) == 400, "once"
    assert can_sign_in(serving, PASSWORD)
    mails = MailFolder(serving).wait_for(1)
    assert [("token=" in mail) for mail in mails] == [False], "only the mail that tells of the new password"


def test_the_json_of_an_added_account_has_the_link(serving: Serving, command: Command) -> None:
    done = command("users", "add", ADA, "--name", "Ada", "--group", "staff", "--print", "--json")
    document = json.loads(done.stdout)
    assert document["user"] == {
        "id": document["user"]["id"], "email": ADA, "name": "Ada", "disabled": False, "verified": True, "proved": True,
    }  # fmt: skip
    assert document["mailed"] is False
    assert reset(serving, token_of(document["link"], "reset"), PASSWORD) == 200
    assert {"store", "database"} <= document.keys()


def test_groups_are_given_shown_and_changed(serving: Serving, command: Command) -> None:
    good(command("users", "add", ADA, "--name", "Ada", "--group", "staff", "--group", "admin", "--print"))
    assert good(command("users", "groups", ADA)) == ["admin", "staff"]
    assert good(command("users", "groups", ADA, "--add", "ops", "--add", "staff", "--remove", "admin")) == ["ops", "staff"]
    [line] = [line for line in good(command("users", "list")) if ADA in line]
    assert re.split(r"  +", line)[3:] == ["active", "yes", "ops, staff"]
    users = json.loads(command("users", "list", "--json").stdout)["users"]
    assert {user["email"]: user["groups"] for user in users} == {"demo@example.com": [], ADA: ["ops", "staff"]}
    assert "groups_changed" not in command("users", "groups", ADA, "--add", "ops", "--remove", "admin").stderr
    emptied = command("users", "groups", ADA, "--remove", "ops", "--remove", "staff")
    assert good(emptied) == [f"{ADA} is in no group"]
    assert "groups_changed" in emptied.stderr


def test_an_account_that_nobody_verified_is_listed_as_such(strict: Serving, command_of_strict: Command) -> None:
    strict.call("POST", "/api/auth/register", {"email": ADA, "password": PASSWORD, "name": "Ada"})
    [line] = [line for line in command_of_strict("users", "list").stdout.splitlines() if ADA in line]
    assert re.split(r"  +", line)[3:] == ["active", "no"]
    users = json.loads(command_of_strict("users", "list", "--json").stdout)["users"]
    assert {user["email"]: user["verified"] for user in users} == {"demo@example.com": True, ADA: False}


def test_an_invitation_makes_a_verified_account_with_its_groups(tmp_path: Path, command: Command) -> None:
    settings = {"REGISTRATION": "invited", "EMAIL_VERIFICATION": "required"}
    with Serving(tmp_path, **settings) as service:
        invited, what = good(command("users", "invite", "carl@example.com", "--group", "staff", **settings))
        assert invited == "carl@example.com is invited"
        assert what == "the service sends a mail with a link that makes the account; the link is valid for 7 days"
        [mail] = MailFolder(service).wait_for(1)
        assert mail.startswith("carl@example.com")
        token = token_of(mail, "invitation")
        assert register(service, "dora@example.com", token)[0] == 400, "it is for one address"
        status, document = register(service, "carl@example.com", token)
        assert (status, "verification" in document) == (201, False)
        assert good(command("users", "groups", "carl@example.com", **settings)) == ["staff"]


def test_a_new_invitation_ends_the_former_ones_of_the_address(serving: Serving, command: Command) -> None:
    former = token_of(command("users", "invite", "Carl@example.com", "--print").stdout, "invitation")
    other = token_of(command("users", "invite", "dora@example.com", "--print").stdout, "invitation")
    newest = token_of(command("users", "invite", "carl@EXAMPLE.com", "--print").stdout, "invitation")
    assert register(serving, "carl@example.com", former)[1]["type"] == "urn:stateroom:problem:token-invalid"
    assert register(serving, "carl@example.com", newest)[0] == 201
    assert register(serving, "dora@example.com", other)[0] == 201


def test_nobody_is_invited_in_vain(serving: Serving, command: Command) -> None:
    status, reason = refusal(command("users", "invite", "DEMO@example.com"))
    assert (status, reason.partition(";")[0]) == (1, "an account with this email exists")
    status, reason = refusal(command("users", "invite", ADA, REGISTRATION="closed"))
    assert (status, reason) == (
        1,
        "REGISTRATION is closed, so nobody can use an invitation; set it to invited, or run `stateroom users add`",
    )


def test_a_mailed_reset_link_leaves_the_old_password_until_it_is_used(serving: Serving, command: Command) -> None:
    good(command("users", "add", ADA, "--name", "Ada", "--password-stdin", typed=PASSWORD))
    cookie = serving.sign_in(ADA, PASSWORD)
    good(command("users", "set-password", ADA))
    [mail] = MailFolder(serving).wait_for(1)
    assert serving.call("GET", "/api/profile", cookie=cookie)[0] == 200
    assert can_sign_in(serving, PASSWORD)
    assert reset(serving, token_of(mail, "reset"), NEW_PASSWORD) == 200
    assert serving.call("GET", "/api/profile", cookie=cookie)[1]["reason"] == "password"
    assert (can_sign_in(serving, PASSWORD), can_sign_in(serving, NEW_PASSWORD)) == (False, True)


def test_a_password_of_standard_input_ends_all_sessions_and_links_at_once(serving: Serving, command: Command) -> None:
    link = good(command("users", "add", ADA, "--name", "Ada", "--print"))[-1]
    assert reset(serving, token_of(link, "reset"), PASSWORD) == 200
    cookies = [serving.sign_in(ADA, PASSWORD), serving.sign_in(ADA, PASSWORD)]
    token = token_of(command("users", "set-password", ADA, "--print").stdout, "reset")
    assert good(command("users", "set-password", ADA, "--password-stdin", typed=f"{NEW_PASSWORD}\r\n")) == [
        f"the password of {ADA} is changed; 2 sessions ended"
    ]
    for cookie in cookies:
        status, problem, _ = serving.call("GET", "/api/profile", cookie=cookie)
        assert (status, problem["reason"]) == (401, "password")
    assert reset(serving, token, PASSWORD) == 400
    assert (can_sign_in(serving, PASSWORD), can_sign_in(serving, NEW_PASSWORD)) == (False, True)
    assert all(mail.startswith(ADA) for mail in MailFolder(serving).wait_for(2)), "each new password is told"


def test_a_disabled_account_gets_no_link_that_would_not_work(serving: Serving, command: Command) -> None:
    good(command("users", "add", ADA, "--name", "Ada", "--password-stdin", typed=PASSWORD))
    command("users", "disable", ADA)
    status, reason = refusal(command("users", "set-password", ADA, "--print"))
    assert (status, reason) == (1, "the account is disabled, so a link would not work; enable the account first")


BAD_INPUT: list[tuple[tuple[str, ...], str, str]] = [
    (("add", ADA, "--password-stdin"), PASSWORD, "the account needs a name; give it with --name"),
    (("add", "ada", "--name", "Ada"), "", "email: must be an email address, for example ada@example.com"),
    (("add", ADA, "--name", "Ada", "--group", "Staff"), "", "group: must be 1 to 64 characters of a-z"),
    (("add", ADA, "--name", "Ada", "--password-stdin"), "", "--password-stdin: standard input is empty"),
    (("add", ADA, "--name", "Ada", "--password-stdin"), "one\ntwo\n", "--password-stdin: standard input has several lines"),
    (("add", ADA, "--name", "Ada", "--password-stdin"), "short", "password: must have at least 8 characters"),
    (("add", ADA, "--name", "Ada", "--password-stdin", "--print"), PASSWORD, "--password-stdin and --print are both given"),
    (("invite", "ada"), "", "email: must be an email address"),
    (("invite", ADA, "--group", "-"), "", "group: must be 1 to 64 characters of a-z"),
    (("set-password", "demo@example.com", "--password-stdin"), "short", "password: must have at least 8 characters"),
    (("groups", "demo@example.com", "--add", "a", "--remove", "a"), "", "the group a is to be added and removed"),
]


def test_bad_input_is_one_line_and_exit_2(serving: Serving, command: Command) -> None:
    for arguments, typed, reason in BAD_INPUT:
        status, line = refusal(command("users", *arguments, typed=typed))
        assert status == 2, arguments
        assert line.startswith(reason)
    assert command("users", "list").stdout.count("@") == 1


def test_who_is_not_there_is_one_line_and_exit_1(serving: Serving, command: Command) -> None:
    for name in ("set-password", "groups"):
        status, line = refusal(command("users", name, "nobody@example.com"))
        assert (status, line.partition(";")[0]) == (1, "there is no user nobody@example.com")


def test_without_mail_links_are_printed_and_begin_with_public_url(without_mail: Command) -> None:
    for arguments in (("add", ADA, "--name", "Ada"), ("invite", "carl@example.com")):
        status, line = refusal(without_mail("users", *arguments))
        assert (status, line) == (
            2,
            "PUBLIC_URL: is not set, but links begin with it; set it, for example PUBLIC_URL=https://example.com",
        )
    assert without_mail("users", "list").stdout == "there are no users\n", "nothing was done by halves"
    where = {"PUBLIC_ORIGINS": "https://example.com"}
    assert good(without_mail("users", "add", ADA, "--name", "Ada", **where))[-1].startswith("https://example.com/reset?token=")
    assert good(without_mail("users", "set-password", ADA, **where))[-1].startswith("https://example.com/reset?token=")
    invitation = good(without_mail("users", "invite", "carl@example.com", **where))[-1]
    assert invitation.startswith("https://example.com/invitation?token=")
    under_a_path = {"PUBLIC_URL": "https://example.com/sso/", "DEPLOYMENT": "none"}
    invitation = good(without_mail("users", "invite", "carl@example.com", **under_a_path))[-1]
    assert invitation.startswith("https://example.com/sso/invitation?token=")


def test_without_mail_and_public_url_a_password_is_set(without_mail: Command) -> None:
    good(without_mail("users", "add", ADA, "--name", "Ada", "--password-stdin", typed=PASSWORD))
    assert good(without_mail("users", "set-password", ADA, "--password-stdin", typed=NEW_PASSWORD)) == [
        f"the password of {ADA} is changed; 0 sessions ended"
    ]


def test_the_examples_of_the_page_work(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    script = "\n".join([f'stateroom() {{ {shlex.quote(sys.executable)} -m stateroom "$@"; }}', *examples("accounts.md", "sh")])
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env=environment(tmp_path, {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    added, groups, invited, _, link = good(done)
    assert (added, invited) == ("ada@example.com is added", "carl@example.com is invited")
    assert [f"{groups}\n"] == examples("accounts.md", "text")
    assert can_sign_in(serving, PASSWORD)
    assert register(serving, "carl@example.com", token_of(link, "invitation"))[0] == 201
