"""Background expiry of a file tier."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, SEED, connection, open_tier, put
from tiered.entry import tombstone
from tiered.tiers import file_store
from tiered.tiers.base import Write
from tiered.tiers.file import FileTier
from tiered.tiers.file_expiry import Expiry
from tiered.tiers.file_store import LOG_BYTES, LOG_COPIED


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expiry, before = Expiry(lambda: 0, "file"), threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        expiry.start()
    assert threading.active_count() == before
    expiry.start()
    assert threading.active_count() == before + 1
    expiry.stop()
    assert threading.active_count() == before


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    """Whose steps are done by the test, and by nobody else."""
    with closing(open_tier(tmp_path / "store")) as it:
        it._expiry.stop()
        yield it


def size(tier: FileTier) -> int:
    connection(tier).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return tier._path.stat().st_size


def test_a_file_gives_back_the_room_of_what_is_gone(tier: FileTier) -> None:
    """All but a part, which new entries go into; also what was freed long before."""
    for number in range(40):
        put(tier, f"k{number}", bytes(1_000_000))
    full = size(tier)
    tier.clear("n")
    while tier._tidy():
        continue
    assert tier._tidy() == 0 and size(tier) < full / 4
    put(tier, "k", b"new")
    assert tier.read("n", "k")[1] is not None and tier._tidy() == 0


def test_a_file_keeps_a_quarter_free(tier: FileTier) -> None:
    for number in range(40):
        put(tier, f"k{number}", bytes(1_000_000))
    full = size(tier)
    for number in range(8):
        tier.commit("n", [Write(f"k{number}", tombstone(SEED, f"k{number}", NOW))], now=NOW)
    assert tier._tidy() == 0 and size(tier) == full


def test_a_step_removes_few_large_entries(tier: FileTier) -> None:
    """Whoever writes meanwhile waits for it."""
    for number in range(10):
        put(tier, f"large {number}", bytes(600_000), expires_at=NOW)
    put(tier, "small", expires_at=NOW)
    assert [tier.expire(NOW) for _ in range(7)] == [2, 2, 2, 2, 2, 1, 0]


def test_what_many_clears_left_goes_in_a_few_steps(tier: FileTier) -> None:
    """After a step that finds nothing to do the next one is a second away."""
    for _ in range(20):
        for number in range(10):
            put(tier, f"k{number}")
        tier.clear("n")
    steps = 0
    while tier._tidy():
        steps += 1
    left = (
        connection(tier).execute("SELECT count(*) FROM entries UNION ALL SELECT count(*) FROM dead_spaces").fetchall()
    )
    assert left == [(0,), (0,)] and steps <= 2


def test_a_clear_of_what_is_empty_leaves_nothing_to_do(tier: FileTier) -> None:
    put(tier, "k")
    for _ in range(3):
        tier.clear("n")
    assert connection(tier).execute("SELECT count(*) FROM dead_spaces").fetchall() == [(1,)]


def test_the_log_of_a_large_write_is_cut(tier: FileTier) -> None:
    put(tier, "k", bytes(20_000_000))
    for number in range(100):
        put(tier, f"k{number}", bytes(50_000))
    assert tier._path.with_name(tier._path.name + "-wal").stat().st_size <= LOG_BYTES


@pytest.mark.parametrize("page_bytes", [file_store.PAGE_BYTES, 4096])
def test_bounded_the_log_takes_as_much_whatever_the_pages_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_bytes: int
) -> None:
    """A store keeps the pages that it was made with."""
    with monkeypatch.context() as patch:
        patch.setattr(file_store, "PAGE_BYTES", page_bytes)
        open_tier(tmp_path / "store").close()
    with closing(open_tier(tmp_path / "store")) as tier:
        assert connection(tier).execute("PRAGMA page_size").fetchall() == [(page_bytes,)]
        for _ in range(LOG_BYTES // 100_000):
            put(tier, "k", os.urandom(100_000))
        assert 0.9 * LOG_COPIED < log_size(tier) < 1.1 * LOG_COPIED


def log_size(tier: FileTier) -> int:
    return tier._path.with_name(tier._path.name + "-wal").stat().st_size


def test_bounded_the_log_is_begun_anew_though_it_is_never_all_copied(
    tier: FileTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As among processes that write all the time; here it is somebody who reads that keeps SQLite from it."""
    monkeypatch.setattr(file_store, "LOG_GROWN", 1_000_000)
    monkeypatch.setattr(file_store, "LOG_PATIENCE", 0.01)
    put(tier, "k")
    with tier._readers.lend() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        for _ in range(50):
            put(tier, "k", os.urandom(100_000))
        tier._tidy()
        assert log_size(tier) > 5_000_000, "it is not taken away from whoever reads it"
        assert len(reader.execute("SELECT * FROM entries").fetchall()) == 1
    tier._tidy()
    assert log_size(tier) < 1_000_000
    found = tier.read("n", "k")[1]
    assert found is not None and len(found) > 100_000
