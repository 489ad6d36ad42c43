"""Codecs by name. Another one is an object with `id`, `name`, `encode` and `decode` (codecs/base.py)."""

from __future__ import annotations

from tiered.codecs.base import Codec
from tiered.codecs.msgpack import MsgpackCodec
from tiered.errors import ConfigError

_BY_NAME = {MsgpackCodec.name: MsgpackCodec}


def codec_for(codec: str | Codec | None) -> Codec:
    """The codec of that name, `codec` itself if it is one, or the default for None."""
    if codec is None:
        return MsgpackCodec()
    if isinstance(codec, str):
        if codec not in _BY_NAME:
            raise ConfigError(f"unknown codec {codec!r}; known: {', '.join(_BY_NAME)}")
        return _BY_NAME[codec]()
    return codec
