"""A session's changes are its own."""

from __future__ import annotations

from stateroom import Session, SessionManager, Settings
from stateroom.sessions.sealing.key_ring import KeyRing, new_key
from stateroom.sessions.model.fields import Delta
from stateroom.telemetry.metrics import Metrics


def make_manager() -> SessionManager:
    settings = Settings(_env_file=None, redis_url="redis://localhost", cookie_keys=new_key(), database_url="none")
    return SessionManager(settings, Metrics(), KeyRing(settings.key_ring, "session_id"))


def test_what_is_accepted_untouched_shares_nothing_with_other_sessions() -> None:
    manager = make_manager()
    one, other = Session(manager), Session(manager)
    one.accept(Delta())  # as after a sign-in that stores nothing else
    one["cart"] = ["apple"]
    one.add_flash("success", "for one alone")
    assert one["cart"] == ["apple"]
    assert "cart" not in other
    assert not other.is_touched


def test_a_value_that_was_changed_in_the_store_is_the_sessions_alone() -> None:
    manager = make_manager()
    one, other = Session(manager), Session(manager)
    one.accept_value("count", b"1", 1)
    assert one["count"] == 1
    assert "count" not in other
