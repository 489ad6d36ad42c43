"""The file tier, on a real disk."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clocks import HandClock
from tiered.entry import Draft, draft, namespace_seed, tombstone, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreUnavailable
from tiered.tiers import file_place, file_store
from tiered.tiers.base import RETENTION_MS, Record, Tier, Write
from tiered.tiers.combine import Combiner, Job
from tiered.tiers.file import FileTier

SEED = namespace_seed("n")
NOW = 1_000_000


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    it = FileTier(tmp_path / "store", clock=HandClock(NOW / 1000 - 1_700_000_000))
    yield it
    it.close()


def value(key: str, payload: bytes = b"v", expires_at: int = 0) -> Draft:
    return draft(SEED, key, payload, 1, expires_at=expires_at)


def put(tier: FileTier, key: str, payload: bytes = b"v", *, expect: int | None = None, expires_at: int = 0) -> int:
    done = tier.commit("n", [Write(key, value(key, payload, expires_at), expect)], now=NOW)
    return done.written[0].version


def frame(key: str, version: int, keep_until: int = 0) -> bytes:
    return draft(SEED, key, b"v", 1, keep_until=keep_until).seal(version)


def connection(tier: FileTier) -> sqlite3.Connection:
    """The one that writes."""
    assert tier._writer._session is not None
    return tier._writer._session.connection


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


# Reading and writing


def test_is_a_record_and_a_cache_tier(tier: FileTier) -> None:
    assert isinstance(tier, Record) and isinstance(tier, Tier)


def test_read_returns_what_was_committed(tier: FileTier) -> None:
    assert tier.read("n", "k") == (1, None)
    done = tier.commit("n", [Write("k", value("k"))], now=NOW)
    assert tier.read("n", "k") == (1, done.written[0].frame)
    assert tier.read_many("n", ["x", "k"]) == (1, [None, done.written[0].frame])
    assert tier.read_many("n", []) == (1, [])


@pytest.mark.parametrize("key", ["", "a\0b", "a\nb", "é", "\U0001f600", "\0", "k" * 1024])
def test_any_unicode_key_survives(tier: FileTier, key: str) -> None:
    put(tier, key)
    assert tier.read("n", key)[1] is not None
    assert [name for name, _ in tier.scan("n", "", None, 10).items] == [key]


def test_keys_that_differ_after_a_nul_are_different(tier: FileTier) -> None:
    put(tier, "a\0b", b"1")
    put(tier, "a\0c", b"2")
    assert tier.read("n", "a\0b") != tier.read("n", "a\0c")
    assert len(tier.scan("n", "a\0", None, 10).items) == 2


def test_versions_grow_over_reopening_and_processes(tmp_path: Path) -> None:
    one, two = FileTier(tmp_path), FileTier(tmp_path)
    versions = [put(it, "k") for _ in range(5) for it in (one, two, two)]
    one.close()
    two.close()
    three = FileTier(tmp_path)
    versions.append(put(three, "k"))
    three.close()
    assert versions == sorted(set(versions))


def test_writes_of_one_key_apply_in_order(tier: FileTier) -> None:
    tier.commit("n", [Write("k", value("k", b"1")), Write("k", value("k", b"2"))], now=NOW)
    assert (tier.read("n", "k")[1] or b"").endswith(b"2")


def test_expect_decides(tier: FileTier) -> None:
    first = put(tier, "k", expect=0)
    assert first > 0
    assert put(tier, "k", expect=0) == 0
    assert put(tier, "k", expect=first + 1) == 0
    assert put(tier, "k", expect=first) > first


def test_an_expired_entry_counts_as_absent(tier: FileTier) -> None:
    version = put(tier, "k", expires_at=NOW)
    assert put(tier, "k", expect=version) == 0
    assert put(tier, "k", expect=0) > version


def test_a_delete_tells_whether_something_was_there(tier: FileTier) -> None:
    put(tier, "k")
    deletes = [Write("k", tombstone(SEED, "k", NOW)), Write("k", tombstone(SEED, "k", NOW))]
    done = tier.commit("n", [*deletes, Write("k", value("k")), Write("k", value("k"))], now=NOW)
    assert [it.existed for it in done.written] == [True, False, False, False]
    assert version_of(done.written[0].frame) == done.written[0].version


def test_scan_pages_through_a_prefix_in_order(tier: FileTier) -> None:
    for key in ("a1", "b1", "b2", "b3", "c"):
        put(tier, key)
    seen, cursor = [], None
    while True:
        page = tier.scan("n", "b", cursor, 2)
        seen += [key for key, _ in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ["b1", "b2", "b3"]
    assert tier.scan("n", "", None, 0).items == []


def test_clear_and_bump(tier: FileTier) -> None:
    put(tier, "k")
    assert tier.clear("n") == 2
    assert tier.read("n", "k") == (2, None)
    put(tier, "k")
    tier.bump()
    generation, held = tier.read("n", "k")
    assert generation == 3 and held is not None
    assert tier.clear("unknown") == 2


# The cache role


def test_put_accepts_only_newer(tier: FileTier) -> None:
    assert tier.put("s", "k", frame("k", 5))
    assert not tier.put("s", "k", frame("k", 5))
    items = [("k", frame("k", 4)), ("k", frame("k", 6)), ("x", b"junk"), ("x", frame("x", 1))]
    assert tier.put_many("s", items) == [False, True, False, True]
    connection(tier).execute("UPDATE entries SET frame = ? WHERE key = ?", (b"junk", "x"))
    assert tier.put("s", "x", frame("x", 1))
    assert tier.get_many("s", ["k", "y"]) == [frame("k", 6), None]


def test_a_cached_frame_stays_for_the_retention_and_then_goes(tier: FileTier) -> None:
    tier.put("s", "k", frame("k", 1, keep_until=NOW))
    tier.put("s", "for ever", frame("for ever", 1))
    assert tier.expire(NOW + RETENTION_MS - 1) == 0
    assert tier.expire(NOW + RETENTION_MS) == 1
    assert tier.get_many("s", ["k", "for ever"]) == [None, frame("for ever", 1)]


def test_forget_and_clear_are_swept_in_small_steps(tier: FileTier) -> None:
    tier.put_many("s", [(str(n), frame(str(n), 1)) for n in range(25)])
    put(tier, "kept")
    tier.forget("s")
    assert tier.get("s", "3") is None
    assert [tier.expire(NOW, limit=10) for _ in range(4)] == [10, 10, 5, 0]
    assert tier.read("n", "kept")[1] is not None


# The journal


def test_marks_are_stored_with_the_write_and_confirmed_by_version(tier: FileTier) -> None:
    tier.commit("n", [Write("a", value("a")), Write("b", value("b"), expect=7)], marks=["r"], now=NOW)
    (old,) = tier.pending("r", limit=10)
    assert (old.key, old.namespace, old.generation) == ("a", "n", 1)
    tier.commit("n", [Write("a", value("a"))], marks=["r"], now=NOW)
    tier.confirm([old])
    tier.flush()
    (new,) = tier.pending("r", limit=10)
    assert new.version > old.version
    tier.confirm([new])
    put(tier, "other")  # the next commit carries confirmations along
    assert tier.pending("r", limit=10) == []


def test_pending_pages(tier: FileTier) -> None:
    tier.commit("n", [Write(key, value(key)) for key in "abc"], marks=["r", "s"], now=NOW)
    first = tier.pending("r", limit=2)
    rest = tier.pending("r", limit=2, after=(first[-1].namespace, first[-1].key))
    assert [mark.key for mark in first + rest] == ["a", "b", "c"]


# Group commit


def test_concurrent_writers_all_get_versions_of_their_own(tier: FileTier) -> None:
    versions: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: versions.extend(put(tier, f"k{n}") for _ in range(20))) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(versions)) == 320
    assert all(tier.read("n", f"k{n}")[1] for n in range(16))


def test_a_failing_write_does_not_fail_the_others_in_its_batch(tier: FileTier) -> None:
    jobs = [Job(lambda s: s.put("s", [("a", frame("a", 1))])), Job(lambda s: 1 // 0), Job(lambda s: "fine")]
    tier._writer._transact(jobs)
    assert jobs[0].result == [True] and jobs[0].error is None
    assert isinstance(jobs[1].error, ZeroDivisionError)
    assert jobs[2].result == "fine" and jobs[2].error is None
    assert tier.get("s", "a") == frame("a", 1)


def test_an_interrupted_leader_never_reports_success_to_its_followers(tier: FileTier) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    jobs = [Job(lambda s: s.put("s", [("a", frame("a", 1))])), Job(interrupt)]
    with pytest.raises(KeyboardInterrupt):
        tier._writer._transact(jobs)
    assert isinstance(jobs[0].error, NotApplied)
    assert tier.get("s", "a") is None
    assert put(tier, "k") > 0


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_signals_anywhere_in_the_main_thread_leave_nobody_waiting() -> None:
    def settle(batch: list[Job]) -> None:
        for job in batch:
            assert job.work is not None
            job.result, job.settled = job.work(None), True

    def run(batch: list[Job]) -> None:
        try:
            time.sleep(0)  # lets the others come and go
            settle(batch)
        except Interrupted:
            settle(batch)
            raise

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                if combiner.submit(lambda _: number) != number:
                    wrong.append(number)
            except NotApplied:
                continue

    combiner, stop, armed, wrong, interrupted = Combiner(run), threading.Event(), False, list[int](), 0
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    gc.collect()
    gc.disable()  # what is raised in a finalizer goes nowhere
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for n in range(3000):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + n % 97))
            try:
                armed = True
                combiner.submit(lambda _: None)
                armed = False
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    combiner.pause()
    combiner.resume()
    stop.set()
    for thread in threads:
        thread.join(20)
    assert interrupted > 0 and wrong == []
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    assert combiner.submit(lambda _: "still there") == "still there"


def test_a_pause_gets_its_turn_between_batches(tier: FileTier) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            put(tier, "k")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        tier._writer._combiner.pause()
        before = tier.read("n", "k")
        assert tier.read("n", "k") == before
        tier._writer._combiner.resume()
    stop.set()
    for thread in threads:
        thread.join()


# Failures


def test_a_full_disk_is_not_applied_and_passes(tier: FileTier) -> None:
    put(tier, "k")
    (pages,) = connection(tier).execute("PRAGMA page_count").fetchone()
    connection(tier).execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(NotApplied) as caught:
        put(tier, "big", b"x" * 1_000_000)
    assert caught.value.reason is Reason.FULL and "free some space" in str(caught.value)
    assert tier.read("n", "big")[1] is None
    connection(tier).execute("PRAGMA max_page_count=1000000")
    assert put(tier, "big", b"x" * 1_000_000) > 0


def test_a_locked_database_is_not_applied(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "BUSY_TIMEOUT", 0.05)
    tier._writer._drop()
    other = sqlite3.connect(tier._path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotApplied) as caught:
        put(tier, "k")
    assert caught.value.reason is Reason.BUSY
    other.close()
    assert put(tier, "k") > 0


class FailingCommit:
    """A connection whose COMMIT fails, as a failed fsync does."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self.inner = inner

    def execute(self, sql: str, *rest: object) -> object:
        if sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self.inner.execute(sql, *rest)  # type: ignore[arg-type]  # passed on as it is

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_a_failed_commit_is_ambiguous_and_the_connection_is_replaced(tier: FileTier) -> None:
    version = put(tier, "k")
    assert tier._writer._session is not None
    tier._writer._session.connection = FailingCommit(connection(tier))  # type: ignore[assignment]  # a double
    with pytest.raises(Ambiguous):
        put(tier, "k")
    assert put(tier, "k") > version


