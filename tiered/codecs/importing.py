"""A codec by where it is: "bot.storage:codec", for a shell or a configuration file, which cannot be given an object.

Importing runs the module. So this is only for what the operator himself has written: an argument, a file, a variable of his.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiered.errors import ConfigError

if TYPE_CHECKING:
    from tiered.codecs.base import Codec

_PLACE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")


def is_place(codec: str) -> bool:
    """Whether `codec` looks like a module and the name of a codec in it."""
    return bool(_PLACE.fullmatch(codec))


def imported(place: str) -> Codec:
    """The codec at `place`; raises `ConfigError` if there is none."""
    module, _, path = place.partition(":")
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:  # whatever the module raises while it is imported
        hint = f"; PYTHONPATH must have the directory of {module}" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"codec {place}: {error}{hint}") from error
    if isinstance(found, type) or not all(hasattr(found, name) for name in ("id", "name", "encode", "decode")):
        raise ConfigError(f"codec {place}: a {type(found).__name__} is no codec, such as MsgpackCodec(types=[…])")
    codec: Codec = found
    return codec
