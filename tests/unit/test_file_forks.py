"""Forks, and the lock on the directory of a file tier."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, open_tier, put, value
from tests.waiting import LIMIT, eventually, started
from tiered import forks
from tiered.errors import ConfigError, NotApplied, Reason, StoreUnavailable
from tiered.tiers import file_lock, file_readers, file_store, sqlite
from tiered.tiers.base import Write
from tiered.tiers.file import FileTier
from tiered.tiers.file_session import Session
from tiered.tiers.file_store import Database
from tiered.tiers.sqlite import Connection, connect


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


def ended(child: int) -> int:
    """The exit code of `child`; it is killed if it hangs."""
    found: list[int] = []

    def over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        found.extend([status] if pid else ())
        return bool(pid)

    try:
        eventually(over, "the end of the child")
    finally:
        if not found:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(found[0])


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


def test_a_fork_at_the_moment_when_another_thread_opens_a_store_hangs_no_child(tier: FileTier) -> None:
    put(tier, "k")
    with file_lock._gate:  # of whoever opens or closes one
        child = os.fork()
        if not child:
            os._exit(0 if tier.read("n", "k")[1] is not None else 1)
    assert ended(child) == 0


LONG = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 30000)"
    " SELECT count(*), max(length(hex(zeroblob(1000 + x % 5000)))) FROM c"
)
"""Allocates all the time, for which SQLite has a lock that a child would inherit."""


def reading(tier: FileTier) -> int:
    """A child that reads and writes."""
    child = os.fork()
    if not child:
        ok = False
        try:
            ok = tier.read("n", "k")[1] is not None and put(tier, "child") > 0
        finally:
            os._exit(0 if ok else 1)
    return child


def test_a_fork_beside_reads_that_take_longer_than_it_waits_hangs_no_child_and_they_are_made(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_readers, "FORK_PATIENCE", 0.005)
    put(tier, "k")
    readers, stop, found = tier._readers, threading.Event(), set[object]()

    def read() -> None:
        while not stop.is_set():
            found.add(readers.row(LONG, ()))
            found.add(readers.snapshot(lambda cursor: cursor.execute(LONG).fetchall()[0]))

    busy = [started(read) for _ in range(2)]
    try:
        assert [ended(reading(tier)) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        for it in busy:
            it.result(LIMIT)
    assert found == {(30_000, 11_998)}


@pytest.fixture
def between_steps(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What is done between the next two steps of a copy, which has many; whatever that returns tells whether it was interrupted."""
    for key in ("k", "another"):
        put(tier, key, bytes(100_000))
    todo = list[Callable[[], object]]()

    class Watched(Connection):
        @property
        def is_interrupted(self) -> bool:  # type: ignore[override]  # an attribute there
            return bool(todo and todo.pop()()) or bool(super().is_interrupted)

    monkeypatch.setattr(file_store, "COPIED_PAGES", 1)
    monkeypatch.setattr(sqlite, "Connection", Watched)
    return todo


def copied(path: Path) -> set[str]:
    """The keys in a backup."""
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {key for (key,) in connection.execute("SELECT key FROM entries")}


def test_a_backup_is_of_one_state_whatever_is_written_meanwhile(
    tier: FileTier, tmp_path: Path, between_steps: list[Callable[[], object]]
) -> None:
    between_steps.append(lambda: put(tier, "later") and False)
    tier.backup(tmp_path / "backup")
    assert not between_steps and copied(tmp_path / "backup") == {"k", "another"}


def test_a_fork_does_not_wait_for_a_backup_which_is_begun_anew(
    tier: FileTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between_steps: list[Callable[[], object]]
) -> None:
    monkeypatch.setattr(file_readers, "FORK_PATIENCE", 0.0)
    middle, forking = threading.Event(), threading.Event()

    def wait() -> None:
        middle.set()
        forking.wait(LIMIT)

    between_steps.append(wait)
    backup = started(lambda: tier.backup(tmp_path / "backup"))
    assert middle.wait(LIMIT)
    put(tier, "later")
    threading.Timer(0.2, forking.set).start()
    assert ended(reading(tier)) == 0
    backup.result(LIMIT)
    assert copied(tmp_path / "backup") >= {"k", "another", "later"}  # of a later state than when it was begun first


def test_a_backup_that_forks_interrupt_again_and_again_is_given_up_and_says_so(
    tier: FileTier, tmp_path: Path, between_steps: list[Callable[[], object]]
) -> None:
    between_steps += [lambda: True] * 10
    with pytest.raises(StoreUnavailable, match="interrupted, by a fork of this process") as given_up:
        tier.backup(tmp_path / "backup")
    assert given_up.value.reason is Reason.BUSY
    assert not list(tmp_path.glob("backup*"))