def test_a_damaged_file_says_restore_a_backup(tmp_path: Path) -> None:
    it = FileTier(tmp_path)
    path = it._path
    put(it, "k", b"x" * 100_000)
    it.close()
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))
    with pytest.raises((StoreUnavailable, ConfigError), match="restore a backup"):
        it = FileTier(tmp_path)
        try:
            it.read("n", "k")
        finally:
            it.close()


def test_closed_says_closed_and_leaks_nothing(tmp_path: Path) -> None:
    before, threads = files(), threading.active_count()
    it = FileTier(tmp_path)
    put(it, "k")
    it.read("n", "k")
    it.close()
    it.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        it.read("n", "k")
    with pytest.raises(NotApplied, match="closed"):
        put(it, "k")
    assert not it.health().ok
    assert (files(), threading.active_count()) == (before, threads)


# Opening


def test_everything_is_private(tier: FileTier) -> None:
    put(tier, "k")
    assert tier.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in tier.directory.iterdir()} == {0o600}


def test_refuses_what_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "foreign").mkdir()
    other = sqlite3.connect(tmp_path / "foreign" / "tiered.sqlite3")
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "tiered.sqlite3").write_bytes(b"no database" * 1000)
    for name in ("file", "link", "foreign", "junk"):
        with pytest.raises(ConfigError):
            FileTier(tmp_path / name)
    monkeypatch.setattr(file_place, "file_system", lambda directory: "nfs4")
    with pytest.raises(ConfigError, match="local disk"):
        FileTier(tmp_path / "net")


