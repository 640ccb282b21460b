"""User ids: which there are, and that each comes back from its key as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom.sessions.model.identity import MAX_USER_NUMBER, handle_of, is_handle, user_id_of, user_key

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)


@given(st.one_of(st.integers(1, MAX_USER_NUMBER), TEXTS))
def test_an_id_comes_back_with_its_type(user_id: int | str) -> None:
    back = user_id_of(user_key(user_id))
    assert back == user_id
    assert type(back) is type(user_id)


def test_a_number_and_its_text_are_two_users() -> None:
    assert user_key(7) != user_key("7")


@pytest.mark.parametrize("user_id", [0, -5, MAX_USER_NUMBER + 1, 2**70, 10**200, "", "a" * 201, "a\0b", "\ud800x"])
def test_what_no_store_can_keep_is_refused_where_it_comes_in(user_id: int | str) -> None:
    with pytest.raises(ValueError, match="user id"):
        user_key(user_id)


@pytest.mark.parametrize("user_id", [True, 1.5, b"x", object()])
def test_other_types_are_no_ids(user_id: object) -> None:
    with pytest.raises(TypeError, match="a str or an int"):
        user_key(user_id)  # type: ignore[arg-type]


class Text(str):
    pass


class Number(int):
    pass


@pytest.mark.parametrize("user_id", [Text("ada"), Number(7)])
def test_subclasses_are_no_ids_because_no_sealed_value_can_hold_them(user_id: str | int) -> None:
    with pytest.raises(TypeError, match=r"not (Text|Number); convert it with str"):
        user_key(user_id)


@given(st.binary())
def test_a_handle_has_the_form_of_one(token: bytes) -> None:
    assert is_handle(handle_of(token))


@pytest.mark.parametrize(
    "text", ["", "\ud800", "A" * 21, "A" * 23, "A" * 21 + "\n", "A" * 22 + "\n", "A" * 21 + "\0", "ä" * 22, "A" * 21 + ":"]
)
def test_other_texts_have_not(text: str) -> None:
    assert not is_handle(text)
