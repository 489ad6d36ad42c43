"""Codecs by name. Another one is an object with `id`, `name`, `encode` and `decode` (codecs/base.py)."""

from __future__ import annotations

from collections.abc import Callable

from tiered.arguments import whole
from tiered.codecs.base import MAX_DEPTH, MOST_DEPTH, Codec
from tiered.codecs.importing import imported, is_place
from tiered.codecs.json import JsonCodec
from tiered.codecs.msgpack import MsgpackCodec
from tiered.codecs.pickle import DillCodec, PickleCodec
from tiered.codecs.raw import RawCodec
from tiered.codecs.registered import Registered, Registry, register
from tiered.errors import ConfigError

__all__ = [
    "DillCodec",
    "JsonCodec",
    "MsgpackCodec",
    "PickleCodec",
    "RawCodec",
    "Registered",
    "Registry",
    "codec_for",
    "register",
]

_BY_NAME: dict[str, Callable[[int], Codec]] = {
    "msgpack": lambda depth: MsgpackCodec(max_depth=depth),
    "json": lambda depth: JsonCodec(max_depth=depth),
    "raw": lambda _: RawCodec(),
    "pickle": lambda _: PickleCodec(),
    "dill": lambda _: DillCodec(),
}
NAMES = {kind.id: kind.name for kind in (MsgpackCodec, JsonCodec, RawCodec, PickleCodec, DillCodec)}
"""By the number that frames have."""


def codec_for(codec: str | Codec | None, max_depth: int = MAX_DEPTH) -> Codec:
    """The codec of that name with values of at most `max_depth` levels, or the default.

    One that is given itself, or by its place ("module:name"), has a limit of its own.
    """
    if whole("max_depth", max_depth, 1) > MOST_DEPTH:
        raise ConfigError(f"max_depth must be at most {MOST_DEPTH}, not {max_depth}")
    if codec is None:
        return MsgpackCodec(max_depth=max_depth)
    if isinstance(codec, str):
        if is_place(codec):
            return imported(codec)
        if codec not in _BY_NAME:
            raise ConfigError(f"unknown codec {codec!r}; known: {', '.join(_BY_NAME)}, module:name")
        return _BY_NAME[codec](max_depth)
    return codec
