"""What a codec is, and which values may be shared by reference."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

_ATOMS = frozenset({str, bytes, int, float, bool, type(None), complex, datetime, date, time, timedelta, Decimal, UUID})


class Codec(Protocol):
    """Turns values into bytes and back, without loss. Thread-safe."""

    id: int
    """1 to 255, stored in every frame."""
    name: str

    def encode(self, value: Any) -> bytes:
        """The bytes of `value`; raises `InvalidValue` if it would come back as anything else."""

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`; raises `Corrupt`. Never executes what is stored."""


def immutable(value: Any) -> bool:
    """Whether `value` can be shared between callers: an atom, or a tuple or frozenset of such."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    return kind in (tuple, frozenset) and all(map(immutable, value))
