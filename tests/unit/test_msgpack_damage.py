"""The default codec and stored bytes that it did not write: `Corrupt`, or a value that it could have written."""

from __future__ import annotations

import struct
import sys
import traceback
import tracemalloc
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from tests.unit.test_msgpack_codec import CODEC, VALUES, nested, same
from tiered.codecs import msgpack
from tiered.codecs.base import MAX_DEPTH
from tiered.codecs.containers import ATOMS, DICT, FROZENSET, SET, TUPLE
from tiered.codecs.scalars import (
    BIG_INT,
    COMPLEX,
    DATE,
    DATETIME,
    DECIMAL,
    TIME,
    TIMEDELTA,
    UUID_,
)
from tiered.errors import Corrupt, InvalidValue

NOON = datetime(2024, 5, 6, 12, 0, 0, 7)
SAMPLES: list[Any] = [
    {"user": "x", "count": 3, "tags": ["a", "b"], "ratio": 1.5, "none": None, "yes": True, "deep": {"é": b"\xff" * 9}},
    [NOON, NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=timezone(timedelta(hours=1), "CET"), fold=1)],
    [NOON.replace(tzinfo=ZoneInfo("Europe/Paris")), time(1, 2, 3, 4), date(2024, 2, 29), timedelta(-1, 2, 3)],
    {1: {"a": (1, (2, "b"))}, (1, "x"): {frozenset({1, 2}): {"a", "b"}}, None: [set(), ()]},
    [2**64, -(2**80), -1, -(2**63), Decimal("-1.50E+7"), UUID(int=7), complex(1, -2), bytearray(b"abc"), -200],
]


def encoded(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def ext(code: int, body: bytes) -> bytes:
    return encoded(Ext(code, body))


def check(payload: bytes) -> None:
    """Decode `payload`: nothing but `Corrupt`, or a value that goes in and comes out again."""
    try:
        value = CODEC.decode(payload)
    except Corrupt:
        return
    again = CODEC.encode(value)
    assert again == payload or type(value) in ATOMS or not msgpack._TIMESTAMP.search(payload)
    assert same(CODEC.decode(again), value)


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_every_truncation_and_every_flipped_bit_is_corrupt_or_a_value(sample: Any) -> None:
    payload = CODEC.encode(sample)
    assert same(CODEC.decode(payload), sample)
    for length in range(len(payload)):
        with pytest.raises(Corrupt):
            CODEC.decode(payload[:length])
    with pytest.raises(Corrupt):
        CODEC.decode(payload + b"\0")
    for position in range(len(payload)):
        for bit in range(8):
            damaged = bytearray(payload)
            damaged[position] ^= 1 << bit
            check(bytes(damaged))


@given(st.binary(max_size=40))
def test_garbage_is_corrupt_or_plain_data(payload: bytes) -> None:
    check(payload)


@given(VALUES, st.data())
def test_damaged_payloads_raise_nothing_but_corrupt(value: Any, data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode(value))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(payload))


@given(st.integers(-3, 20), st.one_of(st.binary(max_size=20), VALUES.map(CODEC.encode)), st.booleans())
def test_forged_extensions_raise_nothing_but_corrupt(code: int, body: bytes, inside: bool) -> None:
    check(b"\x91" * inside + ext(code, body))


def _texts(code: int, *texts: str) -> list[bytes]:
    return [ext(code, text.encode()) for text in texts]


def _lists(code: int, *bodies: Any) -> list[bytes]:
    return [ext(code, encoded(body)) for body in bodies]


