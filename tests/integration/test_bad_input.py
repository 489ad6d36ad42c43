"""What cannot work is a typed error in words that help, before anything is written: keys, values, times to live."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import RedisServer
from tiered import (
    FileTier,
    InvalidKey,
    InvalidTtl,
    InvalidValue,
    MemoryTier,
    RedisTier,
    TieredBackend,
    TieredError,
)

State = tuple[dict[str, bytes], dict[bytes, Any], list[Any]]
Call = Callable[[TieredBackend], Any]


@pytest.fixture(scope="module")
def chain(
    shared_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TieredBackend, FileTier, redis.Redis]]:
    """memory → Redis → File with an entry in every tier; nobody else writes to it."""
    directory = tmp_path_factory.mktemp("bad-input")  # of another name each time: workers may come back to this module
    file = FileTier(directory / "data")
    far = RedisTier(shared_redis_server.url, prefix=directory.name)
    with (
        TieredBackend([MemoryTier(), far, file]) as store,
        redis.Redis.from_url(shared_redis_server.url) as client,
    ):
        store.set_many({"there": 1, "text": "x"})
        confirmed(file)
        yield store, file, client


def confirmed(file: FileTier) -> None:
    """Wait until nothing is pending: confirmations are written lazily, and until then a key may be owed."""
    deadline = time.monotonic() + 30
    while file.journal.pending("redis", limit=1):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def unchanged(chain: tuple[TieredBackend, FileTier, redis.Redis]) -> Iterator[TieredBackend]:
    """The store of `chain`; afterwards every tier holds what it held before, byte by byte."""
    store, file, client = chain

    def state() -> State:
        names = sorted(client.scan_iter(f"{file.directory.parent.name}:*"))
        marks = file.journal.pending("redis", limit=100)
        return dict(file.scan("default", "", None, 100).items), {name: client.get(name) for name in names}, marks

    before = state()
    yield store
    assert state() == before and store.get_many(["there", "text"]) == {"there": 1, "text": "x"}


# Keys

BAD_KEYS = {
    "empty": ("", "must not be empty"),
    "1 MiB": ("x" * 2**20, "longer than 1024 UTF-8 bytes"),
    "a byte too long": ("é" * 512 + "x", "longer than 1024; hash it"),
    "a lone surrogate": ("a\ud800b", "lone surrogate"),
    "bytes": (b"k", "must be a str, not bytes"),
    "None": (None, "must be a str, not NoneType"),
    "an int": (7, "must be a str, not int"),
    "unhashable": (["k"], "must be a str, not list"),
}
WITH_A_KEY: dict[str, Callable[[TieredBackend, Any], Any]] = {
    "get": lambda store, key: store.get(key),
    "lookup": lambda store, key: store.lookup(key),
    "get_many": lambda store, key: store.get_many(["there", key]),
    "ttl": lambda store, key: store.ttl(key),
    "[]": lambda store, key: store[key],
    "set": lambda store, key: store.set(key, 1),
    "[]=": lambda store, key: store.__setitem__(key, 1),
    "add": lambda store, key: store.add(key, 1),
    "set_many": lambda store, key: store.set_many(Pairs(("before", 1), (key, 1))),
    "delete": lambda store, key: store.delete(key),
    "del []": lambda store, key: store.__delitem__(key),
    "delete_many": lambda store, key: store.delete_many(["there", key]),
    "touch": lambda store, key: store.touch(key, 5),
    "update": lambda store, key: store.update(key, lambda value: value),
    "increment": lambda store, key: store.increment(key),
    "get_or_set": lambda store, key: store.get_or_set(key, lambda: 1),
    "namespace": lambda store, key: store.namespace("other").set(key, 1),
}


class Pairs:
    """A mapping whose keys need not be hashable."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self._pairs = pairs

    def items(self) -> tuple[tuple[Any, Any], ...]:
        return self._pairs


@pytest.mark.parametrize("operation", WITH_A_KEY)
@pytest.mark.parametrize("kind", BAD_KEYS)
def test_a_key_that_cannot_be_stored_is_refused_and_nothing_is_written(
    unchanged: TieredBackend, operation: str, kind: str
) -> None:
    key, says = BAD_KEYS[kind]
    with pytest.raises(InvalidKey, match=says):
        WITH_A_KEY[operation](unchanged, key)


