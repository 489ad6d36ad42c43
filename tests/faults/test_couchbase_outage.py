"""memory → Redis → Couchbase with a journal: either end hangs, vanishes, is killed, comes back; no read is old, no write lies."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.couchbase_servers import CouchbaseMock, fresh, with_scans
from tests.faults.strace import finish, program
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import Ambiguous, CouchbaseTier, MemoryTier, NotApplied, RedisTier, StoreUnavailable, TieredBackend
from tiered.tiers.journaled import JournaledRecord
from tiered.tiers.sqlite import connect

pytestmark = pytest.mark.faults

GONE = ["freeze", "vanish"]
BACK = {"freeze": "thaw", "vanish": "reappear"}
GRACE = 0.5
Open = Callable[..., TieredBackend]


@pytest.fixture
def open_store(couchbase_mock: CouchbaseMock, redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens stores of this process, on one record, one Redis and one journal."""
    prefix = fresh()
    with ExitStack() as stack:

        def build(*, entries: int = 1000, journal: Path | None = tmp_path / "journal", **options: Any) -> TieredBackend:
            record: Any = with_scans(CouchbaseTier(couchbase_mock.url, prefix=prefix, timeout=0.5, connect_timeout=5.0))
            if journal is not None:
                record = JournaledRecord(record, journal, grace=GRACE)
            tiers = [MemoryTier(max_entries=entries), RedisTier(redis_server.url), record]
            return stack.enter_context(TieredBackend(tiers, staleness=0.4, **options))

        yield build


def converged(store: TieredBackend) -> bool:
    """Whether nothing is owed, announced or pending."""
    journal: Any = store._core.chain.record.journal
    state = store.health()
    if not state["couchbase"]["ok"] or state["redis"]["breaker"] != "closed" or state["redis"]["owed"]:
        return False
    return not journal.intents() and not journal.pending("redis", limit=1)


def refuses(store: TieredBackend, key: str) -> bool:
    try:
        store.get(key)
    except StoreUnavailable:
        return True
    return False


def unproven(store: TieredBackend) -> None:
    """Until nothing proves any more that the caches lack nothing."""
    eventually(lambda: not store._core.chain.trust.caches(time.monotonic()), "the end of trust")


@pytest.mark.parametrize("fault", [*GONE, "kill"])
def test_reads_go_on_above_a_record_that_is_gone_and_say_so(
    open_store: Open, couchbase_mock: CouchbaseMock, fault: str
) -> None:
    store, other = open_store(entries=0), open_store()
    store.set_many({f"k{n}": n for n in range(20)})
    store.delete("k0")
    assert other.get_many(["k1", "k2"]) == {"k1": 1, "k2": 2}
    eventually(
        lambda: converged(store) and converged(other)
    )  # what was written a moment ago may be owed, and is not believed
    eventually(lambda: not store.lookup("k1").unproven and not other.lookup("k1").unproven)
    getattr(couchbase_mock, fault)()
    unproven(store)
    unproven(other)
    for reader in (store, other):
        for n in range(1, 20):
            found = reader.lookup(f"k{n}")
            assert (found.value, found.unproven) == (n, True)
        gone = reader.lookup("k0")
        assert (gone.found, gone.unproven) == (False, True)
        with pytest.raises(StoreUnavailable, match="couchbase"):
            reader.get("never asked for")
        with pytest.raises(StoreUnavailable, match="couchbase"):
            reader.get_many(["k1", "never asked for"])
        assert reader.get_many(["k1", "k2"]) == {"k1": 1, "k2": 2}
        assert reader.stats()["namespace"]["unproven"] > 20
    if fault == "kill":
        return  # a mock that is started again has lost what it had
    getattr(couchbase_mock, BACK[fault])()
    eventually(lambda: not store.lookup("k1").unproven and not other.lookup("k1").unproven)
    assert store.get("never asked for") is None


@pytest.mark.parametrize("fault", ["vanish"])
def test_unproven_answers_can_be_refused(open_store: Open, couchbase_mock: CouchbaseMock, fault: str) -> None:
    store = open_store(serve_unproven=False)
    store.set("k", 1)
    getattr(couchbase_mock, fault)()
    unproven(store)
    eventually(lambda: refuses(store, "k"))


@pytest.mark.parametrize("fault", GONE)
def test_writes_say_what_became_of_them(open_store: Open, couchbase_mock: CouchbaseMock, fault: str) -> None:
    store = open_store()
    store.set("k", "old")
    getattr(couchbase_mock, fault)()
    errors: dict[str, type[Exception]] = {}
    for n in range(12):
        with pytest.raises((NotApplied, Ambiguous)) as raised:
            store.set(f"k{n}", "new")
        errors[f"k{n}"] = raised.type
    assert errors["k11"] is NotApplied, "once the breaker is open nothing is sent"
    for write in (lambda: store.add("n", 1), lambda: store.increment("n"), lambda: store.touch("k", 5)):
        with pytest.raises(NotApplied):
            write()
    unsure = [key for key, kind in errors.items() if kind is Ambiguous]
    for key in unsure:  # no copy answers for what may have been written
        with pytest.raises(StoreUnavailable):
            store.get(key)
    assert store.get("k") == "old"
    getattr(couchbase_mock, BACK[fault])()
    eventually(lambda: converged(store))
    truth = open_store(entries=0, journal=None, namespace="default")
    for key, kind in errors.items():
        assert store.get(key) == truth.get(key)
        assert kind is Ambiguous or store.get(key) is None
    assert store.verify().ok


