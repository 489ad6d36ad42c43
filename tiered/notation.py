"""How durations, sizes, counts and truths are written in URLs, files and variables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tiered.errors import ConfigError

Reader = Callable[[str], Any]
"""What a text stands for; raises `ConfigError`."""
_TIME = "a time, such as 90, 250ms, 10m or 7d"
_SIZE = "a size, such as 64mb or a number of bytes"
_COUNT = "a whole number"


def seconds(text: str) -> float:
    """ "250ms", "1.5s", "2m", "1h", "7d" or a number of seconds."""
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)):
        if text.endswith(suffix):
            return _number(text.removesuffix(suffix), text, _TIME) * factor
    return _number(text, text, _TIME)


def size(text: str) -> int:
    """ "64mb", "512kb", "1gb" or a number of bytes."""
    lower = text.lower()
    for suffix, factor in (("kb", 2**10), ("mb", 2**20), ("gb", 2**30)):
        if lower.endswith(suffix):
            return round(_number(lower.removesuffix(suffix), text, _SIZE) * factor)
    return round(_number(lower, text, _SIZE))


def count(text: str) -> int:
    """A whole number."""
    number = _number(text, text, _COUNT)
    if not number.is_integer():
        raise ConfigError(f"{text!r} is not {_COUNT}")
    return int(number)


def boolean(text: str) -> bool:
    """true/false, yes/no, 1/0."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def _number(text: str, whole: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{whole!r} is not {what}")
    if number < 0:
        raise ConfigError(f"{whole!r} is negative")
    return number
