"""CouchbaseTier beyond the contract: limits, expiry, generations under a lease, forks, a server that hangs or was replaced."""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from couchbase.exceptions import MutationTokenOutdatedException
from couchbase.kv_range_scan import PrefixScan
from couchbase.options import UpsertOptions
from couchbase.result import MutationToken
from couchbase.transcoder import JSONTranscoder

from tests.clocks import HandClock
from tests.couchbase_servers import REAL, CouchbaseMock, fresh, with_scans
from tests.faults.strace import finish, program
from tests.waiting import eventually, started
from tiered import (
    ConfigError,
    CouchbaseTier,
    FileTier,
    InvalidKey,
    MemoryTier,
    NotApplied,
    StoreUnavailable,
    TieredBackend,
)
from tiered.codecs import codec_for
from tiered.entry import draft, namespace_seed, version_of
from tiered.errors import Reason
from tiered.testing.chaos import Faults, FaultyTier
from tiered.testing.contract import put, value
from tiered.tiers import couchbase_generations
from tiered.tiers.base import Write
from tiered.tiers.couchbase_documents import MAX_BODY, id_of, native_expiry, pack, unpack
from tiered.tiers.couchbase_history import Histories
from tiered.tiers.couchbase_link import SCAN_TIMEOUT

LIMIT = 30.0


@pytest.fixture
def tier(couchbase_url: str) -> Iterator[CouchbaseTier]:
    tier = CouchbaseTier(couchbase_url, prefix=fresh(), timeout=30.0, connect_timeout=30.0)
    yield tier
    tier.close()


@pytest.fixture
def mocked(couchbase_mock: CouchbaseMock) -> Iterator[CouchbaseTier]:
    """On a mock that the test may harm, with the default limits."""
    tier = CouchbaseTier(couchbase_mock.url, prefix=fresh())
    yield tier
    tier.close()


def now() -> int:
    return time.time_ns() // 1_000_000


def another(tier: CouchbaseTier, url: str) -> CouchbaseTier:
    """As another process would use the same documents."""
    return CouchbaseTier(url, prefix=tier._record._prefix, timeout=30.0, connect_timeout=30.0)


def remember_another_history(tier: CouchbaseTier) -> None:
    """As if the server's nodes had lost since what they had not yet written to their disks."""
    newest = tier._link._histories._newest
    assert newest
    for part, token in newest.items():
        newest[part] = MutationToken({**token.as_dict(), "partition_uuid": token.partition_uuid + 1})


# Documents


def test_an_id_has_what_the_server_takes_and_the_sdk_does_not_cut() -> None:
    assert id_of("p:n:0:", "k", 246) == "p:n:0:k"
    for key in ("x" * 246, "é" * 123, "a\0b", "\x7fx"):
        id = id_of("p:n:0:", key, 246)
        assert len(id.encode()) <= 246 and "\0" not in id and id != "p:n:0:" + key
        body = pack("p:n:0:", key, id, b"frame")
        assert unpack(body) == (b"frame", key, False)
    assert id_of("p:", "a\0b", 246) != id_of("p:", "a\0c", 246)


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [
        (-5, 1),
        (0, 1),
        (1, 1),
        (500, 1),
        (1000, 1),
        (1001, 2),
        (30 * 86_400_000, 30 * 86_400),
        (100 * 365 * 86_400_000, 0),
    ],
)
def test_a_native_expiry_is_never_early_and_never_means_for_ever(milliseconds: int, seconds: int) -> None:
    assert native_expiry(milliseconds) == seconds


@pytest.mark.parametrize("ttl", [0.5, 29 * 86_400, 31 * 86_400, 40 * 365 * 86_400, 99 * 365 * 86_400])
def test_an_entry_lives_as_long_as_it_should(tier: CouchbaseTier, ttl: float) -> None:
    with TieredBackend([MemoryTier(max_entries=0), tier]) as store:
        store.set("k", "v", ttl=ttl)
        if ttl < 1:
            eventually(lambda: store.get("k") is None)
            assert tier.read("default", "k")[1] is not None, "its version still refuses what is older"
        else:
            assert store.get("k") == "v" and ttl - 60 < (store.ttl("k") or 0) <= ttl


def test_keys_of_246_bytes_and_no_more(tier: CouchbaseTier) -> None:
    with TieredBackend([MemoryTier(max_entries=0), with_scans(tier)]) as store:
        longest = ["x" * 246, "é" * 123, "y" * 120]
        for key in longest:
            store.set(key, key)
            assert store.get(key) == key
        assert sorted(store.keys()) == sorted(longest) and list(store.keys("é")) == ["é" * 123]
        for key in ("x" * 247, "é" * 124):
            with pytest.raises(InvalidKey, match="246"):
                store.set(key, 1)
            with pytest.raises(InvalidKey, match="246"):
                store.get(key)


def test_values_of_20_mib_and_no_more(tier: CouchbaseTier) -> None:
    with TieredBackend([MemoryTier(max_entries=0), tier], max_value_bytes=2**30) as store:
        largest = b"x" * (MAX_BODY - 100)
        store.set("k", largest)
        assert store.get("k") == largest
        with pytest.raises(NotApplied, match="20 MiB") as raised:
            store.set("k", b"x" * MAX_BODY)
        assert raised.value.reason is Reason.TOO_LARGE
        assert store.get("k") == largest


def test_a_cache_refuses_what_is_older_than_what_it_cannot_hold(tier: CouchbaseTier) -> None:
    def frame(version: int, size: int) -> bytes:
        return draft(namespace_seed("n"), "k", b"x" * size, codec_for(None).id).seal(version)

    assert put(tier, "n:1", "k", frame(1, 10))
    assert put(tier, "n:1", "k", frame(3, MAX_BODY)), "so that the old value is not read"
    assert tier.get("n:1", "k") is None
    assert put(tier, "n:1", "k", frame(2, 10)) is False
    assert put(tier, "n:1", "k", frame(4, 10)) and tier.get("n:1", "k") == frame(4, 10)


def test_a_cache_takes_keys_that_a_record_would_not(tier: CouchbaseTier, tmp_path: Any) -> None:
    with TieredBackend([MemoryTier(max_entries=0), tier, FileTier(tmp_path)]) as store:
        store.set("x" * 1024, 1)
        assert store.lookup("x" * 1024)[1:3] == (1, "couchbase")


# Versions and generations


def test_a_blind_set_and_a_read_are_one_round_trip_each(tier: CouchbaseTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couchbase_generations, "LEASE", LIMIT)
    tier.read("n", "k")
    calls: list[str] = []
    for name in ("fetch", "fetch_many", "mutate", "mutate_many"):
        inner = getattr(tier._link, name)
        counted = lambda *args, inner=inner, name=name: (calls.append(name), inner(*args))[1]  # noqa: E731
        if name != "mutate_many":  # with one document it is `mutate`
            monkeypatch.setattr(tier._link, name, counted)
    tier.commit("n", [Write("k", value("k"))], now=now())
    assert calls == ["mutate"]
    tier.read("n", "k")
    assert calls == ["mutate", "fetch"]


def test_nobody_writes_where_a_clear_has_been(tier: CouchbaseTier, couchbase_url: str) -> None:
    """A writer that believes in a generation for as long as it may, while others clear: nothing acknowledged is lost."""
    other = another(tier, couchbase_url)
    try:
        tier.commit("n", [Write("k", value("k", 0))], now=now())
        other.read("n", "k")
        clearing = started(lambda: tier.clear("n"))
        before = after = 0
        while True:
            over = clearing.done()  # before the write, which then began after the end of the clear
            version = other.commit("n", [Write(f"k{after}", value(f"k{after}"))], now=now()).written[0].version
            assert version
            if over:
                after += 1
                assert other.read("n", f"k{after - 1}")[1] is not None
                assert tier.read("n", f"k{after - 1}")[1] is not None, "acknowledged after the clear, and gone"
                if after == 5:
                    break
            before += not over
        assert before > 5 and tier.read("n", "k")[1] is None
        assert clearing.result(LIMIT) == other.generation("n")
    finally:
        other.close()


def test_a_change_waits_until_nobody_can_believe_in_what_was(tier: CouchbaseTier, couchbase_url: str) -> None:
    other = another(tier, couchbase_url)
    try:
        waits: list[float] = []
        tier._record._generations._pause = waits.append
        tier.clear("n")
        assert waits == [couchbase_generations.WAIT] and couchbase_generations.WAIT > couchbase_generations.LEASE

        def meanwhile(_: float) -> None:
            state = other._record._generations.state()
            assert state.changing and state.until <= time.monotonic(), "an announced change lets nobody believe"

        tier._record._generations._pause = meanwhile
        tier.bump()
    finally:
        other.close()


