"""Will's keys as keys of a store: plain ones as they are, none twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered.arguments import check_key
from tiered.codecs.msgpack import MsgpackCodec
from tiered.errors import InvalidKey
from tiered.integrations.will.keys import MAX_BYTES, stored_name

_text = st.text(st.characters(exclude_categories=["Cs"]))
_hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.lists(inner, max_size=3),
    max_leaves=6,
)
_surrogates = st.text(st.characters(categories=["Cs", "Lu"]), max_size=5)


@given(st.lists(_hashable | _surrogates, max_size=12))
def test_keys_never_collide_and_can_be_stored(keys: list[Any]) -> None:
    distinct = {repr(key): key for key in keys}  # 1, True and 1.0 are three keys
    names = {stored_name(key) for key in distinct.values()}
    assert len(names) == len(distinct)
    for name in names:
        assert len(check_key(name, MAX_BYTES).encode()) <= MAX_BYTES


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50).filter(lambda key: key[:7] != "tiered:")
)
def test_a_str_keeps_its_name(key: str) -> None:
    assert stored_name(key) == key


def test_a_name_that_looks_encoded_is_encoded_again() -> None:
    for key in (1, "", "x" * 500):
        name = stored_name(key)
        assert stored_name(name) != name and stored_name(stored_name(name)) != stored_name(name)


@pytest.mark.parametrize(
    "key", [{"a": 1}, {1, 2}, frozenset({1}), ("a", {"b": 1}), [({1},)], object(), (object(),), ("\ud800",)]
)
def test_what_would_not_be_found_again_or_cannot_be_stored_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidKey):
        stored_name(key)


def test_a_key_of_a_subclass_is_the_text_it_is_equal_to() -> None:
    class Name(str):
        def __str__(self) -> str:
            return "another"

    assert stored_name(Name("k")) == "k"
    assert MsgpackCodec().encode(stored_name(Name("k"))) == MsgpackCodec().encode("k")
