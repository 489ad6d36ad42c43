"""Forks, and the lock on the directory of a file tier."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import open_tier, put
from tests.waiting import eventually
from tiered.errors import ConfigError
from tiered.tiers import file_lock
from tiered.tiers.file import FileTier


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


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
    ended: list[int] = []

    def over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if pid else ())
        return bool(pid)

    try:
        eventually(over, "the end of the child")
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[0]) == 0