def test_refuses_a_newer_schema(tmp_path: Path) -> None:
    it = FileTier(tmp_path)
    connection(it).execute("PRAGMA user_version=99")
    it.close()
    with pytest.raises(ConfigError, match="upgrade"):
        FileTier(tmp_path)


def test_a_refused_opening_leaks_no_descriptor(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "tiered.sqlite3")
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = files()
    with pytest.raises(ConfigError):
        FileTier(tmp_path)
    assert files() == before


def test_exclusive_openers_exclude_and_die_with_their_process(tmp_path: Path) -> None:
    code = "import sys; from tiered.tiers.file import FileTier; t = FileTier(sys.argv[1], shared=False); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        for shared in (True, False):
            with pytest.raises(ConfigError, match="in use"):
                FileTier(tmp_path, shared=shared)
        process.kill()
    one, two = FileTier(tmp_path), FileTier(tmp_path)
    with pytest.raises(ConfigError, match="in use"):
        FileTier(tmp_path, shared=False)
    one.close()
    two.close()


# Backups and forks


def test_a_restored_backup_starts_generations_and_versions_of_its_own(tier: FileTier, tmp_path: Path) -> None:
    version = put(tier, "k")
    (tmp_path / "restored").mkdir()
    path = tmp_path / "restored" / "tiered.sqlite3"
    tier.backup(path)
    assert path.stat().st_mode & 0o777 == 0o600 and len(list(path.parent.iterdir())) == 1
    restored = FileTier(path.parent)
    assert connection(restored).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    generation, held = restored.read("n", "k")
    assert generation == 1 + 2**20 and version_of(held or b"") == version
    assert put(restored, "k") > version + 2**32 - 2000
    restored.close()
    assert tier.generation("n") == 1


