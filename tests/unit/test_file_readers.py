"""The read connections of a file: no more than the limit, waited for, and closed when they are not needed any more."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.file_tier import files, open_tier, put
from tests.waiting import LIMIT, eventually, started
from tiered.errors import Reason, StoreUnavailable
from tiered.tiers import file_readers
from tiered.tiers.file import FileTier
from tiered.tiers.file_readers import Readers
from tiered.tiers.sqlite import Cursor


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileTier]:
    monkeypatch.setattr(file_readers, "MOST", 3)
    with closing(open_tier(tmp_path / "store")) as it:
        put(it, "k")
        yield it


class Busy:
    """So many readers that hold their connections until `go`."""

    def __init__(self, readers: Readers, count: int = 3) -> None:
        self.go, self.reached = threading.Event(), list[int]()
        self.breaks = False
        self.ends: list[Future[Any]] = [started(lambda: readers.snapshot(self._look)) for _ in range(count)]
        eventually(lambda: len(self.reached) == count)

    def _look(self, cursor: Cursor) -> int:
        self.reached.append(1)
        assert self.go.wait(LIMIT)
        if self.breaks:
            raise ZeroDivisionError
        return 1

    def end(self) -> None:
        self.go.set()
        for it in self.ends:
            it.exception(LIMIT)


def waiting(tier: FileTier) -> Future[Any]:
    """A read that waits for a connection."""
    it = started(lambda: tier.read("n", "k"))
    eventually(lambda: tier._readers._waiting)
    return it


def test_who_finds_all_connections_busy_waits_for_one(tier: FileTier) -> None:
    busy = Busy(tier._readers)
    reads = [waiting(tier) for _ in range(5)]
    assert len(tier._readers._open) == 3 and not any(it.done() for it in reads)
    busy.end()
    assert all(it.result(LIMIT)[1] for it in reads)
    assert len(tier._readers._open) == 3


def test_who_waits_opens_another_in_place_of_one_that_broke(tier: FileTier) -> None:
    busy = Busy(tier._readers)
    busy.breaks = True
    reads = [waiting(tier) for _ in range(5)]
    busy.end()
    assert all(it.result(LIMIT)[1] for it in reads)


@contextmanager
def without_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files() + 10, hard))
    taken = list[int]()
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for it in taken:
            os.close(it)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_cannot_open_another_for_want_of_descriptors_waits_for_one(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = Busy(tier._readers, 2)
    with without_descriptors():
        reads = [waiting(tier) for _ in range(5)]
        busy.end()
        assert all(it.result(LIMIT)[1] for it in reads)
        tier._readers._close_idle()
    with without_descriptors(), pytest.raises(StoreUnavailable, match=r"\(ulimit -n\)"):  # there is none to wait for
        tier.read("n", "k")
    busy = Busy(tier._readers, 2)
    monkeypatch.setattr(file_readers, "PATIENCE", 0.05)
    with without_descriptors(), pytest.raises(StoreUnavailable, match=r"2 connections .* \(ulimit -n\)"):
        tier.read("n", "k")
    busy.end()


def test_many_threads_share_few_connections(tier: FileTier) -> None:
    def read() -> None:
        for _ in range(20):
            assert tier.read("n", "k")[1] and tier.read_many("n", ["k", "none"])[1][0]

    for it in [started(read) for _ in range(100)]:
        it.result(LIMIT)
    assert len(tier._readers._open) <= 3


def test_a_connection_that_nobody_has_any_more_is_not_counted(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a signal handler raises just when one was taken."""
    monkeypatch.setattr(file_readers, "PATIENCE", 0.05)
    taken = [tier._readers._another() for _ in range(3)]
    connections = [it.connection for it in taken]
    assert len(tier._readers._open) == 3
    del taken
    assert tier.read("n", "k")[1] and len(tier._readers._open) == 1
    for it in connections:
        it.close()


def test_who_waits_is_told_when_the_tier_is_closed(tier: FileTier) -> None:
    busy = Busy(tier._readers)
    read = waiting(tier)
    tier.close()
    error = read.exception(LIMIT)
    assert isinstance(error, StoreUnavailable) and "closed" in str(error)
    busy.end()
    eventually(lambda: not tier._readers._open)


def test_nobody_waits_for_ever(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "PATIENCE", 0.05)
    busy = Busy(tier._readers)
    with pytest.raises(StoreUnavailable, match="3 connections") as refused:
        tier.read("n", "k")
    assert refused.value.reason is Reason.BUSY
    busy.end()
    assert tier.read("n", "k")[1]


def test_connections_that_were_not_needed_for_long_are_closed(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "MOST", 20)
    monkeypatch.setattr(file_readers, "KEEP", 4)
    Busy(tier._readers, 20).end()
    monkeypatch.setattr(file_readers, "IDLE", 0.0)
    assert len(tier._readers._open) == 20
    for _ in range(3):  # later they stand where they stood before
        tier.read("n", "k")
    assert len(tier._readers._open) == 4


def test_so_they_are_when_only_the_background_reads(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "MOST", 20)
    monkeypatch.setattr(file_readers, "KEEP", 4)
    Busy(tier._readers, 20).end()
    monkeypatch.setattr(file_readers, "IDLE", 0.0)
    for _ in range(3):
        tier._tidy()
    assert len(tier._readers._open) == 4


def test_those_that_are_in_use_are_not_idle(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "MOST", 20)
    monkeypatch.setattr(file_readers, "KEEP", 4)
    Busy(tier._readers, 20).end()
    for _ in range(100):
        tier.read("n", "k")
    assert len(tier._readers._open) == 20  # it was not long