def test_a_change_that_was_announced_by_the_dead_is_in_nobodys_way(
    tier: CouchbaseTier, couchbase_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another(tier, couchbase_url)
    try:

        def die(_: float) -> None:
            raise SystemExit

        other._record._generations._pause = die
        with pytest.raises(SystemExit):
            other.clear("n")
        monkeypatch.setattr(couchbase_generations, "STUCK", 0.2)
        tier.commit("n", [Write("k", value("k"))], now=now())
        before = tier.generation("n")
        assert tier.clear("n") > before and tier.read("n", "k")[1] is None
        assert not tier._record._generations.read().changing
    finally:
        other.close()


def test_an_announcement_by_the_dead_is_withdrawn(
    tier: CouchbaseTier, couchbase_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is one, each read and write takes more round trips: for ever, if nobody cleared anything."""
    other = another(tier, couchbase_url)
    try:

        def be_taken_for_dead(_: float) -> None:
            monkeypatch.setattr(couchbase_generations, "STUCK", 0.1)
            eventually(lambda: not tier._record._generations.read().changing)

        before = tier.generation("n")
        other._record._generations._pause = be_taken_for_dead
        with pytest.raises(NotApplied, match="took this one for dead"):
            other.clear("n")
        assert tier.generation("n") == before
        assert tier._record._generations.state().until > time.monotonic(), "it is believed again"
    finally:
        other.close()


def test_no_generation_comes_twice_in_a_bucket_that_was_put_back(tier: CouchbaseTier) -> None:
    """What a clear made invisible before, and what caches hold under it, would be there again."""
    collection, id = tier._link._connection.collection(write=True), f"{tier._record._prefix}!generations"
    tier.generation("n")
    backup = tier._link.fetch(id)
    assert backup is not None
    given = tier.clear("n")
    tier.commit("n", [Write("k", value("k"))], now=now())
    collection.upsert(id, backup.body)
    assert tier.generation("n") < given < tier.clear("n")
    assert tier.read("n", "k")[1] is None


def test_many_who_want_the_same_new_generation_share_one(tier: CouchbaseTier) -> None:
    first, pauses, pause = tier.generation("n"), list[float](), tier._record._generations._pause

    def counted(seconds: float) -> None:
        pauses.append(seconds)
        pause(seconds)

    tier._record._generations._pause = counted
    threads = [Thread(target=tier.bump) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert first < tier.generation("n") and 1 <= pauses.count(couchbase_generations.WAIT) <= 3


def test_a_write_that_is_overtaken_by_a_bump_goes_to_the_caches_of_the_new_generation(
    tier: CouchbaseTier, couchbase_url: str
) -> None:
    """R8: in the old one nobody would look for it, while an older value may have been promoted into the new one."""
    other = another(tier, couchbase_url)
    try:
        generations, mutate = tier._record._generations, tier._link.mutate
        old = tier.generation("n")

        def slowly(mutation: Any) -> int:
            other.bump()
            return mutate(mutation)

        tier._link.mutate = slowly  # type: ignore[method-assign]
        commit = tier.commit("n", [Write("k", value("k"))], now=now())
        assert commit.generation == other.generation("n") > old
        assert generations.state().generation("n") == commit.generation
    finally:
        other.close()


def test_a_part_of_a_batch_is_ambiguous_and_none_of_it_is_not_applied(tier: CouchbaseTier) -> None:
    mutate = tier._link.mutate_many
    calls: list[Any] = []

    def second_fails(mutations: Any) -> Any:
        calls.append(mutations)
        if len(calls) % 2 == 0:
            raise NotApplied("refused", tier="couchbase", reason=Reason.OTHER)
        return mutate(mutations)

    tier._link.mutate_many = second_fails  # type: ignore[method-assign]
    twice = [Write("k", value("k", 1)), Write("k", value("k", 2))]
    with pytest.raises(Exception, match="after a part was stored") as raised:
        tier.commit("n", twice, now=now())
    assert type(raised.value).__name__ == "Ambiguous"
    calls.append(None)
    with pytest.raises(NotApplied):
        tier.commit("n", [Write("a", value("a")), Write("b", value("b"))], now=now())


def test_damage_in_the_record_is_an_error_and_foreign_bytes_in_a_cache_are_none(tier: CouchbaseTier) -> None:
    with TieredBackend([MemoryTier(max_entries=0), tier]) as store:
        store.set("k", 1)
        collection = tier._link._connection.collection(write=True)
        id, cached = f"{tier._record._prefix}:default:0:k", f"{tier._record._prefix}~default:1:k"
        body = tier._link.fetch(id)
        assert body is not None
        new = value("k", namespace="default").seal(2**62)
        short = (b"\xf5", b"\xf5k", b"\xf5k\xff", b"\xf5k\xff\xff", b"\xf5h\xf5k")
        for bad in (b"", b"x" * 50, body.body[:-1], body.body[:-1] + b"!", *short):
            collection.upsert(id, bad)
            with pytest.raises(StoreUnavailable, match="damaged"):
                store.get("k")
            collection.upsert(cached, bad)
            assert tier.get("default:1", "k") != new
            assert put(tier, "default:1", "k", new) and tier.get("default:1", "k") == new
        store.set("k", 2)
        assert store.get("k") == 2


@pytest.mark.parametrize("theirs", [{"their": "document, of more bytes than a frame's header"}, "a text"])
def test_documents_of_other_formats_are_foreign_bytes(tier: CouchbaseTier, tmp_path: Path, theirs: object) -> None:
    """Another program's, or written by hand in the server's console: of no other key's concern, and replaced by what is written."""
    raw, prefix = tier._link._connection.collection(write=True), tier._record._prefix
    with TieredBackend([MemoryTier(max_entries=0), tier]) as store:
        store.set_many({"k": 1, "other": 1})
        for how in (lambda: store.delete("k"), lambda: store.set("k", 2)):
            raw.upsert(f"{prefix}:default:0:k", theirs, UpsertOptions(transcoder=JSONTranscoder()))
            with pytest.raises(StoreUnavailable, match="damaged"):
                store.get("k")
            assert store.get("other") == 1
            how()
            assert store.get("k", 2) == 2
        raw.upsert(f"{prefix}~n:1:k", theirs, UpsertOptions(transcoder=JSONTranscoder()))
        new = value("k").seal(2**62)
        assert tier.get_many("n:1", ["k", "none"])[1] is None
        assert put(tier, "n:1", "k", new) and tier.get("n:1", "k") == new


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"store":"s","last":1,"bumped":null,"cleared":{}}',
        b'{"store":"s","last":1,"bumped":1,"cleared":[]}',
        b'{"store":"s","last":1,"bumped":1,"cleared":{"n":"1"}}',
        b'{"store":"s","last":1e99,"bumped":1,"cleared":{}}',
        b'{"store":"s","last":99999999999999999999,"bumped":1,"cleared":{}}',
        b'{"store":"s","last":1,"bumped":1,"cleared":{},"owed":{"redis":{"n":7}}}',
        b'{"store":"s","last":1,"bumped":1,"cleared":{},"lost":[[]]}',
    ],
)
def test_no_poison_from_the_document_of_the_generations(tier: CouchbaseTier, body: bytes) -> None:
    tier._link._connection.collection(write=True).upsert(f"{tier._record._prefix}!generations", body)
    for ask in (lambda: tier.read("n", "k"), lambda: tier.hosts.notices(), lambda: tier.generation("n")):
        with pytest.raises(StoreUnavailable, match="is no generation; another program uses these keys"):
            ask()
    for change in (lambda: tier.clear("n"), lambda: tier.commit("n", [Write("k", value("k"))], now=now())):
        with pytest.raises(NotApplied, match="is no generation"):
            change()


