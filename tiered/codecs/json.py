"""JSON, for values that other programs read too: what it would change, it refuses."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tiered.codecs.base import MAX_DEPTH
from tiered.codecs.refusal import refusal
from tiered.errors import Corrupt, InvalidValue

_ATOMS = frozenset({str, int, float, bool, type(None)})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(strict=True).decode


class JsonCodec:
    """str, int of 64 bits, finite float, bool, None, list, and dict with str keys, `max_depth` levels deep. Thread-safe."""

    id = 2
    name = "json"

    def __init__(self, *, max_depth: int = MAX_DEPTH) -> None:
        self._max_depth = max_depth

    def encode(self, value: Any) -> bytes:
        """The payload of `value`; raises `InvalidValue` for what could not come back the same."""
        if not _plain(value, self._max_depth):
            raise InvalidValue(refusal(value, self._max_depth, _reason))
        try:
            return _encode(value)
        except (ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: changed by another thread meanwhile
            raise InvalidValue(f"value cannot be written as JSON: {type(error).__name__}") from None

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`; raises `Corrupt`."""
        try:
            value = _decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Corrupt(f"not a payload of this codec: {type(error).__name__}") from None
        if not _plain(value, self._max_depth):
            raise Corrupt("not a payload of this codec: nested too deeply, or a number that is too large")
        return value


def _plain(value: Any, room: int) -> bool:
    kind = type(value)
    if kind in _ATOMS:
        return (kind is not int or -(2**63) <= value < 2**64) and (kind is not float or math.isfinite(value))
    if kind is list:
        return room > 0 and all(_plain(item, room - 1) for item in list(value))
    if kind is dict:
        return room > 0 and all(type(key) is str and _plain(item, room - 1) for key, item in list(value.items()))
    return False


def _reason(value: Any, room: int) -> str | None:
    """Why `value` cannot be stored with `room` levels left; None if it can."""
    if _plain(value, room):
        return None
    kind = type(value)
    if kind in (int, float):
        return "is a number that JSON does not have (not finite, or of more than 64 bits)"
    if kind in (list, dict):
        return "is nested too deeply, contains itself, or has a key that is no str" if room else "is nested too deeply"
    return f"is a {kind.__name__:.80}, which JSON would change; use the default codec, or convert it"