FORGED = [
    *(b"\xd6\xff\0\0\0\1", b"\xd7\xff" + bytes(8), b"\xc7\x0c\xff" + bytes(12), b"\xc7\x04\xff\0\0\0\1"),
    *(b"\xc8\0\x04\xff\0\0\0\1", b"\xc9\0\0\0\x08\xff" + bytes(8), b"\x91\xd6\xff\0\0\0\1"),
    *(ext(0, b"a"), ext(14, b"a"), ext(127, b""), ext(-2, b"a"), b"", b"\xc1"),
    *[ext(code, encoded(body)) for code in (TUPLE, SET, FROZENSET, DICT) for body in ("ab", b"ab", {"a": 1}, 1, None)],
    *[ext(code, b"\x91\xc0\xc0") for code in (TUPLE, SET, FROZENSET, DICT, TIMEDELTA)],
    *_lists(SET, [1, 1], [[]], [1, True]),
    *_lists(FROZENSET, [1, 1], [{}]),
    *_lists(DICT, [1], [1, 2, 1, 3], [[], 1], [], ["a", 1], [1, 2, 3]),
    *[ext(BIG_INT, body) for body in (b"", b"\5", bytes(9), b"\0\xff" + bytes(7), b"\0\0\1" + bytes(8))],
    *_texts(DECIMAL, "1_0", "", "x", " 1", "1 ", "1e5", "+1", "01E", "\u0661", "nan", "1E+99999999999999999999"),
    *_texts(DATE, "20240101", "2024-W01-1", "2024-02-30", "", "2024-01-01T00:00:00"),
    *_lists(DATETIME, ["20240101", 0, None], ["2024-01-01T00:00:00+01:00", 0, None], ["2024-01-01T00:00:00", 2, None]),
    *_lists(DATETIME, ["2024-01-01T00:00:00", False, None], ["2024-01-01T00:00:00", 0], [1, 0, None], "abc"),
    *_lists(TIME, ["25:00:00", 0, None], ["01:00", 0, None], ["01:00:00", 0, [9, 0, 0]], ["01:00:00", 0, [0, 0, 0, 1]]),
    *_lists(TIME, ["01:00:00", 0, [0.0, 0, 0]], ["01:00:00", 0, []], ["01:00:00", 0, {}], ["01:00:00", 0, 1]),
    *_lists(TIMEDELTA, [0, 86400, 0], [0.5, 0, 0], [10**9, 0, 0], [0, 0, 0, 0], [], {"days": 1}, ["1", 0, 0]),
    *(ext(UUID_, bytes(15)), ext(UUID_, b""), ext(UUID_, bytes(17))),
    *_lists(COMPLEX, [1, 2], [1.0], ["1", 2.0], "1j", [1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize("payload", FORGED, ids=bytes.hex)
def test_what_encode_never_writes_is_corrupt(payload: bytes) -> None:
    for wrapped in (payload, b"\x91" + payload, b"\x81\xa1k" + payload, ext(TUPLE, b"\x91" + payload)):
        with pytest.raises(Corrupt):
            CODEC.decode(wrapped)


def test_bytes_that_look_like_a_timestamp_are_not_taken_for_one() -> None:
    lookalike = b"\xd6\xff\0\0\0\1"
    for value in ([lookalike], {"a": (NOON, {lookalike, b""}, -1)}, [struct.unpack(">q", b"\xd6\xff" + bytes(6))[0]]):
        assert CODEC.decode(CODEC.encode(value)) == value


ZONE_NAMES = ["../x", "/etc/passwd", "Europe", "Europe/", "/", "", ".", "..", "a\0b", "x" * 10_000, "a/" * 5_000]
ZONE_NAMES += [
    "zone.tab",
    "tzdata.zi",
    "é",
    "Europe//Paris",
    "Europe/../Europe/Paris",
    "Nowhere/Such",
    "C:\\x",
    "UTC\n",
]


@pytest.fixture(params=["with the system's time zones", "without any"])
def zone_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    with_data = request.param.startswith("with ")
    ZoneInfo.clear_cache()
    if not with_data:
        for name in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
            monkeypatch.setitem(sys.modules, name, None)
        zoneinfo.reset_tzpath(to=[])
    yield with_data
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()


def test_hostile_zone_names_are_corrupt(zone_data: bool) -> None:
    for name in ZONE_NAMES:
        with pytest.raises(Corrupt):
            CODEC.decode(ext(DATETIME, encoded(["2024-01-01T00:00:00", 0, name])))
    known = ext(DATETIME, encoded(["2024-01-01T00:00:00", 0, "Europe/Paris"]))
    if zone_data:
        assert CODEC.decode(known) == datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))
    else:
        with pytest.raises(Corrupt):
            CODEC.decode(known)


def bombs() -> Iterator[bytes]:
    for header in (
        b"\x91",
        b"\x81\xa1k",
        b"\x81",
        b"\xdd\0\0\0\1",
        b"\xdf\0\0\0\1\1",
        b"\x9f",
        b"\xc9\xff\xff\xff\xff\1",
    ):
        yield header * 100_000
        yield header * 100_000 + b"\xc0"
    for header in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9", b"\x91\xdd", b"\x81\xdd"):
        yield header + b"\xff\xff\xff\xff"
        yield header + b"\x7f\xff\xff\xff\1\1\1"
        yield (header + b"\0\x0f\xff\xff") * 50
    for code in (TUPLE, DICT, FROZENSET, DATETIME):
        body = b"\x92\1\2"
        for _ in range(2_000):
            body = b"\xc9" + struct.pack(">Ib", len(body), code) + body
            body = b"\x92\1" + body
        yield body


def test_bombs_are_corrupt_and_cost_no_memory() -> None:
    payloads = list(bombs())
    tracemalloc.start()
    try:
        for payload in payloads:
            with pytest.raises(Corrupt):
                CODEC.decode(payload)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [list, dict, tuple])
