"""memory → Redis → Redis with `journal=`: whatever dies, and whenever, the cache ends with what the record has (R13)."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.agents import Agent
from tests.faults.strace import finish, injecting, program
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import MemoryTier, RedisTier, TieredBackend
from tiered.testing.chaos import Faults, FaultyRecord, FaultyTier, History, check, run_threads
from tiered.testing.chaos.workload import Workload
from tiered.tiers.journaled import JournaledRecord

pytestmark = pytest.mark.faults

SEAMS = [
    f"{when} {name}"
    for name in ("announce", "announce's transaction", "reserve", "commit", "end", "put", "confirm", "write out")
    for when in ("before", "after")
]
GRACE = 0.5


@pytest.fixture
def record_server() -> Iterator[RedisServer]:
    """The store of record; it is the server's persistence that makes it durable, which is not tested here."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def open_store(
    redis_server: RedisServer, record_server: RedisServer, tmp_path: Path
) -> Iterator[Callable[..., TieredBackend]]:
    """Opens stores of this process, which use the journal in `store` as others do."""
    with ExitStack() as stack:

        def build(*, entries: int = 1000) -> TieredBackend:
            record = RedisTier(record_server.url, name="record", timeout=5.0)
            cache = RedisTier(redis_server.url)
            memory = MemoryTier(max_entries=entries)
            journaled = JournaledRecord(record, tmp_path / "journal", grace=GRACE)
            return stack.enter_context(TieredBackend([memory, cache, journaled]))

        yield build


def converged(store: TieredBackend, key: str = "k") -> bool:
    """Whether nothing is owed, announced or pending, and the cache answers for `key`."""
    journal: Any = store._core.chain.record.journal
    state = store.health()["redis"]
    if state["breaker"] != "closed" or state["owed"] or journal.intents() or journal.pending("redis", limit=1):
        return False
    (answer,) = store._core.chain.guards[0].tier.get_many(store._core.space.scope, [key])
    return answer == store._core.chain.record.read("default", key)[1]


def truth(server: RedisServer) -> Any:
    with TieredBackend([RedisTier(server.url, name="record", timeout=5.0)]) as alone:
        return alone.get("k")


@pytest.mark.parametrize("seam", [*SEAMS, "none"])
def test_a_writer_killed_between_any_two_steps_leaves_no_old_value(
    open_store: Callable[..., TieredBackend],
    redis_server: RedisServer,
    record_server: RedisServer,
    tmp_path: Path,
    seam: str,
) -> None:
    witness = open_store()
    witness.set("k", "old")
    assert witness.get("k") == "old"
    done = finish(program("intents", redis_server.url, record_server.url, str(tmp_path / "journal"), seam))
    assert done.returncode == (0 if seam == "none" else -signal.SIGKILL), done.stderr
    value = truth(record_server)
    assert value in ("old", "new") and ("acknowledged" not in done.stdout or value == "new")
    assert (value == "new") == (seam in SEAMS[SEAMS.index("after commit") :] or seam == "none")
    assert open_store(entries=0).get("k") == value, "who comes afterwards must not believe the cache"
    eventually(lambda: converged(witness) and witness.get("k") == value)  # memory hears of it a moment later
    assert open_store(entries=0).lookup("k")[1:3] == (value, "redis")


@pytest.mark.root
@pytest.mark.parametrize("call", ["write", "pwrite64"])
def test_a_writer_killed_at_any_command_and_any_write_to_the_disk_is_repaired(
    open_store: Callable[..., TieredBackend],
    redis_server: RedisServer,
    record_server: RedisServer,
    tmp_path: Path,
    call: str,
) -> None:
    seam = 0
    witness = open_store()
    for n in count(1):
        witness.set("k", "old")
        arguments = (redis_server.url, record_server.url, str(tmp_path / "journal"), "none")
        done = finish(injecting(f"{call}:signal=SIGKILL:when={n}", program("intents", *arguments)))
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        value = truth(record_server)
        assert value in ("old", "new") and ("acknowledged" not in done.stdout or value == "new")
        seam += value == "new" and not converged(witness)
        assert open_store(entries=0).get("k") == value
        eventually(lambda value=value: converged(witness) and witness.get("k") == value)
        if done.returncode == 0:
            break
    assert n > 3
    assert seam or call == "pwrite64", "it was never killed between the commit and the cache"


def test_a_cache_that_is_down_and_a_writer_that_is_killed_meanwhile(
    open_store: Callable[..., TieredBackend], redis_server: RedisServer, record_server: RedisServer, tmp_path: Path
) -> None:
    witness = open_store()
    witness.set_many({f"k{n}": "old" for n in range(50)})
    redis_server.freeze()
    url = f"memory://,{redis_server.url},{record_server.url}?name=record&timeout=5s"
    with Agent(url, journal=str(tmp_path / "journal")) as agent:
        for n in range(50):
            assert agent.set(f"k{n}", "new")["redis"] == "queued"
        agent.kill()
    redis_server.thaw()
    assert open_store(entries=0).get_many([f"k{n}" for n in range(50)]) == {f"k{n}": "new" for n in range(50)}
    eventually(lambda: converged(witness, "k7"))
    assert witness.get_many([f"k{n}" for n in range(50)]) == {f"k{n}": "new" for n in range(50)}


def test_a_cache_that_comes_back_with_old_data_is_not_believed(
    open_store: Callable[..., TieredBackend], redis_server: RedisServer
) -> None:
    store = open_store(entries=0)
    store.set_many({"k": "old", "gone": "old"})
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.save()
    store.set("k", "new")
    store.delete("gone")
    redis_server.restart()
    assert store.get("k") == "new" and store.get("gone") is None
    eventually(lambda: store.lookup("k").tier == "redis")
    assert store.get("k") == "new" and store.get("gone") is None
    assert open_store(entries=0).get_many(["k", "gone"]) == {"k": "new"}


def test_keys_that_never_were_cost_no_generation_and_no_debt(
    open_store: Callable[..., TieredBackend], record_server: RedisServer
) -> None:
    store = open_store()
    store.set("k", "v")  # the cache is adopted, under a generation of its own
    generation = store._core.chain.record.generation("default")
    for n in range(200):
        assert store.get(f"never {n}") is None
    assert store.health()["redis"]["owed"] == 0
    store.delete("k")
    with redis.Redis.from_url(record_server.url) as raw:
        raw.delete(*raw.keys("tiered:default:*:k"))  # as after the time that a tombstone is kept
    store._core.chain.guards[0].owe("default", "k", 2**63 - 1)
    eventually(lambda: not store.health()["redis"]["owed"])
    assert store._core.chain.record.generation("default") == generation


# A stress over a record that fails


def stress(tmp_path: Path, record: Faults, **options: Any):  # type: ignore[no-untyped-def]
    """Two backends that share a faulty cache, a faulty record and a journal, three threads each, and a last reading."""
    shared, inner = MemoryTier(name="record"), MemoryTier(name="cache")
    history, seed = History(), 11
    cache_faults = Faults(before=0.1, after=0.05, late=0.1, delay=0.02, seconds=0.005)

    def backend() -> TieredBackend:
        journaled = JournaledRecord(
            FaultyRecord(shared, record, seed=seed), tmp_path / "journal", grace=GRACE, **options
        )
        cache = FaultyTier(inner, cache_faults, seed=seed)
        return TieredBackend([MemoryTier(max_entries=4), cache, journaled], staleness=30.0)

    stores = [backend(), backend()]
    jobs = [
        Workload(store, history, process=name, thread=n, seed=seed, keys=8)
        for name, store in zip("ab", stores, strict=True)
        for n in range(3)
    ]
    until = time.monotonic() + 3.0
    run_threads(jobs, lambda: time.monotonic() > until)
    with TieredBackend([shared]) as fresh:
        Workload(fresh, history, process="record", thread=0, seed=seed, keys=8).read_all()
        for store in stores:
            store.close()
    return check(history.events(), delta=30.0, errors_allowed=True)


@pytest.mark.parametrize("max_pending", [100_000, 20])
def test_the_promises_hold_over_a_faulty_record_with_a_journal(tmp_path: Path, max_pending: int) -> None:
    report = stress(tmp_path, Faults(before=0.03, after=0.03), max_pending=max_pending)
    assert not report.findings, report.findings[:5]
    assert report.acknowledged > 100 and report.unsure


def test_directories_are_private(open_store: Callable[..., TieredBackend], tmp_path: Path) -> None:
    store = open_store()
    store.set("k", "v")
    journal = tmp_path / "journal"
    assert journal.stat().st_mode & 0o777 == 0o700 and (journal / "writers").stat().st_mode & 0o777 == 0o700
    for path in (journal / "tiered.sqlite3", journal / "writers" / "0"):
        assert path.stat().st_mode & 0o777 == 0o600
    store.close()
    shutil.rmtree(journal)
