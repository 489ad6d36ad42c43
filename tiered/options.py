"""The options of a backend, by name: how each is read from a text, and what may not be.

For the constructor, which has them as arguments, and for settings, which are checked before a directory is made for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from tiered.arguments import (
    FEEDS,
    MAX_TTL,
    READ_ORDERS,
    check_namespace,
    choice,
    expanded,
    number,
    text_of,
    tier_name,
    truth,
    whole,
)
from tiered.clock import Clock
from tiered.codecs import codec_for
from tiered.codecs.base import MAX_DEPTH, Codec, needs_authentication
from tiered.codecs.keys import Keyring, Source, keyring_of
from tiered.codecs.rules import Rules, rules
from tiered.errors import ConfigError
from tiered.notation import Reader, boolean, count, seconds, size
from tiered.tiers.file_place import path_of


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


Check = Callable[[str, Any], object]
"""Of a name and its value; raises `ConfigError`."""


class Option(NamedTuple):
    """An option beside the tiers and the clock."""

    read: Reader
    """From a text."""
    kinds: tuple[type, ...] = ()
    """What it may be in a file; anything if there are none, and what is no text is taken as it is."""
    check: Check | None = None
    """None: the codec and the rules see to it."""


def _time(name: str, value: Any) -> float:
    return number(name, value, 0.001, MAX_TTL, " seconds")  # what is longer than that, no system waits for


def _from(low: int) -> Check:
    return lambda name, value: whole(name, value, low)


def _one_of(known: tuple[str, ...]) -> Check:
    return lambda name, value: choice(name, value, known)


def _or_none(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


_TEXT, _TRUTH, _NUMBER = (str,), (str, bool), (str, int, float)

OPTIONS: dict[str, Option] = {
    "namespace": Option(str, _TEXT, lambda _, value: check_namespace(value)),
    "codec": Option(str),
    "deadline": Option(seconds, _NUMBER, _time),
    "staleness": Option(seconds, _NUMBER, _time),
    "shared": Option(boolean, _TRUTH, truth),
    "max_value_bytes": Option(size, _NUMBER, _from(1)),
    "lease_ttl": Option(seconds, _NUMBER, _time),
    "load_patience": Option(seconds, _NUMBER, _time),
    "read_order": Option(str, _TEXT, _one_of(READ_ORDERS)),
    "feed": Option(str, _TEXT, _one_of(FEEDS)),
    "journal": Option(expanded, (str, os.PathLike), _or_none(lambda name, value: path_of(value, name))),
    "name": Option(str, _TEXT, _or_none(lambda _, value: tier_name(value))),
    "trace": Option(boolean, _TRUTH, truth),
    "metric_namespaces": Option(count, _NUMBER, _from(0)),
    "serve_unproven": Option(boolean, _TRUTH, _or_none(truth)),
    "keys": Option(str),
    "protect": Option(str, _TEXT),
    "migrate": Option(boolean, _TRUTH),
    "compress_above": Option(size, _NUMBER),
    "max_key_bytes": Option(size, _NUMBER, _from(1)),
    "max_depth": Option(count, _NUMBER),
}
"""By name: the settings beside `url`."""


def forms(options: Mapping[str, Any]) -> tuple[Codec, Rules]:
    """The codec and the rules of frames that `options` ask for; all of them are checked, and what is none is passed over.

    Raises `ConfigError`, which names the option.
    """
    for name, option in OPTIONS.items():
        if name in options and option.check is not None:
            option.check(name, options[name])
    codec, keys = codec_for(options.get("codec"), options.get("max_depth", MAX_DEPTH)), options.get("keys")
    return codec, rules(
        compress_above=options.get("compress_above"),
        max_size=options.get("max_value_bytes", 1),
        keys=None if keys is None else keyring_of(keys),
        protect=options.get("protect"),
        migrate=options.get("migrate", False),
        authentic=needs_authentication(codec),
    )


def read(name: str, value: Any) -> Any:
    """The value of the option `name` that was given as `value`, in a file or as a text."""
    option = OPTIONS.get(name)
    if option is None or not (option.kinds or isinstance(value, str)):
        return value
    kinds = option.kinds or _TEXT
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ConfigError(f"{name}: a {type(value).__name__} cannot work here")
    try:
        return option.read(text_of(value))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
