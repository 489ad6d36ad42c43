"""Checks of what callers hand in, before any I/O: keys, namespaces, times to live, numbers of settings."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from tiered.errors import ConfigError, InvalidKey, InvalidTtl, InvalidValue

Ttl = float | timedelta | None
READ_ORDERS, FEEDS = ("declared", "measured"), ("write", "journal")
MAX_TTL = 100 * 365 * 86_400.0
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _Keep:
    def __repr__(self) -> str:
        return "KEEP"


KEEP = _Keep()
"""For `update`: leave the expiry as it is."""


def check_key(key: object, limit: int) -> str:
    """`key` if it can be stored: a str of 1 to `limit` UTF-8 bytes without lone surrogates."""
    if type(key) is str and key.isascii() and 0 < len(key) <= limit:
        return key  # most are right at a glance
    if not isinstance(key, str):
        raise InvalidKey(f"a key must be a str, not {type(key).__name__}")
    key = text_of(key)
    if not key:
        raise InvalidKey("a key must not be empty")
    if len(key) > limit:
        raise InvalidKey(f"a key of {len(key)} characters is longer than {limit} UTF-8 bytes; hash it or shorten it")
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKey("a key must be valid Unicode: it has a lone surrogate, which no encoding can store") from None
    if size > limit:
        raise InvalidKey(f"a key of {size} UTF-8 bytes is longer than {limit}; hash it or shorten it")
    return key


def text_of(it: object) -> str:
    """`it` as a plain str: `str` and f-strings ask a subclass, and a member of `class K(str, Enum)` says its name there."""
    return str.__str__(it) if isinstance(it, str) else str(it)


def utf8_size(text: object) -> int:
    """The UTF-8 bytes of `text`; 0 for what is no str, or has a lone surrogate."""
    try:
        return len(text.encode()) if isinstance(text, str) else 0
    except UnicodeEncodeError:
        return 0


def check_keys(keys: Iterable[str], limit: int) -> list[str]:
    """`keys` without repetitions, each checked; a single str is refused, since its characters are hardly what is meant."""
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise InvalidKey(f"keys must be an iterable of str, such as [key], not {type(keys).__name__}")
    return list(dict.fromkeys(check_key(key, limit) for key in keys))


def check_prefix(prefix: object) -> str:
    """`prefix` if keys could start with it: a str without lone surrogates."""
    if not isinstance(prefix, str):
        raise InvalidKey(f"a prefix must be a str, not {type(prefix).__name__}")
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise InvalidKey("a prefix must be valid Unicode: it has a lone surrogate, which no key has") from None
    return text_of(prefix)


def check_function(what: object, taker: str) -> None:
    """Refuse `what` if it is no function but the value itself, or a coroutine; `taker` says who takes which function."""
    if not callable(what):
        raise InvalidValue(f"{taker}, not {type(what).__name__}")


def check_namespace(name: object) -> str:
    """`name` if it can be a namespace: 1 to 64 letters, digits, dots, underscores and dashes."""
    if not isinstance(name, str) or not _NAMESPACE.fullmatch(name):
        raise ConfigError(f"namespace {name!r:.80}: use 1 to 64 ASCII letters, digits, '.', '_' and '-'")
    return text_of(name)


def expiry(ttl: Ttl, now: int) -> int:
    """The Unix ms at which something with `ttl` (seconds or timedelta) expires; 0 for None and math.inf."""
    seconds = lifetime(ttl)
    return 0 if seconds is None else now + max(1, round(seconds * 1000))


def lifetime(ttl: Ttl) -> float | None:
    """`ttl` in seconds, checked as by `ttl_seconds`; None for ever, which `TieredBackend.ttl` calls math.inf."""
    return None if ttl is None or (isinstance(ttl, float) and ttl == math.inf) else ttl_seconds(ttl)


def ttl_seconds(ttl: float | timedelta) -> float:
    """`ttl` in seconds if it is a number greater than zero (and at most 100 years), else `InvalidTtl`."""
    if isinstance(ttl, timedelta):
        ttl = ttl.total_seconds()
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise InvalidTtl(f"ttl must be seconds (int or float), a timedelta or None, not {type(ttl).__name__}")
    if not 0 < ttl <= MAX_TTL:
        raise InvalidTtl(
            f"ttl must be greater than 0 and at most 100 years in seconds, not {_shown(ttl)}; None and math.inf mean no"
            " expiry"
        )
    return float(ttl)


def number(option: str, value: object, low: float, high: float, unit: str = "") -> float:
    """`value` if it is a number from `low` to `high`, else a `ConfigError` that names `option`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{option} must be a number from {low:g} to {high:g}{unit}, not {_shown(value)}")
    return float(value)


def whole(option: str, value: object, low: int, unit: str = "") -> int:
    """`value` if it is an int of at least `low` (and of 63 bits, as SQLite counts), else a `ConfigError` that names `option`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**63:
        raise ConfigError(f"{option} must be a whole number of at least {low}, below 2^63{unit}, not {_shown(value)}")
    return value


def truth(option: str, value: object) -> bool:
    """`value` if it is True or False, else a `ConfigError` that names `option`: "no" would count as True."""
    if not isinstance(value, bool):
        raise ConfigError(f"{option} must be True or False, not {_shown(value)}")
    return value


def choice(option: str, value: object, known: Sequence[str]) -> None:
    """Refuse a `value` that is none of `known`, with a `ConfigError` that names `option`."""
    if value not in known:
        raise ConfigError(f"{option} must be one of {', '.join(map(repr, known))}, not {_shown(value)}")


def expanded(path: str) -> str:
    """`path` with ~ for a home directory written out; `ConfigError` for what no path can be."""
    if "\0" in path:
        raise ConfigError("a path cannot have a NUL character in it")
    return os.path.expanduser(path)


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as it is wherever the process goes later: daemons change their directory. `ConfigError` where nobody can tell."""
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise ConfigError(f"{what} is relative, and the directory that this process is in was removed") from None


def tier_name(name: object) -> str:
    """`name` if it can name a tier: a str that says something."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigError(f"a tier's name must be a printable str that is not empty, not {name!r:.40}")
    return text_of(name)


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return "an int of more than 64 bits"  # Python refuses to print very long ones
    return f"{value!r:.40}"


def meant(name: str, known: Iterable[str]) -> str:
    """A suggestion for a `name` that is none of `known`, to be put behind it; empty if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
