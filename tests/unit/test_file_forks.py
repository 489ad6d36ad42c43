"""Forks, and the lock on the directory of a file tier."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, open_tier, put, value
from tests.waiting import LIMIT, eventually, started
from tiered import forks
from tiered.errors import ConfigError, NotApplied
from tiered.tiers import file_lock, file_turn
from tiered.tiers.base import Write
from tiered.tiers.file import FileTier
from tiered.tiers.file_session import Session


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_that_forks_in_the_middle_of_a_write_hangs_nobody(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite cannot let go of what its own process is writing: the child is told, and the parent's write is made."""
    put(tier, "k")
    monkeypatch.setattr(file_turn, "BUSY_TIMEOUT", 0.05)
    children = list[int]()

    def fork(*_: object) -> None:
        child = os.fork()
        if not child:
            told = False
            try:
                put(tier, "child")
            except NotApplied:
                told = True
            finally:
                os._exit(0 if told else 1)
        children.append(child)

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
