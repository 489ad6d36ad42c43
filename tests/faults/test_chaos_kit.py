"""The chaos kit can fail: each anomaly is found, each broken store is caught, and the right one passes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import RedisServer, free_port
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.errors import Ambiguous, NotApplied, Reason, StoreUnavailable
from tiered.replication.coherence import Coherence
from tiered.replication.guard import Guard
from tiered.testing.chaos import (
    Event,
    Faults,
    FaultyRecord,
    FaultyTier,
    History,
    Proxy,
    check,
    read_history,
    run_threads,
)
from tiered.testing.chaos.campaign import Plan, run
from tiered.testing.chaos.checker import Report
from tiered.testing.chaos.history import HistoryFile
from tiered.testing.chaos.stack import Stack
from tiered.testing.chaos.workload import Workload
from tiered.testing.contract import CacheContract, put
from tiered.tiers import redis_link
from tiered.tiers.file_session import Session
from tiered.tiers.partitions import Partition

# The checker, on histories made by hand. Times are seconds; delta is 1.5.


class Tape:
    """Writes a history: calls follow each other unless `at` says when one began."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 100.0

    def __call__(self, op: str, key: str, value: Any = None, version: int = 0, /, by: str = "a", **more: Any) -> Tape:
        start = more.pop("at", self.now)
        end = more.pop("end", start + 0.1)
        self.events.append(Event(by, len(self.events), op, key, start, end, value, version, **more))
        self.now = max(self.now, end or start) + 0.1
        return self

    def wait(self, seconds: float) -> Tape:
        self.now += seconds
        return self

    def found(self) -> list[str]:
        report = check(self.events)
        assert report.ok == (not report.findings)
        return [finding.check for finding in report.findings]


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_a_right_history_is_not_accused(tape: Tape) -> None:
    tape("get", "k")("set", "k", "v1", 1)("lookup", "k", "v1", 1)("delete", "k")("lookup", "k", None, 2)
    tape("set", "k", "v3", 3)("get", "k", "v3", by="b")("update", "k", "v4", base="v3")("final", "k", "v4", 4, by="f")
    tape("increment", "n", 1)("increment", "n", 2, by="b")("final", "n", 2, 9, by="f")
    assert tape.found() == []


