"""`DATABASE_URL` leads to another deployment's database for a while. Its users are not ours, and nothing is written there."""

from __future__ import annotations

from pathlib import Path

from stateroom.sessions.sealing.key_ring import new_key

from ..patience import wait_until
from .conftest import MakeDatabase, MakeStore
from .deployments import ADA
from .hosts import BOB, Host, Service

KEY = new_key()


def test_nobody_is_shown_as_the_other_databases_user(make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path) -> None:
    databases = ours, others = make_database(), make_database()
    for number, (database, user) in enumerate(zip(databases, (ADA, BOB), strict=True)):
        with Host(tmp_path / f"maker-{number}", make_store().node, database, COOKIE_KEYS=KEY).serve() as service:
            service.register(user)
            database.change("UPDATE users SET id = 7")
    proxy = {"TRUSTED_PROXIES": "127.0.0.1", "ACCESS_DEFAULT": "signed-in"}
    with Host(tmp_path / "ours", make_store().node, ours, COOKIE_KEYS=KEY, **proxy).serve() as service:
        cookie = service.sign_in(ADA["email"], ADA["password"])
        assert service.ask("/api/profile", cookie)[1]["user"]["name"] == ADA["name"]
        ours.back_up()
        users = others.ask("SELECT email FROM users")

        ours.become(others)
        wait_until(lambda: "foreign_database" in service.output, "the service has noticed")
        # A random id may have these letters too, but hardly at the beginning of a value.
        for path in ("/api/profile", "/api/auth/check"):
            assert "'bob" not in str(service.ask(path, cookie)).lower(), path
        headers = {"Cookie": cookie, "X-Original-URL": "https://app.example.com/", "X-Original-Method": "GET"}
        assert "'bob" not in str(service.call("GET", "/auth/request", headers=headers)).lower()
        assert service.call("POST", "/api/auth/register", ADA | {"email": "carl@example.com"})[0] == 503
        assert service.call("POST", "/api/auth/login", {"email": BOB["email"], "password": BOB["password"]})[0] == 503
        assert ours.ask("SELECT email FROM users") == users

        ours.restore()
        wait_until(lambda: _name(service, cookie) == ADA["name"], "our own database is back")


def _name(service: Service, cookie: str) -> str:
    status, document = service.ask("/api/profile", cookie)
    return str(document["user"]["name"]) if status == 200 else ""
