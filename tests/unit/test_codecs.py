"""JSON, raw bytes, pickle and dill: lossless or refused."""

from __future__ import annotations

import importlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_msgpack_codec import nested
from tiered import MemoryTier, TieredBackend
from tiered.codecs import DillCodec, JsonCodec, MsgpackCodec, PickleCodec, RawCodec, codec_for
from tiered.errors import ConfigError, Corrupt, InvalidValue, Unreadable

JSON = JsonCodec()
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_json_comes_back_as_what_it_was_and_others_can_read_it(value: Any) -> None:
    payload = JSON.encode(value)
    assert repr(JSON.decode(payload)) == repr(value)
    assert json.loads(payload) == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((1, 2), "value is a tuple"),
        ({"a": [b"x"]}, "value['a'][0] is a bytes"),
        ({1: 2}, "a key that is no str"),
        ([math.nan], "value[0] is a number"),
        (math.inf, "number"),
        (2**64, "64 bits"),
        ({"a": {1, 2}}, "is a set"),
        (type("Sub", (str,), {})("x"), "is a Sub"),
        (type("Sub", (dict,), {})(), "is a Sub"),
        ("\ud800", "cannot be written"),
        (nested(list, 65), "nested too deeply"),
        (nested(list, 5000), "nested too deeply"),
    ],
)
def test_json_refuses_what_it_would_change(value: Any, says: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        JSON.encode(value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"nan", b"NaN", b'"\\ud800"', b"\xff", b"[1,]", b"1 2", b"[" * 65 + b"]" * 65, b"[" * 100_000, b"'a'"],
)
def test_json_damage_is_corrupt(payload: bytes) -> None:
    with pytest.raises(Corrupt):
        JSON.decode(payload)


def test_raw_bytes_are_what_they_are() -> None:
    codec = RawCodec()
    assert codec.decode(codec.encode(b"\0x")) == b"\0x"
    for value in ("x", bytearray(b"x"), memoryview(b"x"), None, 7):
        with pytest.raises(InvalidValue):
            codec.encode(value)


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and other.name == self.name


@pytest.mark.parametrize("codec", [PickleCodec(), DillCodec()], ids=lambda codec: codec.name)
def test_pickle_and_dill_take_what_they_can(codec: PickleCodec) -> None:
    for value in (Thing("x"), {"a": [Thing("y"), (1, 2)]}, ValueError("z")):
        assert repr(codec.decode(codec.encode(value))) == repr(value) or codec.decode(codec.encode(value)) == value
    if codec.name == "dill":
        assert codec.decode(codec.encode(lambda x: x + 1))(1) == 2
    with pytest.raises(InvalidValue):
        codec.encode(it for it in ())
    for payload in (b"", b"x", codec.encode(Thing("x"))[:-5]):
        with pytest.raises(Corrupt):
            codec.decode(payload)
    for payload in (b"cno_such_module\nx\n.", b"cenum\nNoSuchClass\n."):
        with pytest.raises(Unreadable, match="delete nothing"):
            codec.decode(payload)


def test_dill_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("tiered.codecs.pickle.import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install '\.\[dill\]'"):
        DillCodec()


def test_codecs_have_names_and_numbers_of_their_own() -> None:
    names = ["msgpack", "json", "raw", "pickle", "dill"]
    codecs = [codec_for(name) for name in names]
    assert [codec.name for codec in codecs] == names and [codec.id for codec in codecs] == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="known: msgpack, json, raw, pickle, dill"):
        codec_for("yaml")
    module = importlib.import_module("tiered.codecs")
    assert set(module.__all__) >= {type(codec).__name__ for codec in codecs}


@pytest.mark.parametrize("name", ["pickle", "dill"])
def test_pickle_needs_a_key(name: str) -> None:
    with pytest.raises(ConfigError, match="needs keys"):
        TieredBackend([MemoryTier()], codec=name)
    for protect in ("encrypt", "sign"):
        with TieredBackend([MemoryTier()], codec=name, keys={"k": bytes(32)}, protect=protect) as store:
            store.set("k", Thing("x"))
            assert store.get("k") == Thing("x")


@pytest.mark.parametrize("kind", [MsgpackCodec, JsonCodec])
def test_the_depth_is_a_setting(kind: Any) -> None:
    for depth in (1, 3, 100):
        codec = kind(max_depth=depth)
        deepest, deeper = nested(list, depth), nested(list, depth + 1)
        assert codec.decode(codec.encode(deepest)) == deepest
        with pytest.raises(InvalidValue, match="nested"):
            codec.encode(deeper)
        if depth > 3:  # the default codec takes short payloads at a glance
            with pytest.raises(Corrupt):
                codec.decode(kind(max_depth=200).encode(deeper))
    for wrong in (0, 201, "x", True):
        with pytest.raises(ConfigError, match="max_depth"):
            codec_for(None, wrong)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("no_such_module:codec", "PYTHONPATH must have the directory of no_such_module"),
        ("tiered.codecs:codec", "has no attribute 'codec'"),
        ("tiered.codecs:MsgpackCodec", "a type is no codec"),
        ("os:sep", "a str is no codec"),
        ("os.path", "unknown codec"),
        (".codecs:codec", "unknown codec"),
        ("tiered.codecs:", "unknown codec"),
    ],
)
def test_a_place_where_there_is_no_codec(place: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredBackend.from_config({"url": "memory://", "codec": place})


def test_a_codec_by_its_place_is_the_object_that_is_there() -> None:
    assert codec_for(f"{__name__}:JSON") is JSON
    with TieredBackend.from_url("memory://", codec=f"{__name__}:JSON") as store:
        store.set("k", [1])
        assert store.get("k") == [1]
