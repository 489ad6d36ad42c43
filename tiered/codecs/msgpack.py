"""The default codec: MessagePack with types. What goes in comes out as what it was, or does not go in.

str, bytes, bool, None, float, int of 64 bits, list, and dict with str keys are plain MessagePack. Everything else is an
extension whose body is MessagePack again, so nothing stored is ever executed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from tiered.errors import Corrupt, InvalidValue

MAX_DEPTH = 64
_PLAIN = frozenset({bool, type(None), float, bytes})
_INT64 = range(-(2**63), 2**64)

TUPLE, SET, FROZENSET, DICT, BIG_INT, BYTEARRAY, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, COMPLEX = range(1, 14)


class MsgpackCodec:
    """Typed MessagePack. Thread-safe."""

    id = 1
    name = "msgpack"

    def __init__(self) -> None:
        self._encode = Encoder().encode
        self.decode_trusted: Callable[[bytes], Any] = Decoder(ext_hook=_restore).decode
        """`decode` for payloads that this process has checked already: as fast as it gets."""

    def encode(self, value: Any) -> bytes:
        """The payload of `value`; raises `InvalidValue` for what could not come back the same."""
        return self._encode(_plain(value, "value", 0))

    def decode(self, payload: bytes) -> Any:
        """The value of `payload`; raises `Corrupt`."""
        try:
            return self.decode_trusted(payload)
        except (
            msgspec.DecodeError,
            msgspec.ValidationError,
            RecursionError,
            ValueError,
            TypeError,
            OverflowError,
            ArithmeticError,
            KeyError,
            OSError,  # ZoneInfo looks a stored name up on disk
        ) as error:
            raise Corrupt(f"not a payload of this codec: {type(error).__name__}") from error


def _plain(value: Any, path: str, depth: int) -> Any:
    """`value` in terms of what MessagePack keeps without loss; the same object where nothing has to change."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        return _text(value, path)
    if kind is int:
        return value if value in _INT64 else Ext(BIG_INT, _signed(value))
    if depth >= MAX_DEPTH:
        raise InvalidValue(
            f"{path:.200}: nested deeper than {MAX_DEPTH}, or contains itself; store the parts separately"
        )
    if kind is list:
        return _list(value, path, depth + 1)
    if kind is dict:
        return _dict(value, path, depth + 1)
    pack = _PACKERS.get(kind)
    if pack is None:
        raise InvalidValue(
            f"{path:.200} is a {kind.__module__}.{kind.__qualname__}, which would not come back as what it is; "
            "convert it to str, bytes, int, float, list, dict, tuple, set, datetime, Decimal or UUID"
        )
    return pack(value, path, depth + 1)


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"{path:.200} has a lone surrogate, which no encoding can store") from None
    return value


def _list(value: list[Any], path: str, depth: int) -> list[Any]:
    return [_plain(item, f"{path}[{i}]" if depth < 9 else path, depth) for i, item in enumerate(value)]


def _dict(value: dict[Any, Any], path: str, depth: int) -> Any:
    if all(type(key) is str for key in value):
        return {_text(key, path): _plain(item, f"{path}[{key!r:.40}]", depth) for key, item in value.items()}
    pairs = [part for pair in value.items() for part in pair]
    return Ext(DICT, _pack_list(pairs, path, depth))


def _pack_list(value: Any, path: str, depth: int) -> bytes:
    return _ENCODE(_list(list(value), path, depth))


def _signed(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True)


def _zone(value: datetime | time, path: str) -> Any:
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds]
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    raise InvalidValue(f"{path:.200} has a time zone of type {type(zone).__name__}; use datetime.timezone or ZoneInfo")


def _pack_datetime(value: datetime, path: str, depth: int) -> Ext:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return Ext(DATETIME, _ENCODE([naive, value.fold, _zone(value, path)]))


def _pack_time(value: time, path: str, depth: int) -> Ext:
    return Ext(TIME, _ENCODE([value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value, path)]))


_ENCODE = Encoder().encode
_PACKERS: dict[type, Callable[[Any, str, int], Ext]] = {
    tuple: lambda v, path, depth: Ext(TUPLE, _pack_list(v, path, depth)),
    set: lambda v, path, depth: Ext(SET, _pack_list(v, path, depth)),
    frozenset: lambda v, path, depth: Ext(FROZENSET, _pack_list(v, path, depth)),
    bytearray: lambda v, path, depth: Ext(BYTEARRAY, bytes(v)),
    datetime: _pack_datetime,
    date: lambda v, path, depth: Ext(DATE, v.isoformat().encode()),
    time: _pack_time,
    timedelta: lambda v, path, depth: Ext(TIMEDELTA, _ENCODE([v.days, v.seconds, v.microseconds])),
    Decimal: lambda v, path, depth: Ext(DECIMAL, str(v).encode()),
    UUID: lambda v, path, depth: Ext(UUID_, v.bytes),
    complex: lambda v, path, depth: Ext(COMPLEX, _ENCODE([v.real, v.imag])),
}


def _restore(code: int, body: memoryview) -> Any:
    restore = _RESTORERS.get(code)
    if restore is None:
        raise ValueError(f"unknown extension {code}")
    return restore(bytes(body))


def _restore_zone(zone: Any) -> Any:
    if zone is None:
        return None
    return ZoneInfo(zone) if isinstance(zone, str) else timezone(timedelta(*zone)) if any(zone) else UTC


def _restore_clock(kind: Any, body: bytes) -> Any:
    text, fold, zone = _DECODE(body)
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=_restore_zone(zone))


def _restore_dict(body: bytes) -> dict[Any, Any]:
    parts = _DECODE(body)
    return dict(zip(parts[::2], parts[1::2], strict=True))


_DECODE = Decoder(ext_hook=_restore).decode
_RESTORERS: dict[int, Callable[[bytes], Any]] = {
    TUPLE: lambda body: tuple(_DECODE(body)),
    SET: lambda body: set(_DECODE(body)),
    FROZENSET: lambda body: frozenset(_DECODE(body)),
    DICT: _restore_dict,
    BIG_INT: lambda body: int.from_bytes(body, "big", signed=True),
    BYTEARRAY: bytearray,
    DATETIME: lambda body: _restore_clock(datetime, body),
    DATE: lambda body: date.fromisoformat(body.decode()),
    TIME: lambda body: _restore_clock(time, body),
    TIMEDELTA: lambda body: timedelta(*_DECODE(body)),
    DECIMAL: lambda body: Decimal(body.decode()),
    UUID_: lambda body: UUID(bytes=body),
    COMPLEX: lambda body: complex(*_DECODE(body)),
}
