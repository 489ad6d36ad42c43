"""Limits hold on writing and on reading, can be set, and say what is beyond them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import FileTier, InvalidKey, InvalidValue, MemoryTier, RedisTier, StoreUnavailable, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.errors import NotApplied, Reason, TooLarge

SLOW = 5.0


def two(directory: Path, **narrow: Any) -> tuple[TieredBackend, TieredBackend]:
    """A store without narrow limits and one with, over the same directory."""
    return TieredBackend([FileTier(directory)]), TieredBackend([FileTier(directory)], **narrow)


def test_the_length_of_a_key(tmp_path: Path) -> None:
    wide, narrow = two(tmp_path, max_key_bytes=8)
    with wide, narrow:
        narrow.set("k" * 8, 1)
        wide.set("k" * 9, 1)
        for act in (lambda: narrow.set("k" * 9, 1), lambda: narrow.get("k" * 9), lambda: narrow.delete("é" * 5)):
            with pytest.raises(InvalidKey, match="longer than 8"):
                act()
        with pytest.raises(InvalidKey, match="1024"):
            wide.set("k" * 1025, 1)


def test_the_size_of_a_value(tmp_path: Path) -> None:
    wide, narrow = two(tmp_path, max_value_bytes=2000)
    with wide, narrow:
        wide.set("k", "x" * 5000)
        with pytest.raises(InvalidValue, match="max_value_bytes"):
            narrow.set("k", "x" * 5000)
        with pytest.raises(StoreUnavailable, match="max_value_bytes") as caught:
            narrow.get("k")
        assert isinstance(caught.value.__cause__, TooLarge)
        with pytest.raises(NotApplied, match="max_value_bytes") as refused:
            narrow.update("k", lambda value: value)
        assert isinstance(refused.value.__cause__, TooLarge)


def test_the_size_of_what_was_compressed(tmp_path: Path) -> None:
    without, narrow = two(tmp_path, max_value_bytes=2000)
    with without, narrow, TieredBackend([FileTier(tmp_path)], compress_above=0) as wide:
        wide.set("k", "x" * 5000)
        assert len(wide._core.chain.record.read("default", "k")[1] or b"") < 200
        with pytest.raises(StoreUnavailable, match="would decompress to 5003 bytes"):
            narrow.get("k")
        assert without.get("k") == "x" * 5000, "what others compress can be read without being told"


def test_the_nesting_of_a_value(tmp_path: Path) -> None:
    wide, narrow = two(tmp_path, max_depth=20)
    deep: Any = 1
    for _ in range(64):
        deep = [deep, 0]
    with wide, narrow:
        wide.set("k", deep)
        with pytest.raises(InvalidValue, match="20 levels"):
            narrow.set("k", deep)
        with pytest.raises(StoreUnavailable, match="nested deeper than 20 levels"):
            narrow.get("k")


def test_the_length_of_a_reply(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever can write to Redis cannot fill the memory of who reads from it."""
    seed = namespace_seed("default")
    small, large = (draft(seed, "k", b"x" * size, 1).seal(2**60) for size in (1000, 8_000_000))
    tier = RedisTier(redis_server.url, timeout=SLOW, connect_timeout=SLOW, max_reply_bytes=2**20)
    with redis.Redis.from_url(redis_server.url) as raw, TieredBackend([tier, FileTier(tmp_path)]) as store:
        eventually(lambda: store.set("k", "right").tiers["redis"] == "ok")
        (name,) = raw.keys("tiered:default:[0-9]*:k")
        for frame in (large, small):
            raw.set(name, frame)
            assert store.get("k") == "right"
        errors = store.stats()["tiers"]["redis"]["errors"]
        assert errors.get("too_large", 0) >= 1 and store.health()["redis"]["breaker"] == "closed"
        raw.set(name, large)
        with pytest.raises(StoreUnavailable, match="max_reply_bytes") as caught:
            tier.get(name.decode().removeprefix("tiered:").removesuffix(":k"), "k")
        assert caught.value.reason is Reason.TOO_LARGE


def test_settings_reach_the_store_from_the_environment_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_KEYS", f"k:{'A' * 43}=")
    path = tmp_path / "tiered.toml"
    path.write_text(
        f'[tiered]\nurl = "memory://,file:{tmp_path}/data?max_pending=7"\nkeys = "env:BOT_KEYS"\nprotect = "sign"\n'
        'codec = "json"\ncompress_above = "1kb"\nmax_key_bytes = 100\nmax_value_bytes = "1mb"\nmax_depth = 5\nmigrate = true\n'
    )
    with TieredBackend.from_config(path) as store:
        rules = store._core.chain.rules
        assert rules.writes is not None and rules.writes.name == "signed" and set(rules.reads) == {0, 4, 8}
        assert rules.max_size == 2**20 and rules.compression._above == 1024 and store._core.chain.max_key_bytes == 100
        assert store._core.chain.codec.name == "json"
        assert isinstance(store._core.chain.record, FileTier) and store._core.chain.record.max_pending == 7
        with pytest.raises(InvalidValue, match="nested"):
            store.set("k", [[[[[[1]]]]]])
    monkeypatch.setenv("TIERED_PROTECT", "encrypt")
    monkeypatch.setenv("TIERED_MIGRATE", "no")
    monkeypatch.setenv("TIERED_COMPRESS_ABOVE", "0")
    with TieredBackend.from_config(path, max_depth=10) as store:
        store.set("k", [[[[[[1]]]]]])
        assert set(store._core.chain.rules.reads) == {4} and store.get("k") == [[[[[[1]]]]]]


def test_a_memory_tier_that_stands_alone_counts_what_it_will_hold() -> None:
    """A frame that is longer sealed than its value must not be acknowledged and then dropped."""
    for protect in (None, "encrypt", "sign"):
        keys = {"k": bytes(32)} if protect else None
        for size in range(1, 400):
            with TieredBackend([MemoryTier(max_bytes=800)], codec="raw", keys=keys, protect=protect) as store:
                try:
                    store.set("k", b"x" * size)
                except Exception as error:
                    assert "max_bytes=800" in str(error)
                    assert store.get("k") is None
                    break
                assert store.get("k") == b"x" * size
        else:
            pytest.fail("it held more than it may")
