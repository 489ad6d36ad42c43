"""verify and repair on real parts: every kind of difference is caused for real, found, mended, and verified again."""

from __future__ import annotations

import math
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import RedisServer
from tiered import ConfigError, FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.codecs import codec_for
from tiered.entry import draft, namespace_seed, open_frame, tombstone
from tiered.errors import StoreError
from tiered.tiers.base import Tier
from tiered.tiers.sqlite import connect
from tiered.verification.progress import Progress
from tiered.verification.report import FAULTS, Example, Kind, Report, TierReport

CODEC = codec_for(None)
SHORT: dict[str, Any] = {"staleness": 0.2, "deadline": 0.3}
"""Verification waits for as long as a write may be under way."""


def eventually(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


class Stack:
    """Redis and a file, with ways to change either behind the library's back."""

    def __init__(self, url: str, directory: Path, *, memory: int = 0) -> None:
        self.url, self.directory, self.memory = url, directory, memory
        self.raw = redis.Redis.from_url(url)
        self.store = self.another()

    def another(self) -> TieredBackend:
        """A second backend on the same parts, as another process would have."""
        tiers: list[Tier] = [MemoryTier(max_entries=self.memory), RedisTier(self.url), FileTier(self.directory)]
        return TieredBackend(tiers, **SHORT)

    def name(self, key: str, namespace: str = "default") -> str:
        return f"tiered:{namespace}:{self.generation(namespace)}:{key}"

    def frame(self, key: str) -> bytes:
        """What Redis holds."""
        found: bytes | None = self.raw.get(self.name(key))
        assert found is not None
        return found

    def hold(self, key: str, frame: bytes) -> None:
        """Write into Redis what no rule would let in."""
        self.raw.set(self.name(key), frame, px=60_000)

    def generation(self, namespace: str = "default") -> int:
        return self.rows("SELECT generation FROM namespaces WHERE name = ?", namespace)[0][0]

    def row(self, key: str) -> bytes:
        return self.rows("SELECT frame FROM entries WHERE key = ?", key)[0][0]

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Run SQL on the database of the file tier."""
        connection = connect(next(self.directory.glob("*.sqlite3")), timeout=30)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def settled(self) -> None:
        """Wait until nothing is pending, so that what is done to a tier now is not taken for a write under way."""
        eventually(lambda: not self.rows("SELECT 1 FROM pending LIMIT 1") and not self.store.health()["redis"]["owed"])

    def close(self) -> None:
        self.store.close()
        self.raw.close()


@pytest.fixture
def stack(redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    it = Stack(redis_url, tmp_path)
    yield it
    it.close()


def sealed(key: str, value: object, version: int) -> bytes:
    return draft(namespace_seed("default"), key, CODEC.encode(value), CODEC.id).seal(version)


def redis_of(report: Report) -> TierReport:
    return report.tier("redis")


def faults_of(report: Report) -> dict[str, dict[Kind, int]]:
    return {tier.tier: tier.faults for tier in report.tiers if tier.faults}


def version_in(frame: bytes, key: str) -> int:
    return open_frame(frame, namespace_seed("default"), key).version


# Each of these leaves "k" wrong in Redis.


def older_value(stack: Stack) -> None:
    old = stack.frame("k")
    stack.store.set("k", "new")
    stack.settled()
    stack.hold("k", old)


def older_tombstone(stack: Stack) -> None:
    stack.store.delete("k")
    old = stack.frame("k")
    stack.store.set("k", "new")
    stack.settled()
    stack.hold("k", old)


def deleted_key(stack: Stack) -> None:
    old = stack.frame("k")
    stack.store.delete("k")
    stack.settled()
    stack.hold("k", old)


def row_lost_by_the_record(stack: Stack) -> None:
    stack.settled()
    stack.rows("DELETE FROM entries WHERE key = 'k'")


def row_restored_from_an_old_copy(stack: Stack) -> None:
    old = stack.row("k")
    stack.store.set("k", "new")
    stack.settled()
    stack.rows("UPDATE entries SET frame = ? WHERE key = 'k'", old)


def other_bytes(stack: Stack) -> None:
    stack.settled()
    stack.hold("k", sealed("k", "forged", version_in(stack.frame("k"), "k")))


def other_expiry(stack: Stack) -> None:
    stack.settled()
    version = version_in(stack.frame("k"), "k")
    stack.hold("k", tombstone(namespace_seed("default"), "k", 1).seal(version))


def foreign_bytes(stack: Stack) -> None:
    stack.settled()
    stack.hold("k", b"written by another program")


def flipped_bit(stack: Stack) -> None:
    stack.settled()
    frame = bytearray(stack.frame("k"))
    frame[-1] ^= 1
    stack.hold("k", bytes(frame))


def cut_off(stack: Stack) -> None:
    stack.settled()
    stack.hold("k", stack.frame("k")[:-2])


def moved_from_another_key(stack: Stack) -> None:
    stack.settled()
    stack.hold("k", stack.frame("other"))


def damaged_leftover_of_a_deleted_key(stack: Stack) -> None:
    stack.store.delete("k")
    stack.settled()
    stack.hold("k", b"\xf5t\x01" + b"x" * 100)


def from_another_store(stack: Stack) -> None:
    stack.store.delete("k")
    stack.settled()
    stack.hold("k", sealed("k", "theirs", 2**62))


@pytest.mark.parametrize(
    ("cause", "kind", "new_generation", "value"),
    [
        (older_value, Kind.OLDER, False, "new"),
        (older_tombstone, Kind.OLDER, False, "new"),
        (deleted_key, Kind.RESURRECTABLE, False, None),
        (row_lost_by_the_record, Kind.RESURRECTABLE, False, None),
        (row_restored_from_an_old_copy, Kind.NEWER, True, "first"),
        (other_bytes, Kind.DIFFERENT, True, "first"),
        (other_expiry, Kind.DIFFERENT, True, "first"),
        (foreign_bytes, Kind.DAMAGED, False, "first"),
        (flipped_bit, Kind.DAMAGED, False, "first"),
        (cut_off, Kind.DAMAGED, False, "first"),
        (moved_from_another_key, Kind.DAMAGED, False, "first"),
        (damaged_leftover_of_a_deleted_key, Kind.DAMAGED, False, None),
        (from_another_store, Kind.RESURRECTABLE, True, None),
    ],
)
def test_each_difference_is_found_mended_and_gone(
    stack: Stack, cause: Callable[[Stack], None], kind: Kind, new_generation: bool, value: object
) -> None:
    stack.store.set_many({"k": "first", "other": "o", "third": "t"})
    cause(stack)
    wrong, generation = stack.raw.get(stack.name("k")), stack.generation()

    found = stack.store.verify()
    assert faults_of(found) == {"redis": {kind: 1}} and not found.ok and not found.converged
    assert redis_of(found).examples == {kind: (Example("default", "k"),)}

    dry = stack.store.repair()
    assert faults_of(dry) == {"redis": {kind: 1}} and dry.dry_run is True
    assert stack.raw.get(stack.name("k")) == wrong and stack.generation() == generation

    mended = stack.store.repair(dry_run=False)
    assert mended.ok and redis_of(mended).mended == {kind: 1} and redis_of(mended).counts[kind] == 1
    assert mended.new_generation is new_generation and (stack.generation() > generation) is new_generation

    again = stack.store.verify()
    assert again.ok and not any(redis_of(again).counts[it] for it in FAULTS)
    with stack.another() as other:
        assert other.get("k") == stack.store.get("k") == value
        assert other.get("other") == "o" and other.get("third") == "t"


def test_what_a_key_is_written_to_after_its_mending_is_read_everywhere(stack: Stack) -> None:
    """The tombstone must not outbid the record's next version."""
    stack.store.set("k", "first")
    row_lost_by_the_record(stack)
    assert stack.store.repair(dry_run=False).ok
    stack.store.set("k", "again")
    assert version_in(stack.frame("k"), "k") == version_in(stack.row("k"), "k")
    with stack.another() as other:
        assert other.get("k") == "again"


def test_one_new_generation_mends_any_number(stack: Stack) -> None:
    keys = [f"k{n}" for n in range(350)]
    stack.store.set_many(dict.fromkeys(keys, "v"))
    stack.settled()
    for key in keys:
        stack.hold(key, sealed(key, "forged", version_in(stack.frame(key), key)))
    stack.hold("gone", sealed("gone", "v", 1))
    generation = stack.generation()
    report = stack.store.repair(dry_run=False, examples=3)
    assert report.ok and redis_of(report).mended == {Kind.DIFFERENT: 350, Kind.RESURRECTABLE: 1}
    assert len(redis_of(report).examples[Kind.DIFFERENT]) == 3
    assert stack.generation() == generation + 1
    assert stack.store.get_many(keys) == dict.fromkeys(keys, "v")


def test_many_old_frames_are_mended_in_place(stack: Stack) -> None:
    keys = [f"k{n:04}" for n in range(1500)]
    stack.store.set_many(dict.fromkeys(keys, "old"))
    old = {key: stack.frame(key) for key in keys}
    stack.store.set_many(dict.fromkeys(keys[:1000], "new"))
    stack.store.delete_many(keys[1000:])
    stack.settled()
    for key in keys:
        stack.hold(key, old[key])
    report = stack.store.repair(dry_run=False)
    assert redis_of(report).mended == {Kind.OLDER: 1000, Kind.RESURRECTABLE: 500} and report.ok
    assert not report.new_generation and stack.store.verify().ok
    assert stack.store.stats()["tiers"]["redis"]["repairs"] == {"older": 1000, "resurrectable": 500}
    with stack.another() as other:
        assert other.get_many(keys) == dict.fromkeys(keys[:1000], "new")


def test_what_a_cache_may_lack_or_keep_is_no_fault(stack: Stack) -> None:
    stack.store.set_many({"lacking": 1, "there": 2, "deleted": 3})
    stack.store.set("brief", 4, ttl=0.05)
    stack.store.delete("deleted")
    stack.settled()
    stack.raw.delete(stack.name("lacking"))
    time.sleep(0.1)
    report = stack.store.verify()
    assert report.ok and report.converged
    assert stack.raw.exists(stack.name("deleted"), stack.name("brief")) == 2, "a tombstone, and an expired frame"
    assert redis_of(report).counts[Kind.MISSING] == 1 and not redis_of(report).examples
    assert report.as_dict()["ok"] is True


def test_damage_in_the_record_is_named_and_left(stack: Stack) -> None:
    stack.store.set_many({"k": 1, "good": 2})
    stack.settled()
    stack.rows("UPDATE entries SET frame = substr(frame, 1, length(frame) - 1) WHERE key = 'k'")
    for report in (stack.store.verify(), stack.store.repair(dry_run=False)):
        assert faults_of(report) == {"file": {Kind.DAMAGED: 1}} and not report.ok
        assert report.tier("file").examples == {Kind.DAMAGED: (Example("default", "k"),)}
        assert report.tier("file").counts[Kind.SAME] == 1
    stack.store.set("k", "mended")
    assert stack.store.verify().ok


def test_what_is_owed_is_pending_until_it_is_replayed(redis_server: RedisServer, tmp_path: Path) -> None:
    stack = Stack(redis_server.url, tmp_path)
    try:
        stack.store.set_many({f"k{n}": "old" for n in range(20)})
        stack.settled()
        stack.raw.config_set("maxmemory", 1)
        stack.store.set_many({f"k{n}": "new" for n in range(10)})
        stack.store.delete_many([f"k{n}" for n in range(10, 15)])
        with stack.another() as other:  # which owes nothing itself: the record's marks tell it
            report = other.verify()
        assert report.ok and not report.converged and redis_of(report).counts[Kind.PENDING] == 15
        refused = stack.store.repair(dry_run=False)
        assert not refused.ok and refused.unreachable == ("redis",) and "OutOfMemory" in redis_of(refused).error
        stack.raw.config_set("maxmemory", 0)
        assert stack.store.replay()["redis"] >= 0  # the background thread may have been faster
        assert stack.store.health()["redis"]["owed"] == 0
        report = stack.store.verify()
        assert report.converged and redis_of(report).counts[Kind.PENDING] == 0
        assert redis_of(report).counts[Kind.SAME] == 15
    finally:
        stack.close()


def test_replay_pays_what_a_process_left_behind(redis_server: RedisServer, tmp_path: Path) -> None:
    stack = Stack(redis_server.url, tmp_path)
    try:
        stack.store.set_many({f"k{n}": "old" for n in range(30)})
        stack.settled()
        stack.store.close()
        redis_server.freeze()
        with stack.another() as other:
            other.set_many({f"k{n}": "new" for n in range(30)})
            with pytest.raises(StoreError):
                other.replay()
        redis_server.thaw()
        with stack.another() as fresh:
            assert fresh.verify().tier("redis").counts[Kind.PENDING] == 30
            assert fresh.replay()["redis"] in (0, 30), "all of it, unless the background thread was faster"
            eventually(lambda: fresh.replay() == {"redis": 0} and not stack.rows("SELECT 1 FROM pending"))
            report = fresh.verify()
        assert report.converged and redis_of(report).counts[Kind.SAME] == 30
    finally:
        stack.close()


@pytest.mark.parametrize("clears", [False, True])
def test_writers_at_work_are_no_fault(stack: Stack, clears: bool) -> None:
    """Two backends set, delete and expire keys, and clear all, as fast as they can while one is verified."""
    keys = [f"k{n:04}" for n in range(2000)]
    stack.store.set_many(dict.fromkeys(keys, 0))
    other, stop, errors, calls = stack.another(), threading.Event(), list[Exception](), [0, 0, 0]

    def write(store: TieredBackend, number: int) -> None:
        try:
            while not stop.is_set():
                calls[number] = n = calls[number] + 1
                some = [keys[(7 * n + 13 * number + step) % 400] for step in range(20)]
                if clears and n % 40 == 0:
                    store.clear()
                elif n % 3 == 0:
                    store.delete_many(some)
                else:
                    store.set_many(dict.fromkeys(some, n), ttl=0.02 if n % 5 == 0 else None)
        except Exception as error:
            errors.append(error)

    stores = enumerate((stack.store, stack.store, other))
    threads = [threading.Thread(target=write, args=(store, number)) for number, store in stores]
    for thread in threads:
        thread.start()
    reports, wanted = list[Report](), [0]
    try:
        for _ in range(6):
            eventually(lambda: min(calls) > 5 + wanted[0])
            wanted[0] = max(calls)
            reports.append(stack.store.verify())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        other.close()
    assert not errors
    assert [faults_of(report) for report in reports] == [{}] * 6 and all(report.ok for report in reports)
    assert clears or all(redis_of(report).counts[Kind.SAME] >= 1600 for report in reports)
    stack.settled()
    assert stack.store.verify().converged


def test_repair_with_writers_at_work_mends_what_is_wrong_and_needs_no_new_generation(stack: Stack) -> None:
    keys = [f"k{n}" for n in range(300)]
    stack.store.set_many(dict.fromkeys(keys, "old"))
    old = {key: stack.frame(key) for key in keys}
    stack.store.set_many(dict.fromkeys(keys, "new"))
    stack.settled()
    for key in keys[::2]:
        stack.hold(key, old[key])
    stop, written = threading.Event(), dict[str, int]()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            stack.store.set(keys[n % 60], n)
            written[keys[n % 60]] = n

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = stack.store.repair(dry_run=False)
    finally:
        stop.set()
        writer.join()
    assert report.ok and not report.new_generation and redis_of(report).mended[Kind.OLDER] >= 120
    stack.settled()
    assert stack.store.verify().converged
    with stack.another() as other:
        assert other.get_many(keys) == {**dict.fromkeys(keys, "new"), **written}


def test_memory_that_disagrees_is_found_and_dropped(tmp_path: Path) -> None:
    """Rows are changed behind the library's back, so that what memory holds becomes wrong in each way."""
    with TieredBackend([MemoryTier(), FileTier(tmp_path, shared=False)], shared=False, deadline=0.2) as store:
        values: dict[str, Any] = {"old": 1, "new": 2, "other": 3, "gone": 4, "list": [5], "dict": {"a": 6}}
        store.set_many({**values, "nan": math.nan, "set": frozenset({"a", "b", "c"}), "flat": {"a": math.nan}})
        connection = connect(next(tmp_path.glob("*.sqlite3")), timeout=30)
        rows = {"old": sealed("old", "later", 1_000_000), "new": sealed("new", "before", 1)}
        for key in ("other", "list", "dict"):
            (frame,) = connection.execute("SELECT frame FROM entries WHERE key = ?", (key,)).fetchone()
            rows[key] = sealed(key, "forged", version_in(frame, key))
        for key, frame in rows.items():
            connection.execute("UPDATE entries SET frame = ? WHERE key = ?", (frame, key))
        connection.execute("DELETE FROM entries WHERE key = 'gone'")
        connection.close()
        expected = {Kind.OLDER: 1, Kind.NEWER: 1, Kind.DIFFERENT: 3, Kind.RESURRECTABLE: 1}
        assert faults_of(store.verify()) == {"memory": expected}
        report = store.repair(dry_run=False)
        assert report.ok and report.tier("memory").mended == expected and not report.new_generation
        again = store.verify()
        assert again.converged and again.tier("memory").counts[Kind.SAME] == 3
        assert [store.get(key) for key in ("old", "new", "other", "gone", "list")] == [
            "later",
            "before",
            "forged",
            None,
            "forged",
        ]


def test_memory_of_this_process_is_compared(redis_url: str, tmp_path: Path) -> None:
    stack = Stack(redis_url, tmp_path, memory=1000)
    try:
        stack.store.set_many({f"k{n}": [n] for n in range(100)})
        memory = stack.store.verify().tier("memory")
        assert memory.counts[Kind.SAME] + memory.counts[Kind.MISSING] == 100 and not memory.faults
    finally:
        stack.close()


def test_memory_may_lag_behind_another_process_for_as_long_as_was_promised(redis_url: str, tmp_path: Path) -> None:
    stack = Stack(redis_url, tmp_path, memory=1000)
    try:
        with stack.another() as other:
            for n in range(4):
                stack.store.set("k", n)
                assert stack.store.get("k") == n
                other.set("k", -n)
                assert stack.store.verify().ok
    finally:
        stack.close()


def test_a_large_namespace_in_little_memory(stack: Stack) -> None:
    for start in range(0, 20_000, 2000):
        stack.store.set_many({f"k{n:06}": "x" * 100 for n in range(start, start + 2000)})
    stack.settled()
    steps = list[Progress]()
    tracemalloc.start()
    try:
        report = stack.store.verify(on_progress=steps.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.converged and redis_of(report).counts[Kind.SAME] == 20_000
    assert peak < 4 * 2**20, f"{peak:,} bytes at the peak for entries of {20_000 * 200:,}"
    comparing = [step for step in steps if step.step == "comparing"]
    assert [step.done for step in comparing] == sorted(step.done for step in comparing)
    assert comparing[-1].done == comparing[-1].total == 20_000
    searching = [step for step in steps if step.step == "searching redis"]
    assert searching[-1].done >= 20_000 and searching[-1].total is not None


def test_large_values_come_a_few_at_a_time(stack: Stack) -> None:
    for n in range(120):
        stack.store.set(f"k{n:03}", bytes([n]) * 250_000)
    stack.settled()
    tracemalloc.start()
    try:
        report = stack.store.verify()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.ok and redis_of(report).counts[Kind.SAME] + redis_of(report).counts[Kind.MISSING] == 120
    assert peak < 24 * 2**20, f"{peak:,} bytes at the peak for 30 MB"


def test_all_namespaces(stack: Stack) -> None:
    stack.store.set("k", 1)
    other = stack.store.namespace("other")
    other.set_many({"a": 1, "b": 2})
    stack.settled()
    stack.raw.set(stack.name("a", "other"), b"damaged")
    assert stack.store.verify().ok
    report = stack.store.verify(all_namespaces=True)
    assert report.namespaces == ("default", "other")
    assert redis_of(report).examples == {Kind.DAMAGED: (Example("other", "a"),)}
    assert report.tier("file").counts[Kind.SAME] == 3
    with stack.another() as fresh:  # a process that has not used the namespace
        assert fresh.repair(dry_run=False, all_namespaces=True).ok
        assert "other" not in fresh.stats()["namespace"].values()
    assert stack.store.verify(all_namespaces=True).ok and other.get("a") == 1


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_tier_that_cannot_be_reached_is_in_the_report(redis_server: RedisServer, tmp_path: Path, fault: str) -> None:
    stack = Stack(redis_server.url, tmp_path)
    try:
        stack.store.set_many({f"k{n}": n for n in range(50)})
        getattr(redis_server, fault)()
        for report in (stack.store.verify(), stack.store.repair(dry_run=False)):
            assert report.unreachable == ("redis",) and not report.ok and redis_of(report).error.startswith("redis: ")
            assert report.tier("file").counts[Kind.SAME] == 50, "the record was compared to the end"
    finally:
        stack.close()


class Plain:
    """A tier of somebody else's: it keeps its promises, but cannot list what it holds."""

    def __init__(self, tier: Tier) -> None:
        self.name = tier.name
        for method in ("get", "get_many", "put_many", "forget", "probe", "health", "close"):
            setattr(self, method, getattr(tier, method))


def test_a_tier_that_cannot_list_is_compared_as_far_as_that_goes(stack: Stack) -> None:
    stack.store.set_many({"k": "v", "gone": 1})
    gone = stack.frame("gone")
    stack.store.delete("gone")
    stack.settled()
    stack.hold("gone", gone)
    flipped_bit(stack)
    plain: Any = Plain(RedisTier(stack.url))
    with TieredBackend([plain, FileTier(stack.directory)], **SHORT) as store:
        found = store.verify()
        assert not redis_of(found).enumerable and redis_of(found).faults == {Kind.DAMAGED: 1}
        mended = store.repair(dry_run=False)
        assert mended.ok and mended.new_generation, "damage that cannot be removed is left behind"
        assert store.get("k") == "v" and store.get("gone") is None


def test_a_file_between_redis_and_the_record_is_a_cache_like_any(redis_url: str, tmp_path: Path) -> None:
    cache, record = tmp_path / "cache", tmp_path / "record"
    tiers: list[Tier] = [MemoryTier(max_entries=0), FileTier(cache, name="ssd"), FileTier(record)]
    with TieredBackend(tiers, **SHORT) as store:
        store.set_many({"k": "old", "gone": 1, "bad": 2})
        connection = connect(next(cache.glob("*.sqlite3")), timeout=30)
        old = dict(connection.execute("SELECT key, frame FROM entries").fetchall())
        store.set("k", "new")
        store.delete("gone")
        time.sleep(1.0)  # the background thread writes confirmations out
        for key in ("k", "gone"):
            connection.execute("UPDATE entries SET frame = ? WHERE key = ?", (old[key], key))
        connection.execute("UPDATE entries SET frame = x'00' WHERE key = 'bad'")
        connection.close()
        expected = {Kind.OLDER: 1, Kind.RESURRECTABLE: 1, Kind.DAMAGED: 1}
        assert store.verify().tier("ssd").faults == expected
        report = store.repair(dry_run=False)
        assert report.ok and report.tier("ssd").mended == expected and store.verify().converged


def test_redis_as_the_record(redis_url: str) -> None:
    with TieredBackend([MemoryTier(), RedisTier(redis_url)], staleness=0.2, deadline=0.2) as store:
        store.set_many({f"k{n}": n for n in range(500)})
        store.namespace("other").set("a:versions", 1)
        assert store.verify(all_namespaces=True).namespaces == ("default", "other")
        with redis.Redis.from_url(redis_url) as raw:
            raw.set("tiered:default:1:k7", b"damaged")
            raw.set(b"tiered:default:1:\xff", b"not ours")
        report = store.verify()
        assert report.tier("redis").counts[Kind.SAME] >= 499 and report.tier("redis").faults[Kind.DAMAGED] >= 1
        assert report.tier("redis").examples[Kind.DAMAGED][0].key == "k7"


def test_a_record_that_cannot_list_its_namespaces_says_so(tmp_path: Path) -> None:
    class Unlisted(FileTier):
        namespaces = None  # type: ignore[assignment]  # takes the offer back

    with TieredBackend([Unlisted(tmp_path)]) as store:
        store.set("k", 1)
        assert store.verify().ok
        with pytest.raises(ConfigError, match="cannot list its namespaces"):
            store.verify(all_namespaces=True)
        with pytest.raises(ConfigError, match="cannot list its namespaces"):
            store.namespaces()
