"""What a worker saw in Redis: kept by session, a bounded number."""

from __future__ import annotations

import pytest

from stateroom.sessions.model.credential import Credential
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.protocol import sightings as module
from stateroom.sessions.protocol.sightings import Sightings
from stateroom.sessions.store.key_names import KeyNames


def credential(handle: str, *, token: bytes = b"t", renewed_ms: int = 0) -> Credential:
    ref = SessionRef("i1", handle)
    return Credential(token, 1, 0, 0, 10**6, 1000, issued_at=renewed_ms, is_persistent=False, ref=ref, renewed_ms=renewed_ms)


def test_every_value_of_a_session_leads_to_one_sighting() -> None:
    sightings = Sightings(KeyNames("p"))
    seen = sightings.of(credential("a", renewed_ms=5))
    assert sightings.of(credential("a", token=b"")) is seen
    assert sightings.of(credential("b")) is not seen
    assert seen.key.endswith(":s:a")


def test_the_latest_renewal_that_any_value_tells_of_counts() -> None:
    sightings = Sightings(KeyNames("p"))
    assert [sightings.of(credential("a", renewed_ms=renewed)).renewed_ms for renewed in (5, 9, 7)] == [5, 9, 9]


def test_those_used_longest_ago_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_AT_MOST", 3)
    sightings = Sightings(KeyNames("p"))
    first, second = sightings.of(credential("a")), sightings.of(credential("b"))
    for handle in ("c", "a", "d"):
        sightings.of(credential(handle))
    assert len(sightings) == 3
    assert sightings.of(credential("a")) is first
    assert sightings.of(credential("b")) is not second


def test_times_of_a_clock_that_was_set_back_are_forgotten() -> None:
    sightings = Sightings(KeyNames("p"))
    sightings.of(credential("a")).seen_ms = 5
    sightings.clear()
    assert sightings.of(credential("a")).seen_ms == 0