@pytest.mark.parametrize("prefix", ["", "a\0b", "\ud800", "é" * 33])
def test_a_prefix_that_no_id_can_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix must be"):
        CouchbaseTier("couchbase://bot:pw@127.0.0.1/chat", prefix=prefix)


@pytest.mark.skipif(bool(REAL), reason="a real server may have the range scan")
def test_listing_without_range_scan_names_the_version_that_has_it(tier: CouchbaseTier) -> None:
    with TieredBackend([MemoryTier(), tier]) as store:
        store.set("k", 1)
        for listing in (store.keys, store.items):
            with pytest.raises(StoreUnavailable, match=r"7\.6") as raised:
                list(listing())
            assert raised.value.reason is Reason.MISUSE
        assert store.get("k") == 1 and tier.health().facts["service"] == "closed"


def test_a_listing_that_was_given_up_says_so(tier: CouchbaseTier) -> None:
    with_scans(tier)
    for n in range(4):
        tier.commit("n", [Write(f"k{n}", value(f"k{n}"))], now=now())
    first = tier.scan("n", "", None, 1)
    for _ in range(70):
        tier.scan("n", "", None, 1)
    with pytest.raises(StoreUnavailable, match="given up"):
        tier.scan("n", "", first.cursor, 1)


class Scanned:
    """A collection that lists `ids`, or fails, and notes what it is asked."""

    def __init__(self, inner: Any, failure: Exception | None = None) -> None:
        self.inner, self.failure, self.asked = inner, failure, list[dict[str, Any]]()

    def scan(self, kind: PrefixScan, **options: Any) -> Iterator[Any]:
        self.asked.append(options)
        if self.failure is not None:
            raise self.failure
        return iter([SimpleNamespace(id=f"{kind.prefix}k")])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_listing_waits_for_all_that_this_process_wrote(mocked: CouchbaseTier) -> None:
    connection = mocked._link._connection
    connection._collection = scanned = Scanned(connection.collection(write=False))
    assert len(list(mocked._link.ids("p:"))) == 1
    assert "consistent_with" not in scanned.asked[0]  # nothing was written
    mocked.put_many("n:1", [(f"k{n}", value(f"k{n}").seal(1)) for n in range(50)])
    mocked.put_many("n:1", [(f"k{n}", value(f"k{n}").seal(2)) for n in range(50)])
    result = scanned.inner.upsert("one", b"more")
    mocked._link._cas(result)
    assert len(list(mocked._link.ids("p:"))) == 1
    tokens = {token.partition_id: token for token in scanned.asked[1]["consistent_with"]._sv}
    assert 1 < len(tokens) <= 51 and tokens[result.mutation_token().partition_id] == result.mutation_token()
    assert scanned.asked[1]["timeout"] == SCAN_TIMEOUT


