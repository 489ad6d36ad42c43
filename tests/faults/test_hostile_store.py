"""Somebody can write to Redis or to the disk, and has no key: nothing runs, nothing is read, swapped or brought back."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from tests.frames import KEYS, PAYLOAD, repaired
from tests.waiting import eventually
from tiered import FileTier, MemoryTier, NotApplied, RedisTier, StoreUnavailable, TieredBackend
from tiered.codecs import MsgpackCodec, PickleCodec
from tiered.entry import ALL_FLAGS, draft, namespace_seed, open_frame, tombstone
from tiered.errors import Untrusted
from tiered.tiers.sqlite import Connection, connect

pytestmark = pytest.mark.faults

SEED = namespace_seed("default")
CODECS = ["msgpack", "json", "pickle"]
SLOW = 5.0


@dataclass
class Registered:
    x: int

    def __post_init__(self) -> None:
        raise AssertionError("reading must not run this")


class Bomb:
    """A pickle of it makes a directory when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def raw(redis_server: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def open_(redis_server: Any, tmp_path: Path) -> Iterator[Callable[..., TieredBackend]]:
    """Opens stores over the same Redis and directory."""
    stores: list[TieredBackend] = []

    def open_store(*, memory: bool = False, **options: Any) -> TieredBackend:
        tiers: list[Any] = [MemoryTier()] if memory else []
        tiers += [RedisTier(redis_server.url, timeout=SLOW, connect_timeout=SLOW), FileTier(tmp_path / "data")]
        stores.append(TieredBackend(tiers, **{"keys": KEYS, **options}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def database(tmp_path: Path) -> Connection:
    return connect(tmp_path / "data" / "tiered.sqlite3")


def put_in_file(tmp_path: Path, key: str, frame: bytes) -> None:
    with closing(database(tmp_path)) as connection:
        connection.execute("UPDATE entries SET frame = ? WHERE key = ?", (frame, key))
        assert connection.changes() == 1


def name_of(raw: redis.Redis, key: str, namespace: str = "default") -> bytes:
    (name,) = raw.keys(f"tiered:{namespace}:[0-9]*:{key}")
    return name


def corrupt(store: TieredBackend) -> int:
    return int(store.stats()["tiers"]["redis"]["corrupt"])


def plain(key: str, payload: bytes, codec: int, version: int = 2**62) -> bytes:
    return draft(SEED, key, payload, codec).seal(version)


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
@pytest.mark.parametrize("codec", CODECS)
def test_no_poison_what_a_forger_puts_into_redis_is_a_counted_miss(
    open_: Callable[..., TieredBackend], raw: redis.Redis, tmp_path: Path, protect: str, codec: str
) -> None:
    store = open_(codec=codec, protect=protect)
    store.set("k", "right")
    assert store.lookup("k").tier == "redis"
    name, bomb = name_of(raw, "k"), tmp_path / "ran"
    real = raw.get(name)
    number = store._core.chain.codec.id
    forgeries = [
        plain("k", b"\xa5wrong", 1),
        plain("k", b'"wrong"', 2),
        plain("k", pickle.dumps(Bomb(bomb)), 4),
        plain("k", pickle.dumps(Bomb(bomb)), number),
        tombstone(SEED, "k", 1).seal(2**62),
        repaired(real[:3] + bytes([real[3] & ~ALL_FLAGS]) + real[4:], "default"),
        repaired(real[:5] + (2**62).to_bytes(8, "big") + real[13:], "default"),
        repaired(real[:33] + pickle.dumps(Bomb(bomb)), "default"),
        *(
            repaired(real[:3] + bytes([flags]) + real[4:33] + pickle.dumps(Bomb(bomb)), "default")
            for flags in range(16)
        ),
    ]
    for n, forged in enumerate(forgeries, 1):
        raw.set(name, forged)
        assert store.get("k") == "right"
        assert corrupt(store) >= n and not bomb.exists()
    eventually(lambda: store.lookup("k").tier == "redis" and store.get("k") == "right")


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
@pytest.mark.parametrize("codec", CODECS)
def test_no_poison_what_a_forger_puts_on_the_disk_is_a_typed_error(
    open_: Callable[..., TieredBackend], tmp_path: Path, protect: str, codec: str
) -> None:
    with TieredBackend([FileTier(tmp_path / "data")], codec=codec, keys=KEYS, protect=protect) as store:
        store.set("k", "right")
        number, bomb = store._core.chain.codec.id, tmp_path / "ran"
        for forged in (
            plain("k", b"\xa5wrong", number),
            plain("k", pickle.dumps(Bomb(bomb)), number),
            tombstone(SEED, "k", 1).seal(2**62),
        ):
            put_in_file(tmp_path, "k", forged)
            with pytest.raises(StoreUnavailable, match="neither encrypted nor signed") as caught:
                store.get("k")
            assert isinstance(caught.value.__cause__, Untrusted)
            for act, kind in (
                (lambda: list(store.items()), StoreUnavailable),
                (lambda: list(store.keys()), StoreUnavailable),
                (lambda: store.update("k", lambda _: 1), NotApplied),
                (lambda: store.touch("k", 60), NotApplied),
            ):
                with pytest.raises(kind, match="neither encrypted nor signed") as told:
                    act()
                assert isinstance(told.value.__cause__, Untrusted)
            assert not bomb.exists() and not store.verify().ok
        store.set("k", "again")
        assert store.get("k") == "again" and store.verify().ok


def test_reading_never_runs_what_is_stored(tmp_path: Path) -> None:
    """Without keys, by default: pickles and crafted extensions as payloads of every codec number."""
    bomb = tmp_path / "ran"
    call = msgspec.msgpack.encode(["os.mkdir", [str(bomb)]])
    crafted = [msgspec.msgpack.encode(msgspec.msgpack.Ext(code, call)) for code in range(-128, 128)]
    crafted += [
        msgspec.msgpack.encode(msgspec.msgpack.Ext(code, pickle.dumps(Bomb(bomb)))) for code in range(-128, 128)
    ]
    crafted += [pickle.dumps(Bomb(bomb), protocol) for protocol in range(6)]
    with TieredBackend([FileTier(tmp_path / "data")], codec=MsgpackCodec(types=[Registered])) as store:
        store.set("k", "right")
        for number in (1, 2, 3, 4, 5, 255):
            for payload in crafted:
                put_in_file(tmp_path, "k", plain("k", payload, number))
                try:
                    value = store.get("k")
                except StoreUnavailable:
                    continue
                assert type(value) in (bytearray, int, tuple, dict), "data, and nothing that was made by running it"
        assert not bomb.exists()
    pickle.loads(crafted[-1])
    assert bomb.exists(), "the bomb is one"


def test_no_value_is_swapped_between_keys_namespaces_and_tiers(
    open_: Callable[..., TieredBackend], raw: redis.Redis, tmp_path: Path
) -> None:
    stores = {name: open_(namespace=name) for name in ("a", "b")}
    right = {(name, key): f"{name}/{key}" for name in stores for key in ("x", "y", "z")}
    for (name, key), value in right.items():
        stores[name].set(key, value)
        assert stores[name].lookup(key).tier == "redis"

    at = {(name, key): name_of(raw, key, name) for name, key in right}
    frames = {place: raw.get(at[place]) for place in right}
    with closing(database(tmp_path)) as connection:
        assert {bytes(frame) for (frame,) in connection.execute("SELECT frame FROM entries")} == set(frames.values())
    for source, (name, key) in permutations(right, 2):
        for moved in (frames[source], repaired(frames[source], name, key)):
            raw.set(at[name, key], moved)
            assert stores[name].get(key) == right[name, key]
        eventually(lambda n=name, k=key: stores[n].lookup(k).tier == "redis")
    for source, (name, key) in permutations(right, 2):
        with closing(database(tmp_path)) as connection:
            sql = "UPDATE entries SET frame = ? WHERE frame = ?"
            moved = repaired(frames[source], name, key)
            connection.execute(sql, (moved, frames[name, key]))
            assert connection.changes() == 1
            raw.delete(at[name, key])
            with pytest.raises(StoreUnavailable):
                stores[name].get(key)
            connection.execute(sql, (frames[name, key], moved))
            assert connection.changes() == 1


def test_nothing_of_a_value_is_readable_in_redis_or_on_the_disk(
    open_: Callable[..., TieredBackend], raw: redis.Redis, tmp_path: Path
) -> None:
    store = open_(compress_above=10)
    store.set("k", "a secret in plain words " * 20)
    stored = [raw.get(name_of(raw, "k")), *(path.read_bytes() for path in (tmp_path / "data").iterdir())]
    assert len(stored) >= 3 and not any(b"secret" in it or b"plain words" in it for it in stored)
    assert open_(compress_above=10).get("k").startswith("a secret")


@pytest.mark.parametrize("keys", [KEYS, None])
def test_no_going_back_to_what_somebody_puts_back_into_redis(
    open_: Callable[..., TieredBackend], raw: redis.Redis, keys: Any
) -> None:
    """A frame that was right once: the process that has seen a newer one knows by the version."""
    store = open_(memory=True, keys=keys)
    store.set("k", "old")
    eventually(lambda: store._core.space.subscribed, "the subscription, which memory starts anew with")
    name = name_of(raw, "k")
    replayed = [raw.get(name)]
    store.delete("k")
    replayed.append(raw.get(name))
    store.set("k", "new")
    slots, chain = store._core.space.part.slots, store._core.chain
    journal: Any = chain.record.journal
    for n, frame in enumerate(replayed * 3, 1):
        # Else Redis is not asked: a mark that two looks have found makes it owe the key.
        eventually(lambda: not journal.pending("redis", limit=1) and ("default", "k") not in chain.guards[0].owed)
        raw.set(name, frame)
        slots["k"] = (slots["k"][0], 0.0, *slots["k"][2:])  # its time is over: it must be looked up
        store._core.space.subscribed = False
        assert store.get("k") == "new" and corrupt(store) == n
        eventually(lambda: raw.get(name) not in replayed, "the record's frame in its place")


def test_an_older_frame_in_redis_is_found_by_verify_and_repaired(
    open_: Callable[..., TieredBackend], raw: redis.Redis
) -> None:
    store = open_()
    store.set("k", "old")
    name = name_of(raw, "k")
    old = raw.get(name)
    store.set("k", "new")
    raw.set(name, old)
    report = store.verify()
    assert not report.ok and report.tier("redis").faults == {"older": 1}
    assert store.repair(dry_run=False).ok and store.get("k") == "new"


def test_pickle_is_signed_by_the_configured_way_only(open_: Callable[..., TieredBackend], raw: redis.Redis) -> None:
    """What was signed does not pass where encryption is configured, even by one who knows the key's frames."""
    signed, encrypted = open_(codec="pickle", protect="sign"), open_(codec="pickle", namespace="other")
    signed.set("k", [1])
    encrypted.set("k", [2])
    name = name_of(raw, "k", "other")
    frame = raw.get(name_of(raw, "k"))
    raw.set(name, repaired(frame, "other"))
    assert encrypted.get("k") == [2]


def test_the_seal_covers_what_tiers_read_in_the_header(tmp_path: Path) -> None:
    """The record and Redis act on version and expiry without a key; readers then notice."""
    with TieredBackend([FileTier(tmp_path / "data")], keys=KEYS, codec=PickleCodec()) as store:
        store.set("k", PAYLOAD, ttl=3600)
        with closing(database(tmp_path)) as connection:
            (frame,) = connection.execute("SELECT frame FROM entries").fetchone()
        longer = frame[:13] + (2**50).to_bytes(8, "big") + frame[21:]
        put_in_file(tmp_path, "k", repaired(longer, "default"))
        assert open_frame(repaired(longer, "default"), SEED, "k", ALL_FLAGS).expires_at == 2**50
        with pytest.raises(StoreUnavailable, match="was changed"):
            store.get("k")
