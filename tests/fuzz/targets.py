"""What is fuzzed: each target takes any bytes, and raises only if a promise is broken.

A target says what may come out of it: a typed error, or a value that could have gone in. Its seeds are where mutation
begins. `make fuzz` runs them guided by coverage, the suite without that guidance and for a moment.
"""

from __future__ import annotations

import enum
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import zstandard

from tests.frames import PAYLOAD, VERSION, frames, repaired, sealed
from tiered.chain_url import _specs, redact
from tiered.codecs import JsonCodec, MsgpackCodec
from tiered.codecs.compression import Compression
from tiered.codecs.frames import Frames
from tiered.codecs.keys import Keyring, parse
from tiered.config import settings_from
from tiered.entry import (
    expires_at_of,
    is_tombstone,
    keep_until_of,
    namespace_seed,
    open_frame,
    version_of,
)
from tiered.errors import CodecError, ConfigError, Corrupt, InvalidValue, TooLarge, Unreadable

SECRET = "hunter2hunter2"


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: list[bytes]


class Color(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: Any
    color: Color = Color.RED


CODEC = MsgpackCodec(types=[Color, Point])
PLAIN, JSON = MsgpackCodec(), JsonCodec()
VALUES: list[Any] = [
    {"user": 7, "tags": ["a", b"b", None, True, 1.5, -3], "deep": [[[{"x": {}}]]]},
    [(1, {2}, frozenset({3})), {1: 2, (3,): "x"}, 2**70, bytearray(b"x"), 1j],
    [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Paris"), fold=1), time(1)],
    [date(2026, 1, 2), timedelta(1, 2, 3), Decimal("1.50"), UUID(int=7), Point([Point(1)]), Color.RED],
]


def a_plain_frame(data: bytes) -> None:
    """Opens only if it is exactly what would be written."""
    for reader in (version_of, expires_at_of, keep_until_of, is_tombstone):
        reader(data)
    seed = namespace_seed("n")
    for frame in (data, repaired(data)):
        try:
            entry = open_frame(frame, seed, "k")
        except Corrupt:
            continue
        assert frame == repaired(frame) and entry.version == version_of(frame)


@cache
def stores() -> list[tuple[Frames, frozenset[bytes]]]:
    """Stores, and the frames that were made with their keys."""
    found: list[tuple[Frames, frozenset[bytes]]] = []
    for protect in ("encrypt", "sign"):
        some = [frames(protect, compress_above=above, max_size=4096) for above in (None, 0)]
        own = frozenset(frame for it in some for frame in _frames_of(it))
        found += [(it, own) for it in some]
    return found


def _frames_of(it: Frames) -> list[bytes]:
    return [sealed(it), sealed(it, version=1), sealed(it, payload=b""), it.tombstone("k", 5).seal(VERSION)]


def a_sealed_frame(data: bytes) -> None:
    """No value, whatever was done to a frame, even with a checksum that fits."""
    for it, own in stores():
        for frame in (data, repaired(data)):
            try:
                it.open(frame, "k")
            except CodecError:
                continue
            assert frame in own, "a value out of a frame that nobody with a key has made"


def a_compressed_payload(data: bytes) -> None:
    """At most as large as permitted."""
    try:
        payload = Compression(above=0, max_size=4096).decompress(data)
    except (Corrupt, TooLarge):
        return
    assert len(payload) <= 4096


def a_payload(data: bytes) -> None:
    """`Corrupt`, `Unreadable`, or a value that goes in again."""
    for codec in (CODEC, PLAIN, JSON):
        try:
            value = codec.decode(data)
        except (Corrupt, Unreadable):
            continue
        again = codec.encode(value)
        assert codec.encode(codec.decode(again)) == again


def some_keys(data: bytes) -> None:
    """`ConfigError` that shows nothing, or keys of 32 bytes."""
    text = data.decode("utf-8", "replace")
    try:
        keys = parse(text)
        assert all(len(secret) == 32 for secret in Keyring(keys)._keys.values() for secret in [secret.secret])
    except ConfigError as error:
        for word in text.replace(",", " ").split():
            id_, _, secret = word.partition(":")
            shown = str(error).replace(id_, "") if id_ else str(error)
            assert len(secret) < 40 or secret[-20:] not in shown


def a_url(data: bytes) -> None:
    """`ConfigError` or a chain, in no message what may be a password."""
    text = data.decode("utf-8", "replace")
    redact(text)
    for url in (text, f"redis://user:{SECRET}@{text}", f"memory://,redis://:{SECRET}@host:1/0,{text}"):
        try:
            _specs(url)
        except ConfigError as error:
            assert SECRET not in str(error)
        if "://" not in text and "\n" not in text:
            assert SECRET not in redact(url)


def a_configuration(data: bytes) -> None:
    """`ConfigError` or settings."""
    try:
        table = tomllib.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    assert not any(name.startswith("TIERED_") for name in os.environ), "settings of this shell would be fuzzed, too"
    for source in (table, table.get("tiered", {})):
        if isinstance(source, dict):
            try:
                settings = settings_from(source)
                if isinstance(settings.get("url"), str):
                    _specs(settings["url"])
            except (ConfigError, InvalidValue):
                continue


URLS = [
    "memory://?max_entries=100000&max_bytes=64mb,redis://localhost:6379/0?timeout=100ms,file:///var/lib/bot?sync=normal",
    "redis+sentinel://:p%2Cw@a:26379,b:26380,[::1]/mymaster/2?sentinel_password=x,file:./data",
    "rediss+cluster://u:p@[::1]:7000,b:7001?ssl_cert_reqs=none&insecure_tls=yes,unix:///run/redis.sock?db=1&name=x",
    "localhost:6379/0?password=x@y#z,memory://",
    "couchbases://u:p@a,b:1/bucket/scope/collection?durability=majority,file:~bot/x",
]
TOML = [
    '[tiered]\nurl = "memory://,file:./x"\nnamespace = "a"\ndeadline = "250ms"\nshared = false\ncompress_above = "1kb"\n',
    '[[tiered.tiers]]\ntype = "redis"\nurl = "redis://:a,b@localhost/0"\ntimeout = "50ms"\n[[tiered.tiers]]\ntype = "file"\n'
    'directory = "x"\n',
    'url = 7\ntiers = []\nkeys = "env:X"\nprotect = "sign"\nmigrate = "yes"\nmax_depth = 10\nmax_key_bytes = 1e999\n',
]


def _targets() -> dict[str, Target]:
    own = sorted({frame for _, some in stores() for frame in some})
    plain = [sealed(frames(None)), sealed(frames(None, compress_above=0)), frames(None).tombstone("k", 5).seal(9)]
    packed = [CODEC.encode(value) for value in VALUES]
    squeezed = [zstandard.ZstdCompressor(level=level).compress(PAYLOAD * 20) for level in (-1, 1, 19)]
    keys = f"# old\nk1:{'A' * 43}=\nk2:{'B' * 43}=,k3:{'/' * 43}="
    return {
        "plain-frames": Target(a_plain_frame, plain),
        "sealed-frames": Target(a_sealed_frame, own + plain),
        "compression": Target(a_compressed_payload, squeezed),
        "codecs": Target(a_payload, [*packed, b'{"a": [1, -2.5e3, null, true, "x\\u00e9"]}']),
        "keys": Target(some_keys, [keys.encode()]),
        "urls": Target(a_url, [url.encode() for url in URLS]),
        "configuration": Target(a_configuration, [text.encode() for text in TOML]),
    }


TARGETS = _targets()