@pytest.mark.parametrize("operation", ["get_many", "delete_many"])
@pytest.mark.parametrize("keys", ["there", None, 7])
def test_one_key_where_many_are_meant_is_refused(unchanged: TieredBackend, operation: str, keys: Any) -> None:
    with pytest.raises(InvalidKey, match=r"\[key\]"):
        getattr(unchanged, operation)(keys)


@pytest.mark.parametrize("operation", ["keys", "items"])
@pytest.mark.parametrize("prefix", ["a\ud800", None, 7, b"there"])
def test_a_prefix_that_no_key_has_is_refused(unchanged: TieredBackend, operation: str, prefix: Any) -> None:
    with pytest.raises(InvalidKey, match="prefix"):
        list(getattr(unchanged, operation)(prefix))


STRANGE_KEYS = ["../x", "a\0b", "a\nb", "x" * 1024, "é" * 512, " ", "*", "a:b", "{x}", "%00", "\ufeff", "\U0001f600"]
STRANGE_KEYS += ["\u00e9", "e\u0301", "K", "\u212a", "k", "ſ", "s", "a", "a ", "A", "\u0410", "a\u200d"]
"""The second line: what looks alike, or becomes alike when it is normalised or folded, is not the same key."""


def test_a_strange_key_is_just_a_key_in_every_tier(redis_url: str, tmp_path: Path) -> None:
    file = FileTier(tmp_path / "data")
    with (
        TieredBackend([MemoryTier(), RedisTier(redis_url), file]) as store,
        TieredBackend.from_url(f"{redis_url},file:{tmp_path}/data") as other,
    ):
        store.set_many({key: key for key in STRANGE_KEYS})
        confirmed(file)
        store._core.service.keeper.look()  # what is not confirmed yet would be owed by a process that starts
        for key in STRANGE_KEYS:
            assert store.get(key) == key
            assert other.lookup(key)[1:3] == (key, "redis")
        assert sorted(store.keys()) == sorted(STRANGE_KEYS)
        assert dict(store.items()) == store.get_many(STRANGE_KEYS) == {key: key for key in STRANGE_KEYS}
        for number, key in enumerate(STRANGE_KEYS):
            assert store.delete(key)
            assert len(store.get_many(STRANGE_KEYS)) == len(STRANGE_KEYS) - number - 1
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


# Values

BAD_VALUES = {
    "an object": (object(), "convert it to"),
    "a function": (len, "convert it to"),
    "a subclass of str": (type("Text", (str,), {})("x"), "convert it to"),
    "a generator": ((n for n in ()), "convert it to"),
    "a lone surrogate": ("\ud800", "lone surrogate"),
    "deep inside": ({"a": [1, {"b": object()}]}, r"value\['a'\]\[1\]\['b'\]"),
    "a key of a dict": ({object(): 1}, "key of value"),
    "21 MiB": (b"x" * (21 * 2**20), "split it or raise the limit"),
}
WITH_A_VALUE: dict[str, Callable[[TieredBackend, Any], Any]] = {
    "set": lambda store, value: store.set("there", value),
    "[]=": lambda store, value: store.__setitem__("new", value),
    "add": lambda store, value: store.add("new", value),
    "set_many": lambda store, value: store.set_many({"before": 1, "there": value, "after": 1}),
    "update": lambda store, value: store.update("there", lambda _: value),
    "get_or_set": lambda store, value: store.get_or_set("new", lambda: value),
}


@pytest.mark.parametrize("operation", WITH_A_VALUE)
@pytest.mark.parametrize("kind", BAD_VALUES)
def test_a_value_that_the_codec_cannot_keep_is_refused_and_nothing_is_written(
    unchanged: TieredBackend, operation: str, kind: str
) -> None:
    value, says = BAD_VALUES[kind]
    with pytest.raises(InvalidValue, match=says):
        WITH_A_VALUE[operation](unchanged, value)


def test_a_value_that_contains_itself_is_refused(unchanged: TieredBackend) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match="contains itself"):
        unchanged.set("there", endless)


@pytest.mark.parametrize("by", ["1", 1.5, None, True])
def test_only_ints_are_added_to_ints(unchanged: TieredBackend, by: Any) -> None:
    with pytest.raises(InvalidValue, match="increment by an int"):
        unchanged.increment("there", by)
    with pytest.raises(InvalidValue, match="a str is there"):
        unchanged.increment("text")


async def made() -> int:
    raise AssertionError("nobody runs it")