def test_decode_refuses_what_encode_would_for_its_depth(kind: type) -> None:
    payload = CODEC.encode(nested(kind, MAX_DEPTH))
    assert CODEC.decode(payload) == nested(kind, MAX_DEPTH)
    for deeper in (
        b"\x91" + payload,
        b"\x81\xa1k" + payload,
        ext(TUPLE, b"\x91" + payload),
        ext(DICT, b"\x92\1" + payload),
    ):
        with pytest.raises(Corrupt):
            CODEC.decode(deeper)


def test_many_containers_side_by_side_are_not_deep() -> None:
    value = [{"a": [i], "b": ({i}, "и" * 9)} for i in range(200)]
    assert CODEC.decode(CODEC.encode(value)) == value


def test_numbers_that_were_chosen_for_their_hash_hang_nobody() -> None:
    modulus = sys.hash_info.modulus
    members = [UUID(int=modulus * n) for n in range(1, 50_000)]  # a set of them takes a minute
    stored = [Ext(UUID_, it.bytes) for it in members]
    for code, items in ((SET, stored), (FROZENSET, stored), (DICT, [part for it in stored for part in (it, 0)])):
        with pytest.raises(Corrupt, match="ValueError"):
            CODEC.decode(encoded(Ext(code, encoded(items))))
    for value in (set(members[:65]), frozenset(members[:65]), dict.fromkeys(members[:65])):
        with pytest.raises(InvalidValue, match="with the same hash"):
            CODEC.encode([value])
    for value in (set(members[:64]), dict.fromkeys(members[:64]), tuple(members[:65]), {*range(-99, 99)}):
        assert CODEC.decode(CODEC.encode(value)) == value


@pytest.mark.parametrize("code", [TUPLE, FROZENSET])
def test_numbers_that_take_hours_to_compare_hang_nobody(code: int) -> None:
    exponent = 61 * 2_000_000  # such a power of two has the hash of 1
    stored = Ext(BIG_INT, (1 << exponent).to_bytes(exponent // 8 + 1, "big", signed=True))
    pair = [Ext(DECIMAL, b"1"), stored]
    for payload in (pair, [Ext(code, encoded([it])) for it in pair]):
        with pytest.raises(Corrupt, match="ValueError"):
            CODEC.decode(encoded(Ext(SET, encoded(payload))))
    for value in ({Decimal(1), 2**61}, {1, 2**6100}, {Decimal(2), 1 << exponent}):
        assert CODEC.decode(CODEC.encode(value)) == value


def test_running_out_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(payload: bytes) -> Any:
        raise MemoryError

    monkeypatch.setattr(CODEC, "_decode_exactly", no_memory)
    with pytest.raises(MemoryError):
        CODEC.decode(b"\xc0")


def test_corrupt_quotes_nothing_of_what_is_stored() -> None:
    for payload in (*_texts(DATE, "secret"), *_lists(TIME, ["secret", 0, None]), *_lists(DATETIME, ["secret"] * 3)):
        with pytest.raises(Corrupt) as caught:
            CODEC.decode(payload)
        assert "secret" not in "".join(traceback.format_exception(caught.value))