def test_a_write_that_arrives_late_is_seen_by_all_tiers(
    open_store: Open, couchbase_mock: CouchbaseMock, tmp_path: Path
) -> None:
    store = open_store()
    store.set("k", "old")
    couchbase_mock.freeze()
    with pytest.raises(Ambiguous):
        store.set("k", "late")

    def doubts() -> list[tuple[str, str]]:
        with closing(connect(tmp_path / "journal" / "tiered.sqlite3")) as journal:
            return journal.execute("SELECT namespace, key FROM intents WHERE writer < 0").fetchall()

    eventually(lambda: doubts() == [("default", "k")], "the doubt")
    time.sleep(4 * GRACE)  # nothing to wait for: a doubt must NOT end, however long the record does not answer
    assert doubts() == [("default", "k")]
    couchbase_mock.thaw()
    eventually(lambda: converged(store) and store.get("k") == "late")
    assert open_store(entries=0).get("k") == "late"


@pytest.mark.parametrize("fault", ["vanish"])
def test_an_outage_of_redis_and_then_of_couchbase(
    open_store: Open, couchbase_mock: CouchbaseMock, redis_server: RedisServer, fault: str
) -> None:
    store, other = open_store(), open_store(entries=0)
    store.set_many({f"k{n}": "old" for n in range(10)})
    redis_server.kill()
    for n in range(10):
        assert store.set(f"k{n}", "new").tiers["redis"] == "queued"
    assert other.get("k3") == "new"
    redis_server.start()
    eventually(lambda: all(other.lookup(f"k{n}").tier == "redis" for n in range(10)) and converged(other))
    getattr(couchbase_mock, fault)()
    unproven(other)
    assert {other.get(f"k{n}") for n in range(10)} == {"new"}
    getattr(couchbase_mock, BACK[fault])()
    eventually(lambda: converged(store) and converged(other))
    store.set("k1", "newest")
    assert other.get("k1") == "newest"


@pytest.mark.parametrize("fault", ["vanish"])
def test_what_redis_is_owed_is_not_read_there_while_couchbase_is_gone(
    open_store: Open, couchbase_mock: CouchbaseMock, redis_server: RedisServer, fault: str
) -> None:
    store = open_store(entries=0)
    store.set("k", "old")
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.config_set("maxmemory", 1)  # it answers reads, with the old value, and refuses the new one
        assert store.set("k", "new").tiers["redis"] == "queued"
        getattr(couchbase_mock, fault)()
        unproven(store)
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                store.get("k")
        raw.config_set("maxmemory", 0)
    getattr(couchbase_mock, BACK[fault])()
    eventually(lambda: converged(store))
    assert store.get("k") == "new"


def test_a_record_that_was_emptied_leaves_nothing_old_in_the_caches(
    open_store: Open, couchbase_mock: CouchbaseMock, redis_server: RedisServer
) -> None:
    store = open_store(journal=None)
    store.set("k", "old")
    generation = store._core.chain.record.generation("default")
    link: Any = store._core.chain.record._link  # type: ignore[attr-defined]  # a CouchbaseTier
    prefix = store._core.chain.record._record._prefix  # type: ignore[attr-defined]
    for id in (f"{prefix}!generations", f"{prefix}:default:0:k"):
        link.remove(id, link.fetch(id).cas)
    eventually(lambda: store._core.chain.record.generation("default") > generation)
    eventually(lambda: store.get("k") is None)
    assert store.set("k", "new").version and store.get("k") == "new"


@pytest.mark.parametrize("seam", ["before commit", "after commit", "before put", "none"])
def test_a_writer_killed_between_two_steps_leaves_no_old_value(
    couchbase_url: str, redis_server: RedisServer, tmp_path: Path, seam: str
) -> None:
    url, journal = f"{couchbase_url}?prefix={fresh()}&connect_timeout=10s", str(tmp_path / "journal")
    chain = f"memory://,{redis_server.url}?timeout=5s,{url}&name=record&timeout=5s"
    with TieredBackend.from_url(chain, journal=journal) as witness:
        witness.set("k", "old")
        done = finish(program("intents", redis_server.url, url, journal, seam))
        assert done.returncode == (0 if seam == "none" else -signal.SIGKILL), done.stderr
        with TieredBackend.from_url(f"{url}&timeout=5s") as alone:
            value = alone.get("k")
        assert value == ("old" if seam in ("before commit",) else "new")
        with TieredBackend.from_url(chain.replace("memory://,", ""), journal=journal) as later:
            assert later.get("k") == value, "who comes afterwards must not believe the cache"
        eventually(lambda: witness.get("k") == value)


def test_memory_alone_answers_above_couchbase(couchbase_mock: CouchbaseMock) -> None:
    with TieredBackend([MemoryTier(), CouchbaseTier(couchbase_mock.url, prefix=fresh())], staleness=0.2) as store:
        store.set("k", 1)
        store.set("brief", 1, ttl=0.3)
        couchbase_mock.freeze()
        eventually(lambda: store.lookup("k").unproven)
        found = store.lookup("k")
        assert (found.value, found.tier, found.unproven) == (1, "memory", True) and found.age > 0.2
        eventually(lambda: refuses(store, "brief"))
        couchbase_mock.thaw()
        eventually(lambda: not store.lookup("k").unproven)