def test_a_listing_on_a_node_that_was_replaced_says_so_and_the_next_is_right(mocked: CouchbaseTier) -> None:
    connection = mocked._link._connection
    scanned = Scanned(connection.collection(write=False), MutationTokenOutdatedException())
    mocked.put_many("n:1", [("k", value("k").seal(1))])
    connection._collection = scanned
    with pytest.raises(StoreUnavailable, match="begin the listing again") as raised:
        list(mocked._link.ids("p:"))
    assert raised.value.reason is Reason.RESTARTED and mocked._link.replaced
    scanned.failure = None
    assert len(list(mocked._link.ids("p:"))) == 1 and "consistent_with" not in scanned.asked[1]


def test_the_newest_token_of_a_part_is_kept_whatever_came_last() -> None:
    histories = Histories(lasting=True)

    def token(number: int, history: int = 7) -> MutationToken:
        return MutationToken(
            {"partition_id": 1, "partition_uuid": history, "sequence_number": number, "bucket_name": "b"}
        )

    for number in (2, 3, 1):
        histories.note(token(number))
    assert histories.seen()["consistent_with"]._sv == {token(3)}
    histories.note(token(1, history=8))
    assert histories.seen()["consistent_with"]._sv == {token(1, history=8)}
    assert not histories.replaced  # what is durable is on other nodes, too


# Faults


def test_a_hung_server_costs_its_timeout_a_few_times_and_then_nothing(
    mocked: CouchbaseTier, couchbase_mock: CouchbaseMock
) -> None:
    mocked.commit("n", [Write("k", value("k"))], now=now())
    couchbase_mock.freeze()
    began = time.monotonic()
    for _ in range(200):
        with pytest.raises(StoreUnavailable):
            mocked.read("n", "k")
        with pytest.raises(NotApplied):
            mocked.commit("n", [Write("k", value("k"), 1)], now=now())
    assert time.monotonic() - began < 200 * 0.25
    assert mocked.health().ok is False
    couchbase_mock.thaw()
    eventually(lambda: mocked.health().facts["service"] == "closed")
    assert mocked.read("n", "k")[1] is not None


def test_no_server_at_the_start_is_a_typed_error_and_no_end(couchbase_mock: CouchbaseMock) -> None:
    couchbase_mock.vanish()
    tier = CouchbaseTier(couchbase_mock.url, prefix=fresh(), connect_timeout=0.3)
    try:
        with pytest.raises(StoreUnavailable):
            tier.read("n", "k")
        with pytest.raises(NotApplied):
            tier.commit("n", [Write("k", value("k"))], now=now())
        couchbase_mock.reappear()
        eventually(lambda: tier.health().ok)
        eventually(lambda: tier.health().facts["service"] == "closed")
        assert tier.commit("n", [Write("k", value("k"))], now=now()).written[0].version
    finally:
        tier.close()


