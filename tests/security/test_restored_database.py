"""The user database goes back to a backup while two services use it. Nobody becomes somebody else, and ends hold."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from stateroom.drills.backups import restore_by_rename, restore_in_place
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..patience import PATIENCE_SECONDS, wait_until
from .conftest import MakeStore
from .deployments import ADA, Place
from .hosts import BOB, Hasty, Host, Service, Store
from .user_databases import PostgresDatabase, SqliteFile, UserDatabase

CARLA = {"email": "carla@example.com", "password": "correct mouse", "name": "Carla"}


class Fleet(NamedTuple):
    """Two services, and what they share."""

    services: Sequence[Service]
    store: Store
    database: UserDatabase

    def register(self, at: int, user: Mapping[str, str]) -> tuple[int, str]:
        """Make an account, as soon as the service takes the database for good again."""
        service = self.services[at]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := service.call("POST", "/api/auth/register", user))[0] == 503:
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)  # each try is a request, and there is no event to wait for
        status, document, cookie = answer
        assert status == 201, document
        return int(document["user"]["id"]), cookie

    def replayed(self) -> None:
        """Wait until the rows that there are now have been read, and replayed into the store."""
        [last] = self.database.ask("SELECT max(seq) FROM session_ends")
        wait_until(lambda: self.store.cursor() >= last, "the journal is replayed")

    def sign_out(self, at: int, cookie: str) -> None:
        wait_until(lambda: self.services[at].ask("/api/auth/logout", cookie, method="POST")[0] == 200, "signed out")


@pytest.fixture(params=["sqlite, in place", "sqlite, by rename", "postgresql"])
def fleet(request: pytest.FixtureRequest, make_store: MakeStore, tmp_path: Path) -> Iterator[Fleet]:
    database: UserDatabase
    if request.param == "postgresql":
        database = PostgresDatabase(request.getfixturevalue("postgres"))
    else:
        put_back = restore_in_place if request.param == "sqlite, in place" else restore_by_rename
        database = SqliteFile(tmp_path / "database", put_back)
    store = make_store()
    keys = {"COOKIE_KEYS": new_key(), "JWT_KEYS": new_token_key()}
    first, second = [Host(tmp_path / name, store.node, database, **keys) for name in ("one", "two")]
    with first.serve(kind=Hasty) as one, second.serve(kind=Hasty) as two:
        yield Fleet((one, two), store, database)


def seen(service: Service, value: str, place: Place) -> int | str:
    """Which user it takes the sender for, why the session has ended, or "unavailable". Never half signed in."""
    status, document = service.ask("/api/auth/check", value, place)
    if status == 503:
        return "unavailable"
    assert status == 200, document
    return int(document["user_id"]) if document["authenticated"] else str(document.get("ended", "nobody"))


def becomes(service: Service, value: str, expected: int | str) -> None:
    wait_until(lambda: seen(service, value, "cookie") == expected, f"the session becomes: {expected}")


def test_who_registered_since_the_backup_is_nobody_else_and_is_signed_out(fleet: Fleet) -> None:
    one, two = fleet.services
    fleet.register(0, CARLA)
    carlas = two.credentials(CARLA)
    fleet.database.back_up()
    ada, _ = fleet.register(0, ADA)
    credentials = one.credentials(ADA)
    assert {two.whom(*each) for each in credentials.values()} == {ada}
    fleet.replayed()

    fleet.database.restore()
    bob, bobs = fleet.register(1, BOB)
    assert bob != ada
    observed: dict[str, set[int | str]] = {name: set() for name in credentials}

    def are_out() -> bool:
        now = [{name: seen(service, *each) for name, each in credentials.items()} for service in fleet.services]
        for answers in now:
            for name, answer in answers.items():
                observed[name].add(answer)
        return all(answer == "unknown-user" for answers in now for answer in answers.values())

    wait_until(are_out, "every credential of hers has ended")
    for name, answers in observed.items():
        assert answers <= {ada, "unavailable", "unknown-user"}, name
    for service in fleet.services:
        status, problem = service.ask("/api/profile", credentials["cookie"][0])
        assert (status, problem["reason"]) == (401, "unknown-user")
        assert service.ask("/api/profile", bobs)[1]["user"]["name"] == "Bob"
        assert {service.ask("/api/profile", *each)[1]["user"]["name"] for each in carlas.values()} == {"Carla"}
    wait_until(lambda: any("unknown_user_ended" in service.output for service in fleet.services), "it is logged")
    again, own = fleet.register(0, ADA)
    assert again not in {ada, bob}
    assert two.whom(own) == again


def test_an_end_after_the_restore_is_known_to_the_other_service(fleet: Fleet) -> None:
    """Its row gets a number that was given before. The store gets the sessions back, as from an old disk, so it cannot tell."""
    one, two = fleet.services
    carla, _ = fleet.register(0, CARLA)
    stays, ends_before, ends_after = [one.sign_in(CARLA["email"], CARLA["password"]) for _ in range(3)]
    fleet.database.back_up()
    for number in range(3):
        fleet.register(0, ADA | {"email": f"{number}@example.com"})
    copies = fleet.store.copy_sessions()
    fleet.sign_out(0, ends_before)
    fleet.replayed()

    fleet.database.restore()
    fleet.sign_out(0, ends_after)
    fleet.store.put_back(copies)
    # They know it a lease later at the latest. Until then they believe the store, which has never forgotten a deletion before.
    for service in (two, one):
        becomes(service, ends_after, "logout")
        becomes(service, stays, carla)
    assert any("database_restored" in service.output for service in fleet.services)
    # What was acknowledged before the restore, and is missing in the backup, is committed again.
    fleet.store.put_back(copies)
    for service in fleet.services:
        for value in (ends_before, ends_after):
            becomes(service, value, "logout")


def test_a_sign_out_from_a_moment_before_the_restore_holds(fleet: Fleet) -> None:
    """Perhaps nobody has read its row: only the service that committed it can know that it is missing."""
    one, _ = fleet.services
    fleet.register(0, CARLA)
    ends = one.sign_in(CARLA["email"], CARLA["password"])
    fleet.database.back_up()
    fleet.sign_out(0, ends)
    fleet.database.restore()
    for service in fleet.services:
        becomes(service, ends, "logout")
