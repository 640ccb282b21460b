from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom.errors import DatabaseUnavailable, SettingsError
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import FUTURE_MS, Lifetimes
from stateroom.sessions.sealing import key_ring as module
from stateroom.sessions.sealing.key_ring import KeyRing, fresh_token, load_keys, new_key
from stateroom.settings import Settings, decode_cookie_key

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NAME = "__Host-session"


def ring_of(key: bytes, name: str = NAME, *, deployment: str | None = "one", **options: Any) -> KeyRing:
    known = Deployment(options.pop("deployment_name", ""))
    known.id = deployment
    return KeyRing([key], name, known, Lifetimes(10**16, 10**16, 10**16), **options)


def seal(ring: KeyRing, **changes: object) -> str:
    contents = {
        "token": b"t" * 32, "user_id": 7, "generation": 3, "auth_time": 1_000, "deadline": 9_000,
        "idle_ms": 500, "issued_at": 2_000, "is_persistent": True,
    }  # fmt: skip
    return ring.seal(**(contents | changes))  # type: ignore[arg-type]


@given(
    user_id=st.one_of(
        st.none(),
        st.integers(1, 2**63 - 1),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200),
    ),
    token=st.binary(min_size=32, max_size=32),
    times=st.tuples(*[st.integers(0, 2**53)] * 4),
    is_persistent=st.booleans(),
)
def test_what_was_sealed_is_what_opens(
    user_id: int | str | None, token: bytes, times: tuple[int, int, int, int], *, is_persistent: bool
) -> None:
    ring = ring_of(KEY, NAME)
    auth_time, issued_at, generation, deadline = sorted(times)
    value = ring.seal(
        token, user_id=user_id, generation=generation, auth_time=auth_time, deadline=deadline,
        idle_ms=5, issued_at=issued_at, is_persistent=is_persistent,
    )  # fmt: skip
    opened = ring_of(KEY, NAME).open(value)
    assert opened is not None
    assert (opened.token, opened.user_id, opened.generation, opened.auth_time) == (token, user_id, generation, auth_time)
    assert (opened.deadline, opened.idle_ms, opened.issued_at, opened.is_persistent) == (deadline, 5, issued_at, is_persistent)
    assert type(opened.user_id) is type(user_id)
    assert len(NAME) + len(value) < 4096


@given(st.text(max_size=300))
def test_any_text_is_no_cookie(text: str) -> None:
    assert ring_of(KEY, NAME).open(text) is None


@given(st.data())
def test_a_mangled_cookie_does_not_open(data: st.DataObject) -> None:
    ring = ring_of(KEY, NAME)
    value = seal(ring)
    at = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    mangled = data.draw(
        st.sampled_from([value[:at], value[at:][1:], value[:at] + letter + value[at + 1 :], value + letter, value * 2])
    )
    opened = ring.open(mangled)
    # base64 has spare bits in its last letter: another letter there may still mean the same bytes.
    assert opened is None or (mangled[:-1] == value[:-1] and opened.token == b"t" * 32) or mangled.rstrip("=") == value


def test_a_value_opens_under_its_own_name_only() -> None:
    value = seal(ring_of(KEY, NAME))
    assert ring_of(KEY, NAME).open(value) is not None
    assert ring_of(KEY, "other").open(value) is None


def test_a_value_is_good_for_its_own_purpose_only() -> None:
    ring = ring_of(KEY)
    cookie, bearer = seal(ring), seal(ring, purpose="bearer")
    assert [ring.open(value, purpose) is not None for value in (cookie, bearer) for purpose in ("cookie", "bearer")] == [
        True, False, False, True,
    ]  # fmt: skip


def test_a_bearer_is_bound_to_no_cookies_name() -> None:
    assert ring_of(KEY, "other").open(seal(ring_of(KEY), purpose="bearer"), "bearer") is not None


def test_a_value_opens_in_its_own_deployment_only() -> None:
    value = seal(ring_of(KEY))
    assert ring_of(KEY, deployment="two").open(value) is None
    assert ring_of(KEY, deployment_name="staging").open(value) is None
    # Each part has its length: no two lists of parts look alike.
    assert ring_of(KEY, deployment="on", deployment_name="e").open(value) is None


def test_while_the_deployment_is_unknown_what_looks_like_ours_is_unknown_too() -> None:
    value, unknown = seal(ring_of(KEY)), ring_of(KEY, deployment=None)
    with pytest.raises(DatabaseUnavailable):
        unknown.open(value)
    with pytest.raises(DatabaseUnavailable):
        seal(unknown)
    assert unknown.open("A" * 300) is None
    assert unknown.open(seal(ring_of(OTHER_KEY))) is None, "of a key that is not ours"


def test_a_value_of_the_release_before_is_legacy_and_bound_to_no_deployment() -> None:
    value = seal(ring_of(KEY, seals_former=True))
    with pytest.raises(DatabaseUnavailable):
        ring_of(KEY, deployment=None).open(value)
    opened = ring_of(KEY).open(value)
    assert opened is not None
    assert opened.is_legacy
    assert (opened.token, opened.epoch, opened.created_ms) == (b"t" * 32, "", 0)
    assert ring_of(KEY, "other").open(value) is None


