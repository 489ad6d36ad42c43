"""Containers as MessagePack: list and dict with str keys as they are, the others as extensions around an array."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from msgspec import Raw
from msgspec.msgpack import Encoder, Ext

from tiered.codecs.collisions import collide
from tiered.codecs.registered import Registry
from tiered.codecs.scalars import BODIES
from tiered.errors import InvalidValue

TUPLE, SET, FROZENSET, DICT = range(1, 5)
REGISTERED = 14

ATOMS: frozenset[type] = frozenset({str, bytes, int, float, bool, type(None)})
"""What MessagePack keeps as it is: only int and str may still turn out to be beyond it."""
_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_SORTABLE = frozenset({str, bytes, int})
_encode = Encoder().encode


def plain(value: Any, room: int) -> bool:
    """Whether `value` is a list or dict that MessagePack keeps without loss, of at most `room` levels."""
    # Written out for speed: every value that is stored passes here, and a generator would double its time.
    if not room:
        return False
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            if type(item) not in ATOMS and not plain(item, room - 1):
                return False
        return True
    if type(value) is list:
        if len(value) > 8 and ATOMS.issuperset(map(type, value)):
            return True
        for item in value:  # noqa: SIM110
            if type(item) not in ATOMS and not plain(item, room - 1):
                return False
        return True
    return False


def shallow(value: Any, room: int) -> bool:
    """Whether the container `value` has at most `room` levels."""
    if not room:
        return False
    if type(value) is dict:
        for key, item in value.items():
            if type(item) in _CONTAINERS and not shallow(item, room - 1):
                return False
            if type(key) is not str and type(key) in _CONTAINERS and not shallow(key, room - 1):
                return False
        return True
    for item in value:  # noqa: SIM110
        if type(item) in _CONTAINERS and not shallow(item, room - 1):
            return False
    return True


def pack(value: Any, room: int, kept: frozenset[type], registry: Registry) -> Any:
    """`value` in terms of what MessagePack keeps without loss; types in `kept` are taken to be that.

    Raises `InvalidValue`, saying why but not where.
    """
    kind = type(value)
    if kind in kept:
        return value
    if kind in BODIES:
        return _pack_scalar(value, kind)
    if kind not in _CONTAINERS and kind not in registry.by_kind:
        raise InvalidValue(_not_storable(kind))
    if room <= 0:
        limit = f"{registry.max_depth} levels (max_depth)"
        raise InvalidValue(f"is nested deeper than {limit}, or contains itself; store the parts separately")
    if kind in registry.by_kind:
        return Ext(REGISTERED, _encode(_pack_items(registry.parts(value), room, kept, registry)))
    if kind is list:
        return _pack_items(value, room, kept, registry)
    if kind is dict:
        return _pack_dict(value, room, kept, registry)
    if kind is tuple:
        return Ext(TUPLE, _encode(_pack_items(value, room, kept, registry)))
    return Ext(SET if kind is set else FROZENSET, _encode(_pack_set(value, room, kept, registry)))


def unpack(code: int, items: list[Any]) -> Any:
    """The container of extension `code` with those `items`."""
    return _MAKERS[code](items)


def unpack_exactly(code: int, items: Any) -> Any:
    """Like `unpack`, for items that `pack` writes: an array, nothing twice; raises ValueError for any other."""
    if type(items) is not list:
        raise ValueError(f"not how extension {code} is written")
    if code != TUPLE and collide(items[::2] if code == DICT else items):
        raise ValueError("hashes that collide")
    value = _MAKERS[code](items)
    if len(value) != (len(items) if code != DICT else len(items) // 2) or (code == DICT and _has_str_keys(value)):
        raise ValueError(f"not how extension {code} is written")
    return value


def _not_storable(kind: type) -> str:
    if hasattr(kind, "__await__"):
        return f"is a {kind.__name__:.80}; await it, and store what it returns"
    return (
        f"is a {kind.__module__:.80}.{kind.__qualname__:.80}, which would not come back as what it is; "
        "convert it to str, bytes, int, float, list, dict, tuple, set, datetime, Decimal or UUID, or register its class:"
        f" MsgpackCodec(types=[{kind.__name__:.80}])"
    )


def _pack_scalar(value: Any, kind: type) -> Any:
    if kind is int and -(2**63) <= value < 2**64:
        return value
    code, body = BODIES[kind]
    return Ext(code, body(value))


def _pack_items(items: Iterable[Any], room: int, kept: frozenset[type], registry: Registry) -> list[Any]:
    return [item if type(item) in kept else pack(item, room - 1, kept, registry) for item in items]


def _pack_dict(value: dict[Any, Any], room: int, kept: frozenset[type], registry: Registry) -> Any:
    if _has_str_keys(value):
        return {k: item if type(item) in kept else pack(item, room - 1, kept, registry) for k, item in value.items()}
    if collide(value):
        raise InvalidValue("has too many keys with the same hash; store it as a list of pairs")
    parts = [part for pair in value.items() for part in pair]
    return Ext(DICT, _encode(_pack_items(parts, room, kept, registry)))


def _has_str_keys(value: dict[Any, Any]) -> bool:
    return all(type(key) is str for key in value)


def _pack_set(value: Collection[Any], room: int, kept: frozenset[type], registry: Registry) -> list[Any]:
    # Sorted, so that equal sets have equal payloads: the order of a set differs from process to process.
    if collide(value):
        raise InvalidValue("has too many members with the same hash; store it as a list")
    kinds = set(map(type, value))
    if len(kinds) == 1 and kinds <= _SORTABLE:
        return _pack_items(sorted(value), room, kept, registry)
    return [Raw(payload) for payload in sorted(map(_encode, _pack_items(value, room, kept, registry)))]


def _make_dict(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


_MAKERS: dict[int, Callable[[list[Any]], Any]] = {TUPLE: tuple, SET: set, FROZENSET: frozenset, DICT: _make_dict}