def test_a_bucket_that_is_not_there_leaves_no_connection_and_no_growing_traceback(
    couchbase_mock: CouchbaseMock,
) -> None:
    def depth(error: BaseException | None) -> int:
        return 0 if error is None else len(list(traceback.walk_tb(error.__traceback__))) + depth(error.__cause__)

    clock = HandClock()
    tier = CouchbaseTier(couchbase_mock.url.replace("/default", "/other"), connect_timeout=10.0, clock=clock)
    gc.disable()
    try:
        depths, sockets = set(), []
        for _ in range(4):
            for _ in range(5):  # the first connects, the others are told what it was told
                with pytest.raises(StoreUnavailable, match="bucket") as raised:
                    tier.read("n", "k")
                depths.add(depth(raised.value))
            sockets.append(len(os.listdir("/proc/self/fd")))
            clock.advance(60)
        assert len(depths) <= 2 and sockets[-1] <= sockets[0]
    finally:
        gc.enable()
        tier.close()


def test_a_cache_whose_node_came_back_with_another_history_is_another(mocked: CouchbaseTier) -> None:
    first = mocked.probe()
    frames = [(f"k{n}", value(f"k{n}").seal(1)) for n in range(300)]
    mocked.put_many("n:1", frames)
    remember_another_history(mocked)
    with pytest.raises(Exception, match="restarted or replaced") as raised:
        mocked.put_many("n:1", [(key, value(key).seal(2)) for key, _ in frames])
    assert getattr(raised.value, "reason", None) is Reason.RESTARTED
    with pytest.raises(StoreUnavailable, match="restarted or replaced"):
        mocked.get("n:1", "k1")
    second = mocked.probe()
    assert second != first and mocked.probe() == second
    assert mocked.get("n:1", "k1") == value("k1").seal(2)


def test_a_record_that_may_have_lost_writes_gives_its_caches_a_new_generation(
    mocked: CouchbaseTier, tmp_path: Path
) -> None:
    remote: Any = FaultyTier(MemoryTier(name="cache"), Faults())
    with TieredBackend([remote, mocked], journal=tmp_path / "journal") as store:
        store.set_many({f"k{n}": 1 for n in range(100)})
        store._core.service.keeper.look()
        generation = mocked.generation("default")
        store._core.service.keeper.look()
        assert mocked.generation("default") == generation
        remember_another_history(mocked)
        store.set_many({f"k{n}": 2 for n in range(100)})
        eventually(lambda: mocked.generation("default") > generation)
        assert store.get_many(["k1", "k2"]) == {"k1": 2, "k2": 2}


def test_a_put_that_comes_too_late_is_refused(tier: CouchbaseTier) -> None:
    with pytest.raises(NotApplied, match="too old"):
        tier.put_many("n:1", [("k", value("k").seal(1))], since=time.monotonic() - 60)
    assert tier.get("n:1", "k") is None


def test_leases_are_held_by_one_until_released(tier: CouchbaseTier) -> None:
    leases = tier.leases
    assert leases.take("n", "k", "a", 30.0) and leases.take("n", "k", "a", 30.0)
    assert not leases.take("n", "k", "b", 30.0) and not leases.extend("n", "k", "b", 30.0)
    assert leases.extend("n", "k", "a", 30.0)
    leases.release("n", "k", "b")
    assert not leases.take("n", "k", "b", 30.0)
    leases.release("n", "k", "a")
    assert leases.take("n", "k", "b", 1.0)
    eventually(lambda: leases.take("n", "k", "a", 30.0))


def test_a_claim_is_the_first_comers(tier: CouchbaseTier) -> None:
    assert tier.claim("n", "one") == "one" == tier.claim("n", "two") == tier.claim("n", "one")
    assert tier.claim("m", "two") == "two"


# Forks


@pytest.mark.parametrize("how", ["uses it", "ends"])
def test_a_child_has_a_connection_of_its_own_and_ends(couchbase_url: str, how: str) -> None:
    """The SDK's objects of the parent can neither be used nor destroyed in a child: either waits for ever."""
    done = finish(program("couchbase_fork", couchbase_url, fresh(), how))
    assert (done.returncode, done.stdout) == (0, "0\nparent goes on\n"), done.stderr


def test_versions_are_what_the_server_gives(tier: CouchbaseTier) -> None:
    written = tier.commit("n", [Write("k", value("k"))], now=now()).written[0]
    held = tier._link.fetch(f"{tier._record._prefix}:n:0:k")
    assert held is not None and version_of(written.frame) == written.version == held.cas
