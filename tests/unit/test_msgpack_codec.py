"""The default codec: what goes in comes out as what it was, or does not go in; garbage is an error, never a value."""

from __future__ import annotations

import math
import sys
import threading
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from enum import IntEnum
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered.codecs.base import MAX_DEPTH, flat, immutable
from tiered.codecs.msgpack import MsgpackCodec
from tiered.errors import InvalidValue

TZIF = b"TZif2" + bytes(15) + (bytes(4) * 4 + b"\0\0\0\1\0\0\0\4") + bytes(6) + b"UTC\0"
TZIF += TZIF + b"\nUTC0\n"
CODEC = MsgpackCodec()
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from([ZoneInfo("UTC"), timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(seconds=-3661))]),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(max_size=5)),
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
    st.times(timezones=ZONES),
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
        st.binary(max_size=4).map(bytearray),
        st.dictionaries(st.tuples(HASHABLE, st.frozensets(HASHABLE, max_size=2)), inner, max_size=3),
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
        # Not by ==: a NaN is no member of another set.
        return len(a) == len(b) and {(type(x), repr(x)) for x in a} == {(type(x), repr(x)) for x in b}
    if isinstance(a, (datetime, time)):
        return a == b and a.fold == b.fold and repr(a.tzinfo) == repr(b.tzinfo)
    return repr(a) == repr(b)


@given(VALUES)
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    payload = CODEC.encode(value)
    assert same(CODEC.decode(payload), value)
    assert same(CODEC.decode_trusted(payload), value)
    assert CODEC.encode(CODEC.decode(payload)) == payload


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -0.0,
        math.inf,
        complex(math.nan, -0.0),
        *map(Decimal, ("sNaN", "-NaN12", "1E+5", "-0.00", "1E-999999")),
        *(2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_numbers(value: Any) -> None:
    for odd in (value, [value], (value,), {"k": [value, (value, 2**70)]}):
        payload = CODEC.encode(odd)
        back = CODEC.decode(payload)
        assert type(back) is type(odd)
        assert CODEC.encode(back) == payload
    assert not isinstance(value, int) or CODEC.decode(CODEC.encode([value])) == [value]
    assert isinstance(value, int) or repr(CODEC.decode(CODEC.encode(value))) == repr(value)


def test_decimals_do_not_depend_on_the_callers_context() -> None:
    with localcontext(Context(prec=2, capitals=0)):
        payload = CODEC.encode(Decimal("1.2345E+50"))
        assert CODEC.decode(payload) == Decimal("1.2345E+50")
    assert CODEC.decode(payload) == Decimal("1.2345E+50")


def test_keys_that_look_alike_stay_apart() -> None:
    value = {1: "int", "1": "str", b"1": "bytes", (1,): "tuple", None: "none", date(2020, 1, 1): "date"}
    assert same(CODEC.decode(CODEC.encode(value)), value)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_equal_sets_have_equal_payloads(kind: type) -> None:
    for items in (range(0, 4000, 7), map(str, range(300)), [1.5, "a", b"a", None, (1,), frozenset({2, "x"})]):
        listed = list(items)
        assert CODEC.encode(kind(listed)) == CODEC.encode(kind(reversed(listed)))


def test_a_zone_keeps_its_name() -> None:
    for zone in (timezone(timedelta(hours=1), "CET"), timezone(timedelta(0), "UTC"), timezone(timedelta(0)), UTC):
        for value in (datetime(2020, 1, 1, tzinfo=zone), time(1, 2, tzinfo=zone, fold=1)):
            assert same(CODEC.decode(CODEC.encode(value)), value)
    assert CODEC.decode(CODEC.encode(datetime(2020, 1, 1, tzinfo=UTC))).tzinfo is UTC


class Colour(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Zone(tzinfo):
    pass


@dataclass
class Point:
    x: int = 1


REFUSED = [
    object(),
    Colour.RED,
    OrderedDict(a=1),
    defaultdict(list),
    Point(),
    Text("x"),
    range(3),
    memoryview(b""),
    "\ud800",
    Exception(),
    datetime(2020, 1, 1, tzinfo=Zone()),
    time(tzinfo=timezone(timedelta(0), Text("x"))),
    msgspec.Raw(b"\x01"),
    msgspec.msgpack.Ext(1, b""),
    msgspec.UNSET,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_would_come_back_as_something_else_is_refused(value: Any) -> None:
    for wrapped in (value, [value], {"k": (value,)}, (1, [value] * 20), {1: value}):
        with pytest.raises(InvalidValue):
            CODEC.encode(wrapped)


@pytest.mark.parametrize("key", [Text("k"), Colour.RED, (1, Colour.RED), "\ud800"], ids=repr)
def test_keys_that_would_come_back_as_something_else_are_refused(key: Any) -> None:
    for wrapped in ({key: 1}, {"a": 1, key: 1}, [{1: {key: 1}}], ({key},)):
        with pytest.raises(InvalidValue):
            CODEC.encode(wrapped)


def test_a_zone_read_from_a_file_is_refused_whatever_it_calls_itself() -> None:
    for key in ("UTC", "Nowhere/Such", None):
        with pytest.raises(InvalidValue, match="ZoneInfo"):
            CODEC.encode(datetime(2020, 1, 1, tzinfo=ZoneInfo.from_file(BytesIO(TZIF), key=key)))
    assert CODEC.encode(datetime(2020, 1, 1, tzinfo=ZoneInfo.no_cache("UTC")))


def nested(kind: type, levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = {"k": value} if kind is dict else kind([value])
    return value


@pytest.mark.parametrize("kind", [list, dict, tuple, frozenset])
def test_nesting_is_limited(kind: type) -> None:
    deepest = nested(kind, MAX_DEPTH)
    assert CODEC.decode(CODEC.encode(deepest)) == deepest
    for value in (nested(kind, MAX_DEPTH + 1), [deepest], (deepest,), {1: deepest}, nested(kind, 400)):
        with pytest.raises(InvalidValue, match="nested deeper than 64"):
            CODEC.encode(value)


def test_what_contains_itself_is_refused() -> None:
    cycle: list[Any] = [1]
    cycle += [{"again": cycle}, (cycle,)]
    with pytest.raises(InvalidValue, match="contains itself"):
        CODEC.encode(cycle)


def test_a_value_that_another_thread_changes_is_refused_or_consistent() -> None:
    value: dict[str, Any] = {f"key {i}": i for i in range(50)}
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            value["new"] = 1
            del value["new"]

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(300):
            with suppress(InvalidValue):
                assert len(CODEC.decode(CODEC.encode(value))) in (50, 51)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_flat_tells_what_a_copy_shares_nothing_of() -> None:
    assert flat({}) and flat({"a": 1, 2: "b", "c": None, "d": b"", "e": datetime(2020, 1, 1)})
    for value in ({"a": []}, {"a": (1,)}, {"a": {}}, {(1, 2): 3}, {"a": bytearray()}, dict.fromkeys(range(33))):
        assert not flat(value)


def test_immutable_tells_what_may_be_shared() -> None:
    for value in (1, "a", None, (1, ("a", frozenset({b"x"}))), datetime(2020, 1, 1), nested(tuple, MAX_DEPTH)):
        assert immutable(value)
    for value in ([], (1, []), ((1, ({},)),), bytearray(), nested(tuple, MAX_DEPTH + 1), nested(tuple, 100_000)):
        assert not immutable(value)
