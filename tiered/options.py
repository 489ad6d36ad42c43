"""The options of a backend, by name: how each is read from a text, and what may not be.

For the constructor, which has them as arguments, and for settings, which are checked before a directory is made for nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from tiered.arguments import FEEDS, MAX_TTL, READ_ORDERS, check_namespace, choice, expanded, number, text_of, whole
from tiered.clock import Clock
from tiered.codecs import codec_for
from tiered.codecs.base import MAX_DEPTH, Codec, needs_authentication
from tiered.codecs.keys import Keyring, Source
from tiered.codecs.rules import rules
from tiered.errors import ConfigError
from tiered.notation import Reader, boolean, count, seconds, size


class Options(TypedDict, total=False):
    """The constructor's options, for the type checkers of those who give them by `**options`; a test compares the two."""

    namespace: str
    codec: str | Codec | None
    deadline: float
    staleness: float
    shared: bool
    max_value_bytes: int
    lease_ttl: float
    load_patience: float
    journal: str | os.PathLike[str] | None
    read_order: Literal["declared", "measured"]
    feed: Literal["write", "journal"]
    name: str | None
    trace: bool
    metric_namespaces: int
    serve_unproven: bool | None
    keys: Keyring | Source | None
    protect: str | None
    migrate: bool
    compress_above: int | None
    max_key_bytes: int
    max_depth: int
    clock: Clock


class Settings(Options, total=False):
    """What `from_config` takes beside its source."""

    url: str


OPTIONS: dict[str, Reader] = {
    "namespace": str,
    "codec": str,
    "deadline": seconds,
    "staleness": seconds,
    "shared": boolean,
    "max_value_bytes": size,
    "lease_ttl": seconds,
    "load_patience": seconds,
    "read_order": str,
    "feed": str,
    "journal": expanded,
    "name": str,
    "trace": boolean,
    "metric_namespaces": count,
    "serve_unproven": boolean,
    "keys": str,
    "protect": str,
    "migrate": boolean,
    "compress_above": size,
    "max_key_bytes": size,
    "max_depth": count,
}
"""The settings beside `url`, and how each is read from a string."""
_KINDS: dict[str, tuple[type, ...]] = {
    "namespace": (str,),
    "journal": (str, os.PathLike),
    "protect": (str,),
    "shared": (str, bool),
    "serve_unproven": (str, bool),
    "migrate": (str, bool),
    "name": (str,),
    "trace": (str, bool),
}
"""What the others may be in a file; numbers and durations are numbers or str."""
_CHECKS: dict[str, Callable[[Any], object]] = {
    "deadline": lambda value: number("deadline", value, 0.001, MAX_TTL, " seconds"),
    "staleness": lambda value: number("staleness", value, 0.001, math.inf, " seconds"),
    "lease_ttl": lambda value: number("lease_ttl", value, 0.001, math.inf, " seconds"),
    "load_patience": lambda value: number("load_patience", value, 0.001, math.inf, " seconds"),
    "max_value_bytes": lambda value: whole("max_value_bytes", value, 1),
    "max_key_bytes": lambda value: whole("max_key_bytes", value, 1),
    "metric_namespaces": lambda value: whole("metric_namespaces", value, 0),
    "read_order": lambda value: choice("read_order", value, READ_ORDERS),
    "feed": lambda value: choice("feed", value, FEEDS),
    "namespace": check_namespace,
}


def check(options: Mapping[str, Any]) -> None:
    """Refuse those of `options` that are out of bounds, with a `ConfigError` that names it."""
    for name, check_one in _CHECKS.items():
        if name in options:
            check_one(options[name])


def check_all(settings: Mapping[str, Any]) -> None:
    """Refuse whatever the constructor and its tiers would."""
    check(settings)
    codec = codec_for(settings.get("codec"), settings.get("max_depth", MAX_DEPTH))
    rules(
        compress_above=settings.get("compress_above"),
        max_size=settings.get("max_value_bytes", 1),
        keys=settings.get("keys"),
        protect=settings.get("protect"),
        migrate=settings.get("migrate", False),
        authentic=needs_authentication(codec),
    )
    if not isinstance(shared := settings.get("shared", True), bool):
        raise ConfigError(f"shared must be True or False, not {shared!r:.40}")
    if not isinstance(unproven := settings.get("serve_unproven"), bool | None):
        raise ConfigError(f"serve_unproven must be True, False or None, not {unproven!r:.40}")


def read(name: str, value: Any) -> Any:
    """The value of the option `name` that was given as `value`, in a file or as a text."""
    if name not in OPTIONS or (name in ("codec", "keys") and not isinstance(value, str)):
        return value
    kinds = _KINDS.get(name, (str, int, float))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ConfigError(f"{name}: a {type(value).__name__} cannot work here")
    try:
        return OPTIONS[name](text_of(value))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
