"""Staging and production with one set of keys: what staging gave out opens nothing in production, and is stored nowhere there.

Both have users of the same number. Otherwise a value that opened would go unnoticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from .conftest import MakeDatabase, MakeStore
from .deployments import ADA, Place
from .hosts import BOB, Host, Service, Store

KEYS = {"COOKIE_KEYS": new_key(), "JWT_KEYS": new_token_key()}
SEVEN = "UPDATE users SET id = 7"

Credentials = dict[str, tuple[str, Place]]


def refuses(service: Service, store: Store, credentials: Credentials) -> None:
    """Each of them makes an anonymous visitor, by whatever path it comes, and changes nothing in the store."""
    before = store.sessions()
    for name, (value, place) in credentials.items():
        assert service.whom(value, place) == "nobody", name
        assert service.ask("/api/profile", value, place)[0] == 401, name
    assert store.sessions() == before


def accepts(service: Service, credentials: Credentials) -> None:
    assert {name: service.whom(*each) for name, each in credentials.items()} == dict.fromkeys(credentials, 7)


def test_what_staging_gave_out_opens_nothing_in_production(
    make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Neither a name nor a prefix tells the two apart: only their databases."""
    stores, databases = (make_store(), make_store()), (make_database(), make_database())
    hosts = [
        Host(tmp_path / name, store.node, database, **KEYS)
        for name, store, database in zip(("staging", "production"), stores, databases, strict=True)
    ]
    with hosts[0].serve() as staging, hosts[1].serve() as production:
        for service, user, database in ((staging, ADA, databases[0]), (production, BOB, databases[1])):
            service.register(user)
            database.change(SEVEN)
        theirs, own = staging.credentials(ADA), production.credentials(BOB)
        accepts(staging, theirs)
        accepts(production, own)
        refuses(production, stores[1], theirs)
        refuses(staging, stores[0], own)

        # Production's Redis forgets everything, also whose it is. Lost sessions are stored again now.
        stores[1].flush()
        refuses(production, stores[1], theirs)
        assert production.whom(*own["cookie"]) == 7
        production.settle()
        refuses(production, stores[1], theirs)
        accepts(production, own)
        production.stop()
        with hosts[1].serve() as again:
            refuses(again, stores[1], theirs)
            accepts(again, own)


def test_a_copy_of_productions_database_is_no_staging_until_it_has_an_identity_of_its_own(
    make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """The copy has production's deployment id, its users and its numbers."""
    store, database = make_store(), make_database()
    production = Host(tmp_path / "production", store.node, database, DEPLOYMENT="production", **KEYS)
    with production.serve() as service:
        service.register()
        database.change(SEVEN)
        credentials = service.credentials()
        accepts(service, credentials)
        database.back_up()
        elsewhere = make_store()
        staging = Host(tmp_path / "staging", elsewhere.node, database.copy(), DEPLOYMENT="staging", **KEYS)
        line = staging.refusal()
        assert "DEPLOYMENT: staging here but production in the user database" in line
        assert "stateroom db adopt --new-identity" in line
        adopted = staging.run("db", "adopt", "--new-identity", "--yes")
        assert adopted.returncode == 0, adopted.stderr
        with staging.serve() as other:
            refuses(other, elsewhere, credentials)
            own: Any = other.credentials()
            accepts(other, own)
            refuses(service, store, own)
        accepts(service, credentials)