def test_a_child_inherits_no_connection_of_a_store_that_another_thread_is_opening(
    tier: FileTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, forking, identify = threading.Event(), threading.Event(), Database._identity

    def slowly(self: Database, connection: Connection) -> str:
        opening.set()
        forking.wait(LIMIT)
        return identify(self, connection)

    monkeypatch.setattr(Database, "_identity", slowly)
    other = started(lambda: open_tier(tmp_path / "other"))
    assert opening.wait(LIMIT)
    threading.Timer(0.2, forking.set).start()
    child = os.fork()
    if not child:
        inherited = [it.name for it in Path("/proc/self/fd").iterdir() if "other/tiered.sqlite3" in str(it.resolve())]
        os._exit(1 if inherited else 0)
    with closing(other.result(LIMIT)):
        assert ended(child) == 0


class Interrupt(Exception):
    """Raised by a signal handler."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # os.fork prints it and goes on
@pytest.mark.parametrize("busy", ["writer", "reader"])
def test_a_handler_that_raises_while_a_fork_waits_shuts_nothing(tier: FileTier, busy: str) -> None:
    put(tier, "k")
    working, done, raised = threading.Event(), threading.Event(), list[int]()

    def interrupt(*_: object) -> None:
        raised.append(1)
        done.set()
        raise Interrupt

    def write(_: object) -> None:
        working.set()
        done.wait(LIMIT)

    def read() -> None:
        with tier._readers.lend():
            write(None)

    before = signal.signal(signal.SIGUSR1, interrupt)
    other = started((lambda: tier._writer.write(write)) if busy == "writer" else read)
    working.wait(LIMIT)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1)).start()  # the fork waits meanwhile, in any case
    try:
        child = os.fork()
        if not child:
            ok = False
            try:
                ok = put(tier, "child") > 0 and tier.read("n", "k")[1] is not None
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0 if ok else 1)
    finally:
        eventually(lambda: raised, "the signal")
        signal.signal(signal.SIGUSR1, before)
    other.result(LIMIT)
    assert ended(child) == 0
    assert started(lambda: put(tier, "k")).result(LIMIT) > 0
    assert started(lambda: tier.read("n", "k")).result(LIMIT)[1] is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
def test_nor_does_one_that_raises_after_a_fork(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tier, "k")
    go_on, raised = tier.after_fork_in_parent, list[int]()

    def interrupted() -> None:
        if not raised:
            raised.append(1)
            raise Interrupt
        go_on()

    monkeypatch.setattr(tier, "after_fork_in_parent", interrupted)
    child = os.fork()
    if not child:
        os._exit(0)
    assert ended(child) == 0 and raised
    assert started(lambda: put(tier, "k")).result(LIMIT) > 0
    assert started(lambda: tier.read("n", "k")).result(LIMIT)[1] is not None


def test_whoever_begins_to_exist_beside_a_fork_keeps_no_child_from_beginning_anew(tier: FileTier) -> None:
    """The fork looks through all there are, and a set that grows meanwhile cannot be looked through."""
    put(tier, "k")
    stop, sessions = threading.Event(), tier._writer._session
    assert sessions is not None

    class Member(forks.Forking):
        pass

    def come_and_go() -> None:
        while not stop.is_set():
            many = [Member() for _ in range(50)]
            for member in many:
                forks.register(member)
            for member in many[::2]:
                forks.forget(member)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    coming = started(come_and_go)
    try:
        codes = []
        for _ in range(40):
            child = os.fork()
            if not child:
                os._exit(1 if tier._writer._session is not None else 0)
            codes.append(ended(child))
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        coming.result(LIMIT)
    assert codes == [0] * 40


def told(tier: FileTier) -> int:
    """A child that may neither read nor write."""
    child = os.fork()
    if not child:
        ok = False
        try:
            with pytest.raises(NotApplied, match="forked in the middle"):
                put(tier, "child")
            with pytest.raises(StoreUnavailable, match="forked in the middle"):
                tier.read("n", "k")
            ok = True
        finally:
            os._exit(0 if ok else 1)
    return child


def test_a_handler_that_forks_in_the_middle_of_a_read_hangs_nobody(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child with a connection of its parent would read without a lock, beside others who write over what it reads."""
    put(tier, "k")
    monkeypatch.setattr(file_readers, "PATIENCE", 0.05)
    children = list[int]()

    def look(_: object) -> None:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: children.append(told(tier)))
    try:
        tier._readers.snapshot(look)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [ended(child) for child in children] == [0]
    assert tier.read("n", "k")[1] is not None and put(tier, "k") > 0
    assert ended(reading(tier)) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_that_forks_in_the_middle_of_a_write_hangs_nobody(tier: FileTier) -> None:
    """SQLite cannot let go of what its own process is writing: the child is told, and the parent's write is made."""
    put(tier, "k")
    children = list[int]()

    def fork(*_: object) -> None:
        children.append(told(tier))

    def write(session: Session) -> int:
        version = session.commit("n", [Write("k", value("k", b"parent"))], (), NOW).written[0].version
        signal.raise_signal(signal.SIGUSR1)
        return version

    before = signal.signal(signal.SIGUSR1, fork)
    try:
        assert tier._writer.write(write) > 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [ended(child) for child in children] == [0]
    assert (tier.read("n", "k")[1] or b"").endswith(b"parent")
    assert put(tier, "k") > 0


def test_a_fork_while_another_thread_asks_for_the_token_hangs_no_child(tier: FileTier) -> None:
    with tier._token._mutex:  # of whoever is asking
        child = os.fork()
        if not child:
            os._exit(0 if tier.probe() else 1)
    assert ended(child) == 0
