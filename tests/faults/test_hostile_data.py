"""Keys that are made to escape, and bytes in Redis that are no frames (faults 7 and 28)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.agents import eventually
from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.errors import InvalidKey

pytestmark = pytest.mark.faults

STORED = [
    "k" * 300,
    "k" * 1024,
    "a\0b",
    "\0",
    "/etc/passwd",
    "../../escaped",
    "..",
    "a\r\nb",
    "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "'; DROP TABLE entries; --",
    "%s%n{0}",
    "*",
    "[a-z]?",
    "tiered:default:1:other",
    "\u202e\u0000\uffff\U0010ffff",
]
REFUSED = ["", "k" * 2**20, "lone \ud800 surrogate", "é" * 513]


@pytest.fixture
def store(redis_server: RedisServer, tmp_path: Path) -> Iterator[TieredBackend]:
    redis_tier = RedisTier(redis_server.url, timeout=5)  # on a busy machine a server may be late
    with TieredBackend([MemoryTier(max_entries=1), redis_tier, FileTier(tmp_path / "store")]) as it:
        yield it


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def test_a_hostile_key_is_stored_in_every_tier_and_escapes_nowhere(
    store: TieredBackend, redis_server: RedisServer, tmp_path: Path
) -> None:
    store.set("other", "untouched")
    for n, key in enumerate(STORED):
        assert store.set(key, n).tiers["redis"] == "ok"
    files = {path.name for path in tmp_path.rglob("*")}
    for chain in ([RedisTier(redis_server.url), FileTier(tmp_path / "store")], [FileTier(tmp_path / "store")]):
        with TieredBackend(chain) as fresh:
            assert fresh.get_many(STORED) == {key: n for n, key in enumerate(STORED)}
            eventually(lambda f=fresh, c=chain: {f.lookup(key).tier for key in STORED} == {c[0].name})
            assert sorted(fresh.keys()) == sorted([*STORED, "other"])
            assert list(fresh.keys("*")) == ["*"]
    assert all(store.delete(key) for key in STORED)
    assert dict(store.items()) == {"other": "untouched"}
    assert files == {"store", "lock", "tiered.sqlite3", "tiered.sqlite3-wal", "tiered.sqlite3-shm"} & files
    assert not list(tmp_path.parent.glob("escaped*"))


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: f"{len(key)} characters")
def test_a_key_that_no_tier_can_keep_is_refused_before_anything_happens(store: TieredBackend, key: str) -> None:
    for act in (lambda: store.set(key, 1), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(InvalidKey):
            act()
    assert list(store.keys()) == []


def flipped(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def cut(frame: bytes) -> bytes:
    return frame[:20]


def foreign(_: bytes) -> bytes:
    return b"theirs"


def pickled(_: bytes) -> bytes:
    return b"cos\nsystem\n(S'false'\ntR."


DAMAGES = [flipped, cut, foreign, pickled]


@pytest.fixture
def damaged(redis_server: RedisServer, raw: redis.Redis, tmp_path: Path) -> Iterator[Callable[..., TieredBackend]]:
    """Opens a store whose Redis holds a damaged entry under k, where the record has "right"."""
    stores: list[TieredBackend] = []

    def open_(damage: Callable[[bytes], bytes]) -> TieredBackend:
        store = TieredBackend([RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0), FileTier(tmp_path)])
        stores.append(store)
        store.set("k", "right")
        (name,) = raw.keys("tiered:default:*:k")
        raw.set(name, damage(raw.get(name)))
        return store

    yield open_
    for store in stores:
        store.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_poison_from_redis(damaged: Callable[..., TieredBackend], damage: Callable[[bytes], bytes]) -> None:
    store = damaged(damage)
    assert {store.get("k") for _ in range(20)} == {"right"}
    assert store.stats()["tiers"]["redis"]["corrupt"] > 0
    assert store.health()["redis"]["breaker"] == "closed"
    store.set("k", "newer")
    assert store.lookup("k").value == "newer"
    eventually(lambda: store.lookup("k").tier == "redis")


@pytest.mark.parametrize("damage", DAMAGES)
def test_convergence_what_is_damaged_in_redis_is_replaced(
    damaged: Callable[..., TieredBackend], damage: Callable[[bytes], bytes]
) -> None:
    store = damaged(damage)
    eventually(lambda: store.get("k") == "right" and store.lookup("k").tier == "redis", seconds=3)
