"""PROMETHEUS_MULTIPROC_DIR: what each of many processes did is added up, forked children and restarts included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.observability.exported import Series, parsed
from tests.prometheus import ROOT
from tiered import ConfigError
from tiered.observability.multiprocess import Flusher

WORK = """
import os, sys
from tiered import MemoryTier, TieredBackend
from tiered.observability.multiprocess import Flusher
with Flusher(every=3600) as flusher, TieredBackend([MemoryTier(max_bytes=2**20)], name="bot") as store:
    def hits(count):
        store.set("k", 1)
        for _ in range(count):
            store.get("k")
        flusher.flush()
    hits(3)
    if sys.argv[1] == "fork":
        if not (pid := os.fork()):
            hits(10)
            os._exit(0)
        os.waitpid(pid, 0)
    hits(4)
"""
SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
CLOSED = """
import os, sys
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.observability.multiprocess import Flusher
with Flusher(every=3600) as flusher:
    with TieredBackend([MemoryTier(), RedisTier("redis://127.0.0.1:1/0"), FileTier(sys.argv[1])], name="job") as store:
        store.set_many({f"k{n}": n for n in range(20)})
        flusher.flush()
        if sys.argv[2] == "open":
            os._exit(0)
"""
AGAIN = """
from tiered import MemoryTier, TieredBackend
from tiered.observability.multiprocess import Flusher
with Flusher(every=3600) as flusher:
    for sets in 10, 20, 30:
        with TieredBackend([MemoryTier()], name="job") as store:
            for n in range(sets):
                store.set("k", n)
            flusher.flush()
            flusher.flush()
"""
FULL = """
import os, types
from tiered import MemoryTier, TieredBackend
from tiered.observability.multiprocess import Flusher
real = os.statvfs
with TieredBackend([MemoryTier()], name="bot") as store:
    with Flusher(every=3600) as flusher:
        store.set("k", 1)
        os.statvfs = lambda path: types.SimpleNamespace(f_bavail=255, f_frsize=4096)
        try:
            flusher.flush()
        except OSError as error:
            print(error.strerror, os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        os.statvfs = real
        store.set("k", 2)
        flusher.flush()
        os.statvfs = lambda path: types.SimpleNamespace(f_bavail=255, f_frsize=4096)
        store.namespace("new").get("k")
    print("closed")
"""
INTERRUPTED = """
import faulthandler, os, sys
from tiered import MemoryTier, TieredBackend
from tiered.observability.multiprocess import Flusher
faulthandler.dump_traceback_later(60, exit=True)
hooks = {it.__code__ for it in (Flusher.before_fork, Flusher.after_fork_in_parent)}

def interrupted(at):
    def look(frame, event, _):
        nonlocal at
        if frame.f_code not in hooks:
            return None
        frame.f_trace_opcodes = True
        if event in ("opcode", "line") and at >= 0:  # Python 3.12.1 tells no opcodes
            at -= 1
            if at < 0:
                raise KeyboardInterrupt
        return look
    sys.settrace(look)
    pid = os.fork()
    sys.settrace(None)
    flusher.flush()
    if not pid:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return at < 0

with Flusher(every=3600) as flusher, TieredBackend([MemoryTier()], name="bot"):
    places = 0
    while interrupted(places):
        places += 1
    print(places)
"""


def run(directory: Path, program: str, *arguments: str) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def value(series: Series, name: str, **labels: str) -> float:
    found = [it for (its, given), it in series.items() if its == name and labels.items() <= dict(given).items()]
    assert found, name
    return sum(found)


def test_processes_and_their_children_are_added_up(tmp_path: Path) -> None:
    run(tmp_path, WORK, "alone")
    run(tmp_path, WORK, "fork")
    series = parsed(run(tmp_path, SCRAPE))
    assert value(series, "tiered_reads_total", cache="bot", result="hit", tier="memory") == 7 + 7 + 10
    assert value(series, "tiered_operations_total", cache="bot", op="set", result="ok") == 2 + 2 + 1
    buckets = {
        dict(labels)["le"]: it
        for (name, labels), it in series.items()
        if name == "tiered_operation_duration_seconds_bucket" and ("op", "set") in labels
    }
    assert buckets["+Inf"] == value(series, "tiered_operation_duration_seconds_count", op="set") == 5
    assert list(buckets.values()) == sorted(buckets.values())
    assert value(series, "tiered_operation_duration_seconds_sum", op="set") > 0
    assert (
        value(series, "tiered_build_info") == 1 and value(series, "tiered_limit_bytes", cache="bot") == 2**20
    )  # the child's, who closed nothing


def test_a_store_that_was_closed_is_no_reason_for_an_alert_any_more(tmp_path: Path) -> None:
    """Nothing can be removed from the files: what a gauge said last would be said until the process ends."""

    def gauges(when: str) -> dict[str, float]:
        directory = tmp_path / when
        directory.mkdir()
        run(directory, CLOSED, str(tmp_path / "store"), when)
        series = parsed(run(directory, SCRAPE))
        names = ("tiered_entries", "tiered_size_bytes", "tiered_replay_pending", "tiered_replay_oldest_age_seconds")
        return {
            **{name: value(series, name, cache="job") for name in names},
            **{it: value(series, "tiered_breaker_state", cache="job", state=it) for it in ("closed", "open")},
            "connected": value(series, "tiered_invalidation_connected", cache="job"),
        }

    before = gauges("open")
    assert before["tiered_replay_pending"] == 20
    assert gauges("closed") == {**dict.fromkeys(before, 0), "closed": 1, "connected": 1}


def test_a_store_that_is_opened_again_and_again_is_added_up(tmp_path: Path) -> None:
    """The one after it has counted further by the next flush: that it counts anew is not to be seen in the number."""
    run(tmp_path, AGAIN)
    assert value(parsed(run(tmp_path, SCRAPE)), "tiered_operations_total", cache="job", op="set", result="ok") == 60


def test_a_full_disk_ends_no_process_and_the_next_time_catches_up(tmp_path: Path) -> None:
    """Writing to a part of a mapped file for which there is no room is SIGBUS."""
    assert run(tmp_path, FULL) == "No space left on device []\nclosed\n"
    series = parsed(run(tmp_path, SCRAPE))
    assert value(series, "tiered_operations_total", cache="bot", op="set", result="ok") == 2


def test_a_signal_handler_that_raises_anywhere_in_a_fork_leaves_no_process_waiting(tmp_path: Path) -> None:
    assert int(run(tmp_path, INTERRUPTED)) > 10


def test_it_says_so_where_the_variable_came_too_late() -> None:
    with pytest.raises(ConfigError, match="before prometheus_client"):
        Flusher()