def test_a_lost_write_is_found(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("set", "k", "v2", 2)("final", "k", "v1", 1, by="f")
    assert tape.found() == ["lost"]


def test_a_write_lost_to_nothing_is_found(tape: Tape) -> None:
    assert tape("set", "k", "v1", 1)("final", "k", by="f").found() == ["lost"]


def test_a_lost_delete_is_found(tape: Tape) -> None:
    assert tape("set", "k", "v1", 1)("delete", "k")("final", "k", "v1", 1, by="f").found() == ["lost"]


def test_a_stale_read_of_ones_own_write_is_found_at_once(tape: Tape) -> None:
    assert tape("set", "k", "v1", 1)("set", "k", "v2", 2)("get", "k", "v1").found() == ["stale"]


def test_a_stale_read_elsewhere_is_found_after_delta_and_its_age_told(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("set", "k", "v2", 2)("get", "k", "v1", by="b")
    report = check(tape.events)
    assert report.ok and report.lagging == 1 and report.oldest == pytest.approx(0.1)
    tape.wait(3)("get", "k", "v1", by="b")
    report = check(tape.events)
    assert [finding.check for finding in report.findings] == ["stale elsewhere"]
    assert report.findings[0].age == report.oldest == pytest.approx(3.3)


def test_the_age_counts_from_the_first_write_that_was_missed(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("set", "k", "v2", 2).wait(3)("set", "k", "v3", 3)("get", "k", "v1", by="b")
    assert tape.found() == ["stale elsewhere"]


def test_a_resurrected_key_is_found(tape: Tape) -> None:
    assert tape("set", "k", "v1", 1)("delete", "k")("get", "k", "v1").found() == ["resurrected"]


def test_a_key_resurrected_elsewhere_is_found_after_delta(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("delete", "k")("get", "k", "v1", by="b")
    assert tape.found() == []
    assert tape.wait(2)("get", "k", "v1", by="b").found() == ["resurrected"]


def test_versions_going_back_in_one_process_are_found(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("set", "k", "v2", 2)("get", "k", "v2", by="b")("get", "k", "v1", by="b")
    assert tape.found() == ["back"]


def test_a_value_after_its_tombstone_in_one_process_is_going_back(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("delete", "k")("lookup", "k", None, 2, by="b")("lookup", "k", "v1", 1, by="b")
    assert tape.found() == ["back"]


def test_nothing_after_a_value_that_nobody_deleted_is_going_back(tape: Tape) -> None:
    tape("set", "k", "v1", 1, at=100, end=None)("get", "k", "v1", by="b")("get", "k", by="b")
    assert set(tape.found()) == {"back", "unfinished"}


def test_a_false_miss_is_found(tape: Tape) -> None:
    assert tape("set", "k", "v1", 1)("get", "k").found() == ["miss"]
    tape = Tape()("set", "k", "v1", 1).wait(2)("get_many", "k", by="b")
    assert tape.found() == ["miss"]


def test_an_old_tombstone_is_a_false_miss(tape: Tape) -> None:
    assert tape("delete", "k")("set", "k", "v2", 2).wait(2)("lookup", "k", None, 1, by="b").found() == ["miss"]


def test_a_miss_while_a_delete_is_under_way_is_right(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("delete", "k", at=100.2, end=105)("get", "k", at=101)
    assert tape.found() == []


def test_a_value_that_nobody_wrote_is_found(tape: Tape) -> None:
    assert tape("get", "k", "mine").found() == ["wrong"]


def test_one_version_with_two_values_is_found(tape: Tape) -> None:
    assert "wrong" in tape("set", "k", "v1", 1)("set", "k", "v2", 2)("lookup", "k", "v2", 1).found()


def test_a_denied_write_that_happened_is_found(tape: Tape) -> None:
    tape("set", "k", "v1", 0, error="NotApplied full")("get", "k", "v1", 7)
    assert set(tape.found()) == {"error", "dishonest"}


@pytest.mark.parametrize("seen", [None, "v1", "v2"])
def test_an_ambiguous_write_may_count_or_not(tape: Tape, seen: str | None) -> None:
    op, value = ("delete", None) if seen is None else ("set", "v2")
    tape("set", "k", "v1", 1)(op, "k", value, error="Ambiguous timeout")("final", "k", seen, by="f")
    assert check(tape.events, errors_allowed=True).findings == []
    assert tape.found() == ["error"]


def test_an_untyped_error_is_never_allowed(tape: Tape) -> None:
    tape("get", "k", error="KeyError")
    assert not check(tape.events, errors_allowed=True).ok


def test_a_final_reading_that_fails_is_found_whatever_errors_are_allowed(tape: Tape) -> None:
    """What nobody could read may be lost."""
    tape("set", "k", "v1", 1)("final", "k", by="f", error="StoreUnavailable connection")
    assert [finding.check for finding in check(tape.events, errors_allowed=True).findings] == ["error"]


def test_lost_updates_are_found(tape: Tape) -> None:
    tape("set", "k", "v1", 1)("update", "k", "v2", base="v1")("update", "k", "v3", base="v1")
    assert tape.found() == ["lost update"]
    tape = Tape()("set", "k", "v1", 1)("set", "k", "v2", 2)("update", "k", "v3", base="v1")("lookup", "k", "v3", 3)
    assert tape.found() == ["lost update"]
    assert Tape()("increment", "n", 1)("increment", "n", 1).found() == ["lost update"]


def test_a_counter_below_or_above_its_increments_is_found(tape: Tape) -> None:
    tape("increment", "n", 1)("increment", "n", 2)
    assert "lost" in Tape()("increment", "n", 1)("increment", "n", 2)("final", "n", 1, 1, by="f").found()
    assert tape("final", "n", 3, 3, by="f").found() == ["wrong"]


def test_a_version_below_an_acknowledged_one_is_found(tape: Tape) -> None:
    assert "back" in tape("set", "k", "v1", 5)("set", "k", "v2", 4).found()


def test_a_call_that_never_returned_is_found_unless_its_process_was_killed(tape: Tape) -> None:
    tape("set", "k", "v1", end=None)
    assert tape.found() == ["unfinished"]
    assert check(tape.events, killed={"a"}).ok


def test_the_longest_call_is_judged_only_against_a_limit(tape: Tape) -> None:
    tape("get", "k", at=100, end=103)
    assert check(tape.events).longest == 3 and check(tape.events).ok
    assert not check(tape.events, longest_allowed=2).ok


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("set", "delete", "update", "increment", "ambiguous", "get", "lookup")),
        st.sampled_from("kl"),
        st.sampled_from("ab"),
    ),
    max_size=60,
)


@given(steps=STEPS, luck=st.randoms(use_true_random=False))
def test_a_correct_sequential_history_is_never_accused(steps: Sequence[tuple[str, str, str]], luck: Any) -> None:
    tape, held, versions = Tape(), dict[str, tuple[Any, int]](), iter(range(1, 1000))
    for number, (op, key, who) in enumerate(steps):
        token, (before, _) = f"v{number}", held.get(key, (None, 0))
        if op == "increment":
            key, total = "n", (held.get("n", (0, 0))[0] or 0) + 1
            held[key] = total, next(versions)
            tape(op, key, total, by=who)
        elif op in ("get", "lookup"):
            value, version = held.get(key, (None, 0))
            tape(op, key, value, version if op == "lookup" else 0, by=who)
        elif op == "ambiguous":
            if luck.random() < 0.5:
                held[key] = token, next(versions)
            tape("set", key, token, by=who, error="Ambiguous timeout")
        else:
            held[key] = (None if op == "delete" else token), next(versions)
            told = held[key][1] if op == "set" else 0
            tape(op, key, held[key][0], told, by=who, base=before if op == "update" else None)
    for key in "kln":
        tape("final", key, *held.get(key, (None, 0)), by="f")
    assert check(tape.events, errors_allowed=True).findings == []


def test_a_history_survives_on_disk_without_its_cut_off_last_line(tmp_path: Path) -> None:
    path, begun = tmp_path / "h.jsonl", Event("a", 1, "set", "k", 1.0, value="v")
    recorder = HistoryFile(path)
    for event in (begun, begun._replace(end=2.0, version=2**63 - 1), begun._replace(call=2, key="l")):
        recorder.add(event)
    recorder.close()
    with path.open("ab") as file:
        file.write(b'["a",3,"se')
    assert read_history([path]) == [begun._replace(end=2.0, version=2**63 - 1), begun._replace(call=2, key="l")]


# Faulty tiers


class TestFaultyTierWithoutFaults(CacheContract):
    @pytest.fixture
    def tier(self) -> Iterator[FaultyTier]:
        tier = FaultyTier(MemoryTier())
        yield tier
        tier.close()


def frame(version: int) -> bytes:
    return b"\xf5t\x01\0\0" + version.to_bytes(8, "big") + bytes(20)


def test_a_failure_before_has_no_effect_and_one_after_has() -> None:
    tier = FaultyTier(MemoryTier(), Faults(before=1))
    with pytest.raises(NotApplied):
        put(tier, "s", "k", frame(1))
    with pytest.raises(StoreUnavailable):
        tier.get("s", "k")
    tier.faults = Faults(after=1)
    with pytest.raises(Ambiguous):
        put(tier, "s", "k", frame(2))
    tier.faults = Faults()
    assert tier.get("s", "k") == frame(2) and tier.counts == {"before": 2, "after": 1}


def test_a_late_put_arrives_after_its_caller_has_given_up() -> None:
    tier = FaultyTier(MemoryTier(), Faults(late=1, late_by=2))
    with pytest.raises(Ambiguous) as error:
        put(tier, "s", "k", frame(1))
    assert error.value.reason is Reason.TIMEOUT
    tier.faults = Faults()
    tier.get("s", "other")
    tier.get("s", "other")
    assert tier.get("s", "k") == frame(1)


def test_eviction_delay_and_old_data() -> None:
    slept: list[float] = []
    tier = FaultyTier(MemoryTier(), sleep=slept.append)
    put(tier, "s", "k", frame(1))
    put(tier, "s", "k", frame(2))
    tier.faults = Faults(old=1, delay=1, seconds=3)
    assert tier.get("s", "k") == frame(1) and slept == [3]
    tier.faults = Faults(evict=1)
    assert tier.get("s", "k") is None
    tier.faults = Faults()
    assert put(tier, "s", "k", frame(1))  # an empty place takes what is older


def test_a_restored_snapshot_is_refused_until_a_probe_sees_the_new_run() -> None:
    tier = FaultyTier(MemoryTier())
    put(tier, "s", "k", frame(1))
    before = tier.probe()
    tier.snapshot()
    put(tier, "s", "k", frame(2))
    put(tier, "s", "l", frame(3))
    tier.restore()
    with pytest.raises(StoreUnavailable) as error:
        tier.get("s", "k")
    assert error.value.reason is Reason.RESTARTED
    assert tier.probe() != before
    assert tier.get_many("s", ["k", "l"]) == [frame(1), None]


# The proxy


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    before = threading.active_count()
    with Proxy("127.0.0.1", port) as it:
        yield it
    assert threading.active_count() == before


def client(proxy: Proxy) -> redis.Redis:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(port=proxy.port, socket_timeout=0.5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["refuse", "hang", "drop", "lose_replies"])
def test_a_mode_fails_calls_on_old_and_new_connections_and_passes_again(proxy: Proxy, mode: Any) -> None:
    with client(proxy) as old, client(proxy) as new:
        assert old.ping()
        proxy.switch(mode)
        for it in (old, new):
            with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
                it.ping()
        proxy.pass_through()
        assert old.ping() and new.ping()
    assert proxy.kind == "pass" and proxy.counts.accepted >= 3


def test_a_lost_reply_leaves_its_effect(proxy: Proxy, redis_url: str) -> None:
    for cut, error in ((True, redis.ConnectionError), (False, redis.TimeoutError)):
        with client(proxy) as it:
            assert it.ping()
            proxy.lose_replies(cut=cut)
            with pytest.raises(error):
                it.incr("n")
        proxy.pass_through()
    with redis.Redis.from_url(redis_url) as direct:
        assert direct.get("n") == b"2"


@pytest.mark.parametrize("mode", ["delay", "hang"])
def test_a_request_that_was_held_arrives_after_its_client_has_gone(proxy: Proxy, redis_url: str, mode: str) -> None:
    with client(proxy) as it:
        assert it.ping()
        proxy.delay(1.5) if mode == "delay" else proxy.hang()
        with pytest.raises(redis.TimeoutError):
            it.set("late", "1")
    proxy.pass_through() if mode == "hang" else None
    with redis.Redis.from_url(redis_url) as direct:
        eventually(lambda: direct.get("late") == b"1")
    eventually(lambda: proxy.counts.late == 1)


def test_dropped_requests_never_arrive(proxy: Proxy, redis_url: str) -> None:
    proxy.drop()
    with client(proxy) as it, pytest.raises(redis.TimeoutError):
        it.set("dropped", "1")
    proxy.pass_through()
    with client(proxy) as it, redis.Redis.from_url(redis_url) as direct:
        assert it.ping() and direct.get("dropped") is None


def test_a_flapping_server_fails_and_answers_in_turn(proxy: Proxy) -> None:
    proxy.flap(up=0.05, down=0.05)
    answers: set[bool] = set()

    def both() -> bool:
        with client(proxy) as it:
            try:
                answers.add(bool(it.ping()))
            except redis.RedisError:
                answers.add(False)
        return answers == {True, False}

    eventually(both)


def test_a_closed_proxy_listens_no_more(proxy: Proxy) -> None:
    with client(proxy) as it:
        it.ping()
        proxy.close()
        proxy.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=1).close()


# Whole stores without servers: a faulty cache over a file. The right one passes; each mutant is caught.

CACHE_FAULTS = Faults(before=0.1, after=0.05, late=0.1, delay=0.02, seconds=0.005)


def stress(
    tmp_path: Path, inner: MemoryTier | None = None, faults: Faults = CACHE_FAULTS, record: Faults | None = None
):  # type: ignore[no-untyped-def]
    """Two backends that share a faulty cache and a file, three threads each, and a final reading by a fresh one."""
    inner, history, seed = inner or MemoryTier(name="cache"), History(), 7
    tmp_path = Path(tempfile.mkdtemp(dir=tmp_path))
    until = time.monotonic() + 3.0

    def backend() -> TieredBackend:
        last = FileTier(tmp_path, sync="normal")
        cache = FaultyTier(inner, faults, seed=seed)
        tiers = [MemoryTier(max_entries=4), cache, FaultyRecord(last, record, seed=seed)]
        return TieredBackend(tiers, staleness=30.0)

    stores = [backend(), backend()]
    jobs = [
        Workload(store, history, process=name, thread=n, seed=seed, keys=8)
        for name, store in zip("ab", stores, strict=True)
        for n in range(3)
    ]
    run_threads(jobs, lambda: time.monotonic() > until)
    with TieredBackend([FileTier(tmp_path)]) as fresh:
        Workload(fresh, history, process="record", thread=0, seed=seed, keys=8).read_all()
    for store in stores:
        store.close()
    return check(history.events(), delta=30.0, errors_allowed=record is not None)


def test_the_store_keeps_its_promises_over_a_faulty_cache(tmp_path: Path) -> None:
    report = stress(tmp_path)
    assert not report.findings, report.findings[:5]
    assert report.acknowledged > 100 and report.reads > 100


def test_the_store_is_honest_over_a_faulty_record(tmp_path: Path) -> None:
    report = stress(tmp_path, record=Faults(before=0.05, after=0.05))
    assert not report.findings, report.findings[:5]
    assert report.unsure and report.errors


def no_debts() -> None:
    """What Redis missed nobody knows: neither this process nor the marks in the record."""
    Guard.owe_many = lambda *_: None  # type: ignore[method-assign]  # the mutant
    Session._marked = lambda *_: []  # type: ignore[method-assign]  # the mutant


def found_old(report: Report) -> bool:
    """A mutant may survive one run: the scheduling is not repeated."""
    return bool(report.found("stale") or report.found("resurrected"))


def test_a_store_that_forgets_its_debts_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "owe_many", lambda *_: None)
    assert any(found_old(stress(tmp_path)) for _ in range(5))


class AnyVersion(MemoryTier):
    """A cache tier that takes whatever comes last."""

    def _put(self, part: Partition, key: str, frame: bytes, retention: int) -> bool:
        self.drop(part, key)
        return super()._put(part, key, frame, retention)


def test_a_cache_that_takes_older_versions_is_caught(tmp_path: Path) -> None:
    assert any(found_old(stress(tmp_path, AnyVersion(name="cache"), Faults(late=0.3))) for _ in range(5))


def test_a_cache_that_returns_old_data_is_caught(tmp_path: Path) -> None:
    assert any(found_old(stress(tmp_path, faults=Faults(old=0.3))) for _ in range(5))


# Campaigns on a real Redis, with processes


def campaign(tmp_path: Path, server: RedisServer, faults: Sequence[str], **options: Any):  # type: ignore[no-untyped-def]
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    url = f"memory://?max_entries=8,{server.url},file://{tmp_path}/data"
    plan = Plan(
        stack=Stack.of(url, max_ttl=120),
        directory=place,
        namespace="chaos",
        seed=3,
        faults=faults,
        **{"staleness": 5.0, **options},
    )
    return run(plan, lambda _: None)


@pytest.mark.faults
def test_a_campaign_passes_and_clears_its_namespace(tmp_path: Path, redis_server: RedisServer) -> None:
    report = campaign(tmp_path, redis_server, ["refuse", "delay", "kill"], seconds=5.0)
    assert not report.findings, report.findings[:5]
    assert report.acknowledged > 100
    with TieredBackend([FileTier(tmp_path / "data")], namespace="chaos") as store:
        assert not list(store.keys())


@pytest.mark.faults
def test_a_campaign_catches_a_store_that_forgets_its_debts(tmp_path: Path, redis_server: RedisServer) -> None:
    def found() -> bool:
        faults = ["refuse", "lose_replies"]
        return found_old(campaign(tmp_path, redis_server, faults, seconds=4.0, processes=1, prepare=no_debts))

    assert any(found() for _ in range(5))  # the scheduling is not repeated, so one campaign may miss it


def any_version() -> None:
    script = redis_link.PUT
    script.text = script.text.replace("if hi > held_hi or (hi == held_hi and lo > held_lo) then", "if true then")
    import hashlib

    script.sha = hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.faults
def test_a_campaign_catches_a_redis_that_takes_older_versions(tmp_path: Path, redis_server: RedisServer) -> None:
    def found() -> bool:
        return not campaign(tmp_path, redis_server, ["delay"], seconds=5.0, threads=4, prepare=any_version).ok

    assert any(found() for _ in range(15))


def deaf() -> None:
    """Nobody hears what others write, and believes to."""
    hear = Coherence._hear
    Coherence._hear = lambda self, told: hear(self, told) if told.kind == "subscribed" else None  # type: ignore[method-assign]  # the mutant


@pytest.mark.faults
def test_a_campaign_catches_a_memory_that_is_told_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    """Keys that each process writes all the time show no old value of another's for longer than the staleness bound."""

    def found() -> bool:
        report = campaign(tmp_path, redis_server, ["delay"], seconds=8.0, prepare=deaf, staleness=1.5)
        return bool(report.found("stale elsewhere") or report.found("resurrected"))

    assert any(found() for _ in range(10))


def dies() -> None:
    threading.Timer(1.0, lambda: os._exit(9)).start()


def ends_its_threads() -> None:
    work = Workload.step

    def step(self: Workload) -> None:
        if self.finished == 50:
            raise SystemExit
        work(self)

    Workload.step = step  # type: ignore[method-assign]  # the mutant


def closes_badly() -> None:
    def close(self: TieredBackend) -> None:
        raise RuntimeError("close")

    TieredBackend.close = close  # type: ignore[method-assign]  # the mutant


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mutant", "told"), [(dies, "exit code 9"), (ends_its_threads, "exit code 1"), (closes_badly, "exit code 1")]
)
def test_a_campaign_catches_a_process_that_dies(
    tmp_path: Path, redis_server: RedisServer, mutant: Any, told: str
) -> None:
    """Reads leave no trace before they return: who dies in them would be missed, and so would what it was to find."""
    report = campaign(tmp_path, redis_server, ["delay"], seconds=3.0, prepare=mutant)
    assert sorted(report.died) == [f"p0: {told}", f"p1: {told}"] and not report.ok


@pytest.mark.faults
def test_a_process_that_died_before_it_was_to_be_killed_is_not_excused(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    report = campaign(tmp_path, redis_server, ["kill"], seconds=4.0, processes=1, prepare=dies)
    assert len(report.died) == 2 and not report.ok


def tiered_chaos(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tiered.cli", "chaos", *args]
    env = {name: value for name, value in os.environ.items() if name not in ("TIERED_URL", "REDIS_URL")}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=env)


@pytest.mark.faults
def test_tiered_chaos_on_a_redis_of_its_own() -> None:
    args = (
        "--seconds",
        "3",
        "--seed",
        "5",
        "--faults",
        "hang,flush",
        "--processes",
        "1",
        "--staleness",
        "5",
        "--longest",
        "60",
    )
    result = tiered_chaos(*args)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "every promise held" in result.stdout and result.stderr == ""
    assert "repeat: tiered chaos --seed 5 --seconds 3" in result.stdout
    told, command = result.stdout.splitlines()[:-1], result.stdout.splitlines()[-1]
    assert max(map(len, told)) <= 80 < len(command)  # what is to be copied is one line


@pytest.mark.faults
def test_tiered_chaos_on_the_users_stack(tmp_path: Path, redis_server: RedisServer) -> None:
    with TieredBackend.from_url(f"{redis_server.url},file:{tmp_path}/data") as store:
        store.set("mine", "kept")
    url = f"memory://,{redis_server.url},file:{tmp_path}/data"
    args = (
        "--seconds",
        "2",
        "--seed",
        "6",
        "--faults",
        "refuse",
        "--processes",
        "1",
        "--staleness",
        "5",
        "--longest",
        "60",
    )
    result = tiered_chaos("--url", url, "--json", *args)
    told = json.loads(result.stdout)
    assert result.returncode == 0 and told["ok"] and told["seed"] == 6 and told["calls"] > 100, result.stdout
    with TieredBackend.from_url(f"{redis_server.url},file:{tmp_path}/data") as store:
        assert store.get("mine") == "kept"
        assert not list(store.namespace(told["namespace"]).keys())


@pytest.mark.faults
@pytest.mark.parametrize("command", ["chaos", "demo"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_nothing_of_it_stays(tmp_path: Path, number: signal.Signals, command: str) -> None:
    """SIGHUP comes when the terminal is closed."""
    env = {**os.environ, "TMPDIR": str(tmp_path), "TIERED_URL": "", "REDIS_URL": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "tiered.cli", command, "--seconds", "60"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # a runner may have it ignored
    )
    with process:
        assert process.stdout is not None
        while not re.search(rb" calls |tiered-demo-", line := process.stdout.readline()):
            assert line
        process.send_signal(number)
        process.stdout.read()  # to its end, as of all that have it
    assert process.returncode > 0 and not list(tmp_path.iterdir())


def test_a_redis_that_is_away_from_the_start_is_exit_3_and_no_campaign(tmp_path: Path) -> None:
    """It would end with tiers that disagree, and nobody could say why."""
    result = tiered_chaos("--url", f"memory://,redis://127.0.0.1:{free_port()}/0,file:{tmp_path}", "--seconds", "1")
    assert result.returncode == 3 and "check that the server runs" in result.stderr and "check " not in result.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--faults", "hagn"), "hang"),
        (("--url", "memory://,file:./x"), "redis://"),
        (("--url", "memory://,redis://localhost,file:./x", "--faults", "old"), "--url"),
        (("--seconds", "0"), "greater than zero"),
        (("--keep", "."), "--keep .: File exists"),
        (("--keep", "/dev/null/x"), "--keep /dev/null/x: Not a directory"),
    ],
)
def test_what_cannot_run_is_a_usage_error_that_says_what_to_do(args: Sequence[str], says: str) -> None:
    result = tiered_chaos(*args)
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr
