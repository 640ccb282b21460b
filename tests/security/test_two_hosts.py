"""Two hosts with one Redis and a user database each: the second one serves no session of the first."""

from __future__ import annotations

from pathlib import Path

from stateroom.sessions.sealing.key_ring import new_key

from .conftest import MakeDatabase, MakeStore
from .hosts import BOB, Host

KEY = new_key()


def test_the_second_host_does_not_start(make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path) -> None:
    """Neither with the first one's keys nor with keys of its own, as another application has."""
    store = make_store()
    first = Host(tmp_path / "first", store.node, make_database(), COOKIE_KEYS=KEY)
    second = Host(tmp_path / "second", store.node, make_database(), COOKIE_KEYS=KEY)
    with first.serve() as service:
        ada, cookie = service.register()
        stored = store.sessions()
        for key in (KEY, new_key()):
            line = second.refusal(COOKIE_KEYS=key)
            assert "DATABASE_URL" in line
            assert "stateroom db adopt" in line
        examined = second.run("doctor")
        assert examined.returncode == 1
        assert "another user database" in examined.stdout
        assert service.whom(cookie) == ada
        assert store.sessions() == stored


def test_adoption_is_on_purpose_and_ends_every_session_of_the_store(
    make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Both users get the same number, so that one would be taken for the other if a session outlived the adoption."""
    store, databases = make_store(), (make_database(), make_database())
    first, second = [Host(tmp_path / f"host-{number}", store.node, each, COOKIE_KEYS=KEY) for number, each in enumerate(databases)]
    with first.serve() as service:
        service.register()
        databases[0].change("UPDATE users SET id = 7")
        cookie = service.sign_in("ada@example.com", "correct horse")
        assert service.whom(cookie) == 7
        stored = store.sessions()
        databases[1].make_schema()  # as the start that is refused does
        asked = second.run("db", "adopt", given="n\n")
        assert asked.returncode == 1
        assert "end every session" in asked.stdout
        assert store.sessions() == stored
        assert service.whom(cookie) == 7

        adopted = second.run("db", "adopt", "--yes")
        assert adopted.returncode == 0, adopted.stderr
        assert store.sessions() == set()
        service.wait_for("foreign_deployment")
        with second.serve() as other:
            other.register(BOB)
            databases[1].change("UPDATE users SET id = 7")
            bob = other.sign_in(BOB["email"], BOB["password"])
            assert other.whom(bob) == 7
            assert other.ask("/api/profile", bob)[1]["user"]["name"] == "Bob"
            assert other.whom(cookie) == "nobody"
            # The first host still runs, against the advice. It goes on with its own journal and ends nobody's session.
            assert service.ask("/api/auth/check", cookie)[1] | {"expires_in": 0} == {
                "authenticated": True, "user_id": 7, "degraded": True, "expires_in": 0,
            }  # fmt: skip
            assert service.whom(bob) == "nobody"
            stored = store.sessions()
            service.sign_in("ada@example.com", "correct horse")
            assert store.sessions() == stored
            assert "journal_lacks_epoch" not in service.output
            assert other.whom(bob) == 7
    assert "stateroom db adopt" in first.refusal()


def test_a_container_that_lost_its_database_does_not_serve_the_sessions_of_before(
    make_store: MakeStore, make_database: MakeDatabase, tmp_path: Path
) -> None:
    store, database = make_store(), make_database()
    host = Host(tmp_path / "host", store.node, database, COOKIE_KEYS=KEY)
    with host.serve() as service:
        _, cookie = service.register()
    database.lose()
    assert "stateroom db adopt" in host.refusal()
    assert host.run("db", "adopt", "--yes").returncode == 0
    with host.serve() as service:
        assert service.whom(cookie) == "nobody"
        ada, own = service.register()
        assert service.whom(own) == ada


def test_a_container_with_an_empty_state_folder_does_not_serve_the_sessions_of_before(
    make_store: MakeStore, tmp_path: Path
) -> None:
    """`DATABASE_URL` is unset: the database is a file in the state folder."""
    store = make_store()
    before, after = [Host(tmp_path / each, store.node, None, COOKIE_KEYS=KEY) for each in ("before", "after")]
    with before.serve() as service:
        _, cookie = service.register()
    assert "stateroom db adopt" in after.refusal()
    assert after.run("db", "adopt", "--yes").returncode == 0
    with after.serve() as service:
        assert service.whom(cookie) == "nobody"


def test_embedded_without_its_database_does_not_serve_the_sessions_of_before(tmp_path: Path) -> None:
    """The append-only file stays. It has the demo user's session, and the demo user always has the number 1."""
    host = Host(tmp_path / "host", None, None)
    with host.serve() as service:
        cookie = service.sign_in()
        assert service.whom(cookie) == 1
    for each in (host.folder / "var").glob("stateroom.db*"):
        each.unlink()
    assert "stateroom db adopt" in host.refusal()
    assert host.run("db", "adopt", "--yes").returncode == 0
    with host.serve() as service:
        assert service.whom(cookie) == "nobody"
        assert service.whom(service.sign_in()) == 1
