"""`stateroom users export` prints all data about a user, and `erase` deletes it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command, Serving

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada L\u00f6velace"}


def exported(command: Command, email: str = ADA["email"]) -> dict[str, Any]:
    done = command("users", "export", email)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_an_export_has_all_that_is_kept_and_no_secret(serving: Serving, command: Command) -> None:
    _, _, first = serving.call("POST", "/api/auth/register", ADA)
    second = serving.sign_in(ADA["email"], ADA["password"])
    serving.call("POST", "/api/auth/logout", cookie=first)
    serving.call("POST", "/api/auth/login", {"email": ADA["email"], "password": "wrong"})
    document = exported(command)
    user = document["user"]
    assert (user["email"], user["name"], user["disabled_at"]) == (ADA["email"], ADA["name"], None)
    [session] = document["sessions"]
    assert session["id"] == serving.call("GET", "/api/profile", cookie=second)[1]["session"]["id"]
    assert (session["ip_address"], session["device_type"]) == ("127.0.0.1", "unknown")
    assert session["messages"] == {"success": f"Welcome back, {ADA['name']}."}
    assert [(each["reason"], each["id"] == session["id"]) for each in document["ended_sessions"]] == [("logout", False)]
    assert document["failed_sign_ins"] == {"127.0.0.1": 1}
    text = json.dumps(document)
    assert "$2b$" not in text
    assert second.partition("=")[2] not in text


def test_nothing_that_names_the_user_is_left(serving: Serving, command: Command, tmp_path: Path) -> None:
    _, first, cookie = serving.call("POST", "/api/auth/register", ADA)
    _, _, demo = serving.call("POST", "/api/auth/login", {"email": "demo@example.com", "password": "password123"})
    done = command("users", "erase", "ADA@example.com", "--yes")
    assert (done.returncode, done.stdout) == (0, "ada@example.com is erased; 1 session ended\n")
    status, problem, _ = serving.call("GET", "/api/profile", cookie=cookie)
    assert (status, problem["reason"]) == (401, "disabled")
    assert serving.call("POST", "/api/auth/login", ADA)[0] == 401
    assert serving.call("GET", "/api/profile", cookie=demo)[0] == 200
    assert command("users", "export", ADA["email"]).returncode == 1
    with sqlite3.connect(tmp_path / "var" / "stateroom.db") as database:
        rows = "\n".join(database.iterdump())
    assert "ada@example.com" not in rows
    assert "velace" not in rows
    # A new registration with that address is another user.
    assert serving.call("POST", "/api/auth/register", ADA)[1]["user"]["id"] != first["user"]["id"]
    assert serving.call("GET", "/api/profile", cookie=cookie)[0] == 401


def test_links_mails_and_groups_are_exported_without_tokens_and_erased(serving: Serving, command: Command, tmp_path: Path) -> None:
    """The mails wait, because the mail server is unavailable."""
    invited = command("users", "invite", "Ada@example.com", "--group", "staff", "--print").stdout
    token = invited.rpartition("token=")[2].strip()
    assert serving.stop() == 0
    with Serving(tmp_path, MAIL_URL="smtp://127.0.0.1:1", MAIL_FROM="a@example.com") as service:
        registered = {**ADA, "email": "Ada@Example.com"}
        _, _, cookie = service.call("POST", "/api/auth/register", registered)
        service.call("POST", "/api/auth/email", {"email": "new@example.com", "password": ADA["password"]}, cookie=cookie)
        service.call("POST", "/api/auth/password/forgot", {"email": "ADA@example.com"})
        command("users", "groups", ADA["email"], "--add", "gardeners")
        command("users", "set-password", ADA["email"], "--print")
        document = exported(command)
        user = document["user"]
        assert (user["email"], user["typed_email"], user["verified_at"]) == (ADA["email"], "Ada@Example.com", None)
        assert document["groups"] == ["gardeners"]
        links = {(each["purpose"], each["address"], *each.get("groups", [])) for each in document["links"]}
        assert {("invitation", "Ada@example.com", "staff"), ("reset", "Ada@Example.com")} <= links
        assert all(each["created_at"] < each["expires_at"] for each in document["links"])
        waiting = {(each["kind"], each["address"]) for each in document["waiting_mails"]}
        assert {("change", "new@example.com"), ("reset", "ADA@example.com")} <= waiting
        assert all(each["created_at"] <= each["tried_next_at"] for each in document["waiting_mails"])
        assert token not in json.dumps(document)

        assert command("users", "erase", ADA["email"], "--yes").returncode == 0
        with sqlite3.connect(tmp_path / "var" / "stateroom.db") as database:
            rows = "\n".join(database.iterdump()).lower()
        for trace in ("ada@example.com", "new@example.com", "staff", "gardeners"):
            assert trace not in rows


def test_erasing_asks_first(serving: Serving, command: Command) -> None:
    serving.call("POST", "/api/auth/register", ADA)
    done = command("users", "erase", ADA["email"])  # There is no terminal to answer.
    assert done.returncode == 2
    assert done.stderr.endswith("run the command with --yes\n")
    assert "cannot be undone" in done.stdout + done.stderr
    assert exported(command)["user"]["email"] == ADA["email"]


def test_who_is_not_there_cannot_be_shown_or_erased(serving: Serving, command: Command) -> None:
    for arguments in (("export",), ("erase", "--yes")):
        done = command("users", arguments[0], "nobody@example.com", *arguments[1:])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("stateroom: there is no user nobody@example.com")


def test_without_redis_nothing_is_shown_in_part_and_erasing_holds_all_the_same(
    serving: Serving, command: Command, tmp_path: Path
) -> None:
    """A command that cannot reach Redis, while the service can: as after a network fault between them."""
    _, _, cookie = serving.call("POST", "/api/auth/register", ADA)
    nowhere = {
        "REDIS_HOST": "127.0.0.1", "REDIS_PORT": 1, "DATABASE_URL": f"sqlite:///{tmp_path}/var/stateroom.db",
        "COOKIE_KEYS": new_key(), "COOKIE_SECURE": "false", "SESSION_NAME": "session_id",
    }  # fmt: skip
    done = command("users", "export", ADA["email"], **nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    done = command("users", "erase", ADA["email"], "--yes", **nowhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ada@example.com is erased; the sessions have ended; their number is unknown, because Redis is unavailable",
        "Redis still holds the data of these sessions; it is deleted when Redis is available again, or when the sessions expire",
    ]
    status, problem, _ = serving.call("GET", "/api/profile", cookie=cookie)
    assert (status, problem["reason"]) == (401, "disabled")


def test_without_the_database_nothing_is_done_and_one_line_says_so(serving: Serving, command: Command) -> None:
    away = {"DATABASE_URL": "postgresql://somebody@127.0.0.1:1/nothing", "REDIS_MODE": "embedded", "COOKIE_KEYS": new_key()}
    for arguments in (("export", ADA["email"]), ("erase", ADA["email"], "--yes")):
        done = command("users", *arguments, **away)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("stateroom: ")
        assert "Traceback" not in done.stderr
