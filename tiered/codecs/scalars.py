"""The typed values that hold no others: each is a MessagePack extension with a code and a body of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from msgspec.msgpack import Decoder, Encoder

from tiered.codecs.zones import restore_zone, zone_of

BIG_INT, BYTEARRAY, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, COMPLEX = range(5, 14)
"""1 to 4 are the containers' (codecs/containers.py)."""

_INT64 = range(-(2**63), 2**64)
_encode = Encoder().encode
_parts: Callable[[bytes], list[Any]] = Decoder(list).decode
_decimal_text = Context(capitals=1).to_sci_string  # str() obeys the caller's decimal context


def _big_int(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True)


def _clock(value: datetime | time) -> bytes:
    naive = value.replace(tzinfo=None, fold=0) if value.tzinfo is not None or value.fold else value
    return _encode([naive.isoformat(), value.fold, zone_of(value)])


BODIES: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    int: (BIG_INT, _big_int),
    bytearray: (BYTEARRAY, bytes),
    datetime: (DATETIME, _clock),
    date: (DATE, lambda value: value.isoformat().encode()),
    time: (TIME, _clock),
    timedelta: (TIMEDELTA, lambda value: _encode([value.days, value.seconds, value.microseconds])),
    Decimal: (DECIMAL, lambda value: _decimal_text(value).encode()),
    UUID: (UUID_, lambda value: value.bytes),
    complex: (COMPLEX, lambda value: _encode([value.real, value.imag])),
}
"""By exact type: the code, and what makes the body. For int only where MessagePack's own 64 bits do not do."""


def restore_exactly(code: int, body: bytes) -> Any:
    """Like `RESTORERS[code](body)`, for a body that `BODIES` makes, bit for bit; raises ValueError for any other."""
    value = RESTORERS[code](body)
    if BODIES[type(value)][1](value) != body or (code == BIG_INT and value in _INT64):
        raise ValueError(f"not how extension {code} is written")
    return value


def _restore_clock(kind: type[datetime] | type[time], body: bytes) -> datetime | time:
    text, fold, zone = _parts(body)
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=restore_zone(zone))


RESTORERS: dict[int, Callable[[bytes], Any]] = {
    BIG_INT: lambda body: int.from_bytes(body, "big", signed=True),
    BYTEARRAY: bytearray,
    DATETIME: lambda body: _restore_clock(datetime, body),
    DATE: lambda body: date.fromisoformat(body.decode()),
    TIME: lambda body: _restore_clock(time, body),
    TIMEDELTA: lambda body: timedelta(*_parts(body)),
    DECIMAL: lambda body: Decimal(body.decode()),
    UUID_: lambda body: UUID(bytes=body),
    COMPLEX: lambda body: complex(*_parts(body)),
}
"""By code: what makes the value of a body; raises ValueError, TypeError or ArithmeticError for what is none."""
