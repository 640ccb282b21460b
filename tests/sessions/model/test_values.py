"""What was put into a session is what this request and the next one read; everything else is refused when it is set."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom.sessions.model.fields import data_field
from stateroom.sessions.model.record import SessionRecord
from stateroom.sessions.model.values import MAX_DEPTH, decode, encode_value

TEXTS = st.text(st.characters(codec="utf-8"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class Colour(str, enum.Enum):  # noqa: UP042 (its members are not StrEnum's)
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    CART = "cart"


class Ratio(float):
    pass


class Names(list[str]):
    pass


@dataclasses.dataclass
class Point:
    x: int


FORBIDDEN = {
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "date": dt.date(2026, 1, 1),
    "timedelta": dt.timedelta(1),
    "bytes": b"x",
    "Decimal": decimal.Decimal("1.10"),
    "UUID": uuid.UUID(int=1),
    "Colour": Colour.RED,
    "Level": Level.HIGH,
    "Name": Name.CART,
    "Ratio": Ratio(1.5),
    "Names": Names(["a"]),
    "Point": Point(1),
    "set": {1},
    "frozenset": frozenset({1}),
    "tuple": (1, 2),
    "OrderedDict": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(int, a=1),
    "nan": float("nan"),
    "inf": float("inf"),
    "object": object(),
}


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all through."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(PLAIN)
def test_what_is_stored_is_read_back_with_all_its_types(value: Any) -> None:
    assert same(decode(encode_value("key", value)), value)


@pytest.mark.parametrize("kind", FORBIDDEN)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, x], lambda x: {"a": [{"b": x}]}], ids=["bare", "list", "nested"])
def test_other_types_are_refused_when_they_are_set_and_named(kind: str, wrap: Any) -> None:
    record = SessionRecord()
    with pytest.raises(TypeError, match=rf"session\['when'\].*{kind}"):
        record["when"] = wrap(FORBIDDEN[kind])
    assert "when" not in record
    assert not record.delta()


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), 1.5])
def test_a_dict_has_str_keys_only(key: Any) -> None:
    with pytest.raises(TypeError, match=rf"session\['a'\]\[0\] has a key of the type {type(key).__name__}"):
        SessionRecord()["a"] = [{key: 1}]


def test_a_list_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring += [ring, ring]
    with pytest.raises(TypeError, match="nested"):
        SessionRecord()["a"] = ring


def test_values_may_be_nested_so_deep_and_no_deeper() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    record = SessionRecord()
    record["a"] = value
    with pytest.raises(TypeError, match="nested"):
        record["a"] = [value]


@pytest.mark.parametrize("value", ["\ud800", ["\ud800"], {"\udfff": 1}, {"a": {"b": "x\ud800"}}])
def test_a_lone_surrogate_is_refused_at_once(value: Any) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        SessionRecord()["a"] = value


def test_a_lone_surrogate_in_a_key_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        SessionRecord()["\ud800"] = 1


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_a_key_is_a_str(key: Any) -> None:
    record = SessionRecord()
    record["a"] = 1
    with pytest.raises(TypeError, match="a session key is a str"):
        record[key] = 1
    with pytest.raises(TypeError, match="a session key is a str"):
        record.setdefault(key, 1)
    assert key not in record
    assert record.get(key) is None
    assert record.pop(key, 7) == 7
    with pytest.raises(KeyError):
        record[key]
    with pytest.raises(KeyError):
        del record[key]


def test_a_key_of_an_enumeration_of_texts_is_its_text_in_every_call() -> None:
    record = SessionRecord()
    record[Name.CART] = 1
    assert (record["cart"], record[Name.CART], Name.CART in record, record.get(Name.CART)) == (1, 1, True, 1)
    assert [type(key) for key in record] == [str]
    del record[Name.CART]
    assert "cart" not in record


def test_what_is_mutated_into_a_forbidden_type_is_found_when_it_is_saved() -> None:
    record = SessionRecord()
    record["dates"] = [1]
    record.accept(record.delta())
    record["dates"].append(dt.date(2026, 1, 1))
    with pytest.raises(TypeError, match=r"session\['dates'\]\[1\] has the type date"):
        record.delta()


def test_a_list_that_becomes_a_tuple_of_the_same_json_is_found_too() -> None:
    record = SessionRecord()
    record["pairs"] = [[1, 2]]
    record.accept(record.delta())
    record["pairs"][0] = (1, 2)
    with pytest.raises(TypeError, match="tuple"):
        record.delta()


def test_a_list_that_is_mutated_after_it_was_set_is_stored_as_it_is_then() -> None:
    record, cart = SessionRecord(), ["apple"]
    record["cart"] = cart
    cart.append("pear")
    assert record.delta().values == {data_field("cart"): b'["apple","pear"]'}


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [0, value], lambda value: {"in": [value]}])
def test_an_int_with_too_many_digits_to_be_read_is_refused(wrap: Callable[[int], Any]) -> None:
    record = SessionRecord()
    for value in (10**4300, -(10**4300), -(10**4299)):
        with pytest.raises(ValueError, match=r"session\['n'\] cannot be stored"):
            record["n"] = wrap(value)
    assert "n" not in record
    for value in (10**4299, -(10**4298)):
        assert decode(encode_value("n", wrap(value))) == wrap(value)


def test_many_ints_of_the_greatest_size_can_be_stored() -> None:
    value = [10**4299, -(10**4298), "x" * 9000]
    assert decode(encode_value("n", value)) == value