def test_no_value_says_a_longer_life_than_the_settings_allow() -> None:
    known = Deployment()
    known.id = "one"
    strict = KeyRing([KEY], NAME, known, Lifetimes(idle_ms=100, absolute_ms=1000, persistent_ms=5000))
    opened = [
        strict.open(seal(ring_of(KEY), created_ms=10, deadline=10**14, idle_ms=10**14, is_persistent=is_persistent))
        for is_persistent in (False, True)
    ]
    assert [each and (each.idle_ms, each.deadline) for each in opened] == [(100, 1010), (5000, 5010)]


@pytest.mark.parametrize("seals_former", [False, True])
def test_no_time_of_a_value_counts_that_is_later_than_the_value(*, seals_former: bool) -> None:
    """By a key that has leaked anybody can seal a creation in ten years, and with it a deadline in ten years."""
    known = Deployment()
    known.id = "one"
    strict = KeyRing([KEY], NAME, known, Lifetimes(idle_ms=100, absolute_ms=1000, persistent_ms=5000))
    forged = seal(
        ring_of(KEY, seals_former=seals_former), created_ms=10**14, auth_time=10**14, deadline=10**14 + 500, is_persistent=False
    )
    opened = strict.open(forged)
    assert opened is not None
    assert (opened.auth_time, opened.deadline) == (2_000 + FUTURE_MS, 3_000 + FUTURE_MS)
    assert opened.created_ms == (0 if seals_former else 2_000 + FUTURE_MS)


def test_a_value_with_fields_of_a_later_release_opens() -> None:
    later = msgspec.msgpack.encode((b"t" * 32, 7, 0, 0, 1, 2, 3, False, "e", 4, "of a later release", ["pwd"]))
    assert msgspec.msgpack.decode(later, type=module._Contents).epoch == "e"


def test_a_value_of_eight_kilobytes_is_not_looked_at() -> None:
    assert ring_of(KEY, NAME).open("A" * 8192) is None


def test_rotation_opens_old_values_until_their_key_is_gone() -> None:
    ring = ring_of(KEY, NAME)
    old = seal(ring)
    ring.replace([OTHER_KEY, KEY])
    new = seal(ring)
    assert ring.open(old) is not None
    assert ring_of(OTHER_KEY, NAME).open(new) is not None
    ring.replace([OTHER_KEY])
    assert ring.open(old) is None
    assert ring.open(new) is not None


def test_two_seals_of_the_same_contents_differ() -> None:
    ring = ring_of(KEY, NAME)
    assert seal(ring) != seal(ring)


def test_what_these_keys_have_sealed_is_recognised_wherever_it_is_good() -> None:
    ring = ring_of(KEY)
    elsewhere = ring_of(KEY, "another", deployment="two")
    for value in (seal(ring), seal(ring, purpose="bearer"), seal(elsewhere), seal(ring_of(KEY, seals_former=True))):
        assert ring.recognises(value)
        assert ring_of(KEY, deployment=None).recognises(value), "also while the deployment is unknown"
        assert ring.recognises(value[:-3] + "AAA"), "also one that opens nothing"
        assert not ring_of(OTHER_KEY).recognises(value)
        assert not ring.recognises(value[1:])


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_another_value_is_not_recognised(value: str) -> None:
    assert not ring_of(KEY).recognises(value)


def test_the_token_cannot_be_read_off_a_value() -> None:
    value = seal(ring_of(KEY, NAME))
    assert b"tttt" not in base64.urlsafe_b64decode(value + "==")


def test_opened_values_are_remembered_a_bounded_number_of_times() -> None:
    ring = ring_of(KEY, NAME)
    first = seal(ring)
    assert ring.open(first) is ring.open(first)
    for number in range(20_001):
        ring.open(seal(ring, generation=number))
    assert len(ring._opened["cookie"]) <= 20_000


def test_tokens_are_256_bits_and_differ() -> None:
    tokens = {fresh_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {32}


def test_embedded_mode_makes_a_key_and_keeps_it_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, state_dir=tmp_path / "var")
    keys = load_keys(settings)
    assert load_keys(settings) == keys
    assert len(keys[0]) == 32
    kept = tmp_path / "var" / "cookie.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert os.listdir(kept.parent) == ["cookie.key"]


def test_a_spoilt_key_file_stops_startup_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "cookie.key").write_text("nonsense\n")
    with pytest.raises(SettingsError, match=r"cookie\.key.*remove the file"):
        load_keys(Settings(_env_file=None, state_dir=tmp_path))


def test_a_printed_key_is_one_that_the_settings_take() -> None:
    assert len(decode_cookie_key(new_key())) == 32


@pytest.mark.parametrize("user_id", [0, -5])
def test_a_value_for_a_user_who_cannot_be_opens_nothing(user_id: int) -> None:
    """Earlier releases sealed such values."""
    ring = ring_of(KEY)
    assert ring.open(seal(ring, user_id=user_id)) is None