@pytest.mark.parametrize("given", ["a value", None, {"a": 1}])
def test_what_is_no_function_is_refused_in_words(unchanged: TieredBackend, given: Any) -> None:
    with pytest.raises(InvalidValue, match=f"update takes a function of the value, not {type(given).__name__}"):
        unchanged.update("there", given)
    for options in ({}, {"ttl": 60, "refresh_ahead": 5}):
        with pytest.raises(
            InvalidValue, match=f"get_or_set takes a function that makes the value, not {type(given).__name__}"
        ):
            unchanged.get_or_set("new", given, **options)


def test_a_coroutine_is_no_loader(unchanged: TieredBackend) -> None:
    with closing(made()) as coroutine, pytest.raises(InvalidValue, match="makes the value, not coroutine"):
        unchanged.get_or_set("new", coroutine)  # type: ignore[arg-type]


# Times to live

BAD_TTLS = [
    0,
    -1,
    -0.0,
    math.nan,
    -math.inf,
    "10",
    b"",
    [],
    True,
    Decimal(5),
    timedelta(0),
    timedelta(-1),
    timedelta.max,
]
BAD_TTLS += [100 * 365 * 86_400 + 1, 10**400]
WITH_A_TTL: dict[str, Callable[[TieredBackend, Any], Any]] = {
    "set": lambda store, ttl: store.set("there", 2, ttl),
    "set_many": lambda store, ttl: store.set_many({"there": 2, "new": 2}, ttl),
    "add": lambda store, ttl: store.add("new", 2, ttl),
    "touch": lambda store, ttl: store.touch("there", ttl),
    "touch what is absent": lambda store, ttl: store.touch("absent", ttl),
    "update": lambda store, ttl: store.update("there", lambda value: value, ttl=ttl),
    "get_or_set": lambda store, ttl: store.get_or_set("new", lambda: 2, ttl),
    "get_or_set stale_ttl": lambda store, ttl: store.get_or_set("new", lambda: 2, 5, stale_ttl=ttl),
}


@pytest.mark.parametrize("operation", WITH_A_TTL)
@pytest.mark.parametrize("ttl", BAD_TTLS, ids=lambda ttl: f"{type(ttl).__name__} {ttl!r:.12}")
def test_a_ttl_that_makes_no_sense_is_refused_and_nothing_is_written(
    unchanged: TieredBackend, operation: str, ttl: Any
) -> None:
    with pytest.raises(InvalidTtl, match="ttl must be") as caught:
        WITH_A_TTL[operation](unchanged, ttl)
    assert isinstance(caught.value, TieredError) and isinstance(caught.value, ValueError)


def test_a_refresh_that_is_always_due_is_refused_as_a_ttl(unchanged: TieredBackend) -> None:
    for ttl in (None, 5):
        with pytest.raises(InvalidTtl, match="refresh_ahead must be shorter than ttl"):
            unchanged.get_or_set("new", lambda: 2, ttl, refresh_ahead=5)


def test_an_endless_time_in_which_a_value_may_be_stale_is_refused(unchanged: TieredBackend) -> None:
    for options in ({"stale_ttl": math.inf}, {"ttl": math.inf, "refresh_ahead": math.inf}):
        with pytest.raises(ValueError, match="ttl"):
            unchanged.get_or_set("new", lambda: 2, **options)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "ttl", [3650 * 86_400, timedelta(days=3650), 100 * 365 * 86_400], ids=["10 years", "a timedelta", "100 years"]
)
def test_ten_years_are_a_ttl_like_any_other(redis_url: str, tmp_path: Path, ttl: Any) -> None:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    with TieredBackend.from_url(f"memory://,{redis_url},file:{tmp_path}/data") as store:
        assert set(store.set("k", 1, ttl).tiers.values()) == {"ok"}
        assert store.ttl("k") == pytest.approx(seconds, abs=60)


def test_set_many_of_pairs_is_refused_in_words() -> None:
    with (
        TieredBackend([MemoryTier()]) as store,
        pytest.raises(InvalidValue, match="a mapping of keys to values, not a list"),
    ):
        store.set_many([("a", 1)])  # type: ignore[arg-type]


def test_everything_can_be_imported_without_any_extra() -> None:
    program = "import sys; sys.modules['couchbase'] = None; from tiered import *; print(TieredBackend.__name__)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "TieredBackend\n"


def test_the_couchbase_tier_without_its_extra_says_which_one_it_is() -> None:
    program = "import sys; sys.modules['couchbase'] = None; from tiered import CouchbaseTier"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: CouchbaseTier needs the Couchbase SDK: pip install '.[couchbase]'")
