"""The demo account exists in embedded mode on a loopback address, and cannot sign in anywhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stateroom.accounts.demo import DEMO_EMAIL, DEMO_PASSWORD
from stateroom.accounts.passwords import LOCKED
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..commands import Serving
from ..servers import Servers

DEMO = {"email": DEMO_EMAIL, "password": DEMO_PASSWORD}
TOKEN_KEY = new_token_key()
KEY = new_key()
EVERY_ADDRESS = "0.0.0.0"

Elsewhere = Callable[..., Serving]


@pytest.fixture
def elsewhere(tmp_path: Path, servers: Servers) -> Elsewhere:
    """The service on the same state folder and Redis as before, but not embedded."""

    def start(**settings: object) -> Serving:
        node = servers.valkey
        where = {"REDIS_URL": f"redis://{node.host}:{node.port}", "REDIS_KEY_PREFIX": tmp_path.name, "COOKIE_SECURE": "false"}
        names = {"COOKIE_KEYS": KEY, "SESSION_NAME": "session_id", "JWT_KEYS": TOKEN_KEY}
        return Serving(tmp_path, **(where | names | settings))

    return start


def embedded(folder: Path, **settings: object) -> Serving:
    return Serving(folder, COOKIE_KEYS=KEY, JWT_KEYS=TOKEN_KEY, **settings)


def stored_hash(folder: Path) -> str:
    with sqlite3.connect(folder / "var" / "stateroom.db") as database:
        return str(database.execute("SELECT password_hash FROM users WHERE email = ?", [DEMO_EMAIL]).fetchone()[0])


def test_it_cannot_sign_in_elsewhere_by_any_call(tmp_path: Path, elsewhere: Elsewhere) -> None:
    with embedded(tmp_path) as service:
        cookie = service.sign_in()
        _, bearer, _ = service.call("POST", "/api/auth/login", {**DEMO, "transport": "bearer"})
    assert bearer["session_token"]
    with elsewhere() as service:
        assert service.output.count("demo_account_locked") == 1
        for path in ("/api/auth/login", "/api/auth/token"):
            status, body, _ = service.call("POST", path, DEMO)
            assert (status, body["error"]) == (401, "invalid credentials")
        # The cookie is from before, and young enough to be honoured by itself.
        _, check, _ = service.call("GET", "/api/auth/check", cookie=cookie)
        assert (check["authenticated"], check["ended"]) == (False, "disabled")
        assert service.call("POST", "/api/auth/reauthenticate", {"password": DEMO_PASSWORD}, cookie=cookie)[0] == 401
        _, check, _ = service.call("GET", "/api/auth/check", cookie=f"session_id={bearer['session_token']}")
        assert not check["authenticated"]
    with elsewhere() as service:
        assert "demo_account_locked" not in service.output, "it is locked already"
        assert service.call("POST", "/api/auth/login", DEMO)[0] == 401


def test_it_is_unlocked_where_it_may_sign_in(tmp_path: Path, elsewhere: Elsewhere) -> None:
    with embedded(tmp_path):
        pass
    with elsewhere():
        assert stored_hash(tmp_path) == LOCKED
    with embedded(tmp_path) as service:
        service.sign_in()


def test_an_embedded_service_that_other_machines_reach_has_none(tmp_path: Path) -> None:
    with embedded(tmp_path, HOST=EVERY_ADDRESS) as service:
        assert "demo user" not in service.output
        assert service.call("POST", "/api/auth/login", DEMO)[0] == 401
    with embedded(tmp_path) as service:
        cookie = service.sign_in()
    with embedded(tmp_path, HOST=EVERY_ADDRESS) as service:
        assert service.output.count("demo_account_locked") == 1
        assert service.call("POST", "/api/auth/login", DEMO)[0] == 401
        assert not service.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"]


def test_an_account_whose_owner_has_chosen_a_password_is_no_demo_account(tmp_path: Path, elsewhere: Elsewhere) -> None:
    with embedded(tmp_path) as service:
        passwords = {"current_password": DEMO_PASSWORD, "new_password": "a better horse"}
        status, _, _ = service.call("POST", "/api/auth/password", passwords, cookie=service.sign_in())
        assert status == 200
    with elsewhere() as service:
        assert "demo_account_locked" not in service.output
        service.sign_in(password="a better horse")


def test_a_user_with_the_demo_users_id_is_left_alone(tmp_path: Path, elsewhere: Elsewhere) -> None:
    ada = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
    with elsewhere() as service:
        assert service.call("POST", "/api/auth/register", ada)[0] == 201
    with sqlite3.connect(tmp_path / "var" / "stateroom.db") as database:
        database.execute("UPDATE users SET id = 1")
    with embedded(tmp_path) as service:
        assert service.call("POST", "/api/auth/login", DEMO)[0] == 401
        service.sign_in("ada@example.com", "correct horse")
