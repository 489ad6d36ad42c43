"""The default codec: what goes in comes out as what it was, or does not go in; garbage is an error, never a value."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered.codecs.msgpack import MsgpackCodec
from tiered.errors import Corrupt, InvalidValue

CODEC = MsgpackCodec()
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from([ZoneInfo("UTC"), timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(seconds=-3661))]),
)
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.complex_numbers(allow_nan=False),
    st.datetimes(timezones=ZONES),
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.frozensets(HASHABLE, max_size=3),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (set, frozenset)):
        return bool(a == b) and {(type(x), repr(x)) for x in a} == {(type(x), repr(x)) for x in b}
    if isinstance(a, (datetime, time)):
        return a == b and a.fold == b.fold and repr(a.tzinfo) == repr(b.tzinfo)
    return repr(a) == repr(b)


@given(VALUES)
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    assert same(CODEC.decode(CODEC.encode(value)), value)


@pytest.mark.parametrize("value", [math.nan, -0.0, math.inf, Decimal("sNaN"), Decimal("1E+5"), 2**64, -(2**63) - 1])
def test_odd_numbers(value: Any) -> None:
    assert repr(CODEC.decode(CODEC.encode(value))) == repr(value)


def test_keys_that_look_alike_stay_apart() -> None:
    value = {1: "int", "1": "str", b"1": "bytes", (1,): "tuple", None: "none", date(2020, 1, 1): "date"}
    assert same(CODEC.decode(CODEC.encode(value)), value)


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Colour.RED,
        OrderedDict(a=1),
        type("S", (str,), {})("x"),
        range(3),
        "\ud800",
        {"\ud800": 1},
        Exception(),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(value: Any) -> None:
    for wrapped in (value, [value], {"k": (value,)}):
        with pytest.raises(InvalidValue):
            CODEC.encode(wrapped)


def test_cycles_and_depth_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidValue):
        CODEC.encode(cycle)
    with pytest.raises(Corrupt):
        CODEC.decode(b"\x91" * 100_000 + b"\xc0")


@given(st.binary(max_size=40))
def test_garbage_is_corrupt_or_plain_data(payload: bytes) -> None:
    try:
        CODEC.decode(payload)
    except Corrupt:
        return


@given(VALUES, st.data())
def test_damaged_payloads_raise_nothing_but_corrupt(value: Any, data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode(value))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        CODEC.decode(bytes(payload))
    except Corrupt:
        return
