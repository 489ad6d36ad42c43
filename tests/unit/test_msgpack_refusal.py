"""What the default codec says when it refuses a value: where, why, and nothing of the value itself."""

from __future__ import annotations

import traceback
from datetime import datetime
from typing import Any

import pytest

from tests.unit.test_msgpack_codec import CODEC, Zone
from tiered.errors import InvalidValue

SECRET = type("SECRET", (), {"__repr__": lambda self: "secret"})()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (SECRET, "value is a "),
        ({"a": [1, {"b": SECRET}]}, "value['a'][1]['b'] is a "),
        ({"a": {(1, SECRET): 1}}, "(key of value['a'])[1] is a "),
        ({"a": {SECRET: 1}}, "key of value['a'] is a "),
        ({7: SECRET}, "value[7] is a "),
        ({("secret",): {b"k": SECRET}}, "value[tuple][b'k'] is a "),
        ({10**5000: SECRET}, "value[int] is a "),
        ([{SECRET}], "element of value[0] is a "),
        ({"k" * 1000: SECRET}, f"value['{'k' * 40}'…] is a "),
        ({"a": "secret\ud800"}, "value['a'] has a lone surrogate"),
        ({"\ud800": 1}, "key of value has a lone surrogate"),
        ([0, datetime(2020, 1, 1, tzinfo=Zone())], "value[1] has a time zone of type Zone"),
    ],
)
def test_a_refusal_says_where_but_not_what(value: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        CODEC.encode(value)
    assert str(caught.value).startswith(path)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_path_in_a_refusal_is_bounded() -> None:
    value: Any = object()
    for letter in "abcdefghij":
        value = {letter * 30: value}
    with pytest.raises(InvalidValue) as caught:
        CODEC.encode(value)
    assert len(str(caught.value).split(" is a ")[0]) <= 200


def test_what_was_not_awaited_is_told_so_and_not_to_register_its_class() -> None:
    async def answer() -> int:
        return 1

    forgotten = answer()
    with pytest.raises(InvalidValue) as caught:
        CODEC.encode({"x": [forgotten]})
    forgotten.close()
    assert str(caught.value) == "value['x'][0] is a coroutine; await it, and store what it returns"
