"""What a codec is, how deep a value may nest, and which values may be shared by reference."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

MAX_DEPTH = 64
"""How many containers may lie inside one another, the outermost included."""
MOST_DEPTH = 200
"""What that can be raised to: encoding and decoding are recursive."""

MOST_FLAT = 32
"""Items of a dict that memory holds as it is and copies; larger ones take less room as payloads."""
_ATOMS = frozenset({str, bytes, int, float, bool, type(None), complex, datetime, date, time, timedelta, Decimal, UUID})
_FROZEN = frozenset({tuple, frozenset})


class Codec(Protocol):
    """Turns values into bytes and back, without loss. Thread-safe."""

    id: int
    """1 to 255, stored in every frame."""
    name: str

    def encode(self, value: Any) -> bytes:
        """The bytes of `value`; raises `InvalidValue` if it would come back as anything else."""

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`; raises `Corrupt`, or `Unreadable` for what is no damage. Never executes what is stored."""


def needs_authentication(codec: Codec) -> bool:
    """Whether `codec` may only see payloads that a key vouches for: one says so that can run what it reads."""
    return bool(getattr(codec, "needs_authentication", False))


def immutable(value: Any) -> bool:
    """Whether `value` can be shared between callers: an atom, or a tuple or frozenset of such, nested within reason."""
    kind = type(value)
    return kind in _ATOMS or (kind in _FROZEN and _all_immutable(value, MAX_DEPTH))


def flat(value: dict[Any, Any]) -> bool:
    """Whether a copy of `value` shares nothing that can be changed, and is made faster than it is decoded."""
    return (
        len(value) <= MOST_FLAT and _ATOMS.issuperset(map(type, value.values())) and _ATOMS.issuperset(map(type, value))
    )


def _all_immutable(items: Iterable[Any], room: int) -> bool:
    if room <= 0:
        return False  # possibly immutable, but nobody may recurse as deep as a value likes
    for item in items:
        kind = type(item)
        if kind not in _ATOMS and not (kind in _FROZEN and _all_immutable(item, room - 1)):
            return False
    return True