def test_a_failed_backup_leaves_nothing(tier: FileTier, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreUnavailable):
        tier.backup(tmp_path / "taken")
    with pytest.raises(ConfigError):
        tier.backup(tmp_path / "missing" / "copy")
    assert not (tmp_path / "taken.part").exists()


def _child(tier: FileTier, connection: object) -> None:
    found = tier.read("n", "k")[1] is not None
    connection.send((found, put(tier, "child")))  # type: ignore[attr-defined]  # a Connection
    tier.close()


def test_a_forked_child_reads_and_writes(tier: FileTier) -> None:
    version = put(tier, "k")
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    child = context.Process(target=_child, args=(tier, theirs))
    child.start()
    child_version = 0
    try:
        assert mine.poll(20), "the child hangs"
        found, child_version = mine.recv()
        assert found
    finally:
        child.join(20)
        mine.close()
        theirs.close()
    assert child.exitcode == 0
    assert version < child_version < put(tier, "k")
    assert tier.read("n", "child")[1] is not None


def test_forks_while_others_write_and_read(tier: FileTier) -> None:
    stop, errors = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not stop.is_set():
                put(tier, "k")
                tier.read("n", "k")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            ok = False
            try:
                ok = put(tier, "child") > 0 and tier.read("n", "child")[1] is not None
            finally:
                os._exit(0 if ok else 1)
        codes.append(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 5 and errors == []
