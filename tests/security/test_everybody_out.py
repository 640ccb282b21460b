"""`stateroom sessions revoke --all` ends every session of the deployment, whoever's, and also while Redis is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..patience import wait_until
from .conftest import MakeDatabase, MakeStore
from .deployments import ADA
from .hosts import BOB, Host, Service, Store
from .user_databases import UserDatabase

REVOKE = ("sessions", "revoke", "--all")


class Fleet(NamedTuple):
    """Two services, what they share, and the host on which the operator works."""

    services: tuple[Service, Service]
    store: Store
    database: UserDatabase
    host: Host

    def seen(self, value: str) -> set[int | str]:
        """What the two services say of the sender of a cookie."""
        return {service.whom(value) for service in self.services}


@pytest.fixture
def fleet(make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path) -> Iterator[Fleet]:
    store, database = make_store(), make_database()
    settings = {"COOKIE_KEYS": new_key(), "JWT_KEYS": new_token_key()}
    hosts = [Host(tmp_path / name, store.node, database, **settings) for name in ("one", "two")]
    with hosts[0].serve() as one, hosts[1].serve() as two:
        yield Fleet((one, two), store, database, hosts[0])


def test_it_asks_first_and_ends_the_sessions_of_accounts_that_the_database_lacks(fleet: Fleet) -> None:
    one, two = fleet.services
    ada, _ = one.register(ADA)
    bob, bobs = one.register(BOB)
    credentials = one.credentials(ADA)
    assert fleet.database.change("DELETE FROM users WHERE id = :id", id=ada) == 1
    assert {two.whom(*each) for each in credentials.values()} == {ada}

    asked = fleet.host.run(*REVOKE, given="n\n")
    assert asked.returncode == 1
    assert "Sign out all users" in asked.stdout
    assert {two.whom(*each) for each in credentials.values()} == {ada}
    assert fleet.seen(bobs) == {bob}

    done = fleet.host.run(*REVOKE, "--yes")
    assert (done.returncode, done.stdout) == (0, "5 sessions ended\n"), done.stderr
    for service in fleet.services:
        assert {service.whom(*each) for each in credentials.values()} == {"everybody"}
        assert service.ask("/api/profile", bobs)[1]["reason"] == "everybody"
    wait_until(lambda: fleet.store.sessions() == set(), "every session is deleted")
    assert fleet.seen(two.sign_in(BOB["email"], BOB["password"])) == {bob}


def test_while_redis_is_unavailable_it_ends_cookies_that_stand_alone(fleet: Fleet) -> None:
    one, two = fleet.services
    ada, _ = one.register(ADA)
    stored = one.sign_in(ADA["email"], ADA["password"])
    fleet.store.stop()
    wait_until(lambda: one.ask("/api/auth/check", stored)[1].get("degraded"), "the cookie stands alone")
    degraded = two.sign_in(ADA["email"], ADA["password"])
    for value in (stored, degraded):
        assert fleet.seen(value) == {ada}

    done = fleet.host.run(*REVOKE, "--yes")
    assert done.returncode == 0, done.stderr
    assert "Redis is unavailable" in done.stdout
    for value in (stored, degraded):
        assert fleet.seen(value) == {"everybody"}
    own = two.sign_in(ADA["email"], ADA["password"])
    assert fleet.seen(own) == {ada}

    # Redis comes back, and has from its disk the sessions and the epoch of before.
    fleet.store.start()
    assert fleet.store.sessions()
    for service in fleet.services:
        service.settle()
    for value in (stored, degraded):
        assert fleet.seen(value) == {"everybody"}
    assert fleet.seen(own) == {ada}
