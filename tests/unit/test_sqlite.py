"""The door to SQLite: which one it is, and what every connection is set to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from types import FrameType

import apsw
import pytest

from tests.file_tier import NOW, connection, open_tier, put, value
from tiered.errors import Reason
from tiered.tiers.base import Write
from tiered.tiers.file import FileTier
from tiered.tiers.file_errors import reason
from tiered.tiers.sqlite import Connection, code_of, connect, damaged, first


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as tier:
        put(tier, "k")
        yield tier


def idle(tier: FileTier) -> list[Connection]:
    return [cursor.connection for cursor in tier._readers._idle]


def test_it_is_one_that_damages_no_database_that_several_connections_use() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_nothing_of_this_library_uses_another_one() -> None:
    import tiered.tiers.file
    import tiered.tiers.intent_journal  # noqa: F401

    users = [
        name for name, module in list(sys.modules.items()) if name.startswith("tiered.") and hasattr(module, "sqlite3")
    ]
    assert users == []


def test_a_connection_that_is_idle_keeps_no_state_of_the_store(tier: FileTier) -> None:
    """Else the log could never begin anew."""
    tier.read("n", "k")
    tier.read_many("n", ["k", "other"])
    tier.scan("n", "", None, 1)
    assert tier.namespaces() == ["n"] and tier.count("n") == 1
    assert idle(tier) and {connection.txn_state() for connection in idle(tier)} == {apsw.SQLITE_TXN_NONE}


def test_what_was_asked_for_the_first_row_only_is_done_to_its_end(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "file")) as connection:
        connection.execute("CREATE TABLE t (x)")
        assert first(connection, "INSERT INTO t VALUES (1), (2), (3) RETURNING x") == (1,)
        assert first(connection, "SELECT count(*) FROM t") == (3,) and first(connection, "SELECT x FROM t") == (1,)
        assert connection.txn_state() == apsw.SQLITE_TXN_NONE
        assert first(connection, "SELECT x FROM t WHERE x = :x", {"x": 4}) is None


def test_no_statement_is_prepared_again_for_other_values(tier: FileTier) -> None:
    """It would be, at twice the cost of a read, where a plan could depend on them: `entries` has a partial index."""
    tier.read("n", "k")
    (connection,) = idle(tier)
    prepared = list[object]()

    def asked(*what: object) -> int:
        """SQLite asks whether it may do what a statement says whenever it prepares one."""
        prepared.append(what)
        return apsw.SQLITE_OK

    connection.authorizer = asked  # everything is prepared anew now, once
    tier.read("n", "k")
    assert prepared
    prepared.clear()
    for number in range(10):
        tier.read("n", f"key {number}")
    assert prepared == []


def test_batches_of_any_size_are_mostly_written_by_statements_that_are_prepared(tier: FileTier) -> None:
    sizes = Random(1).choices(range(1, 33), k=500)
    for size in sizes:
        tier.commit("n", [Write(f"k{n}", value(f"k{n}")) for n in range(size)], now=NOW)
    assert connection(tier).cache_stats()["misses"] < len(sizes) / 4


@pytest.mark.parametrize("name", [b"with space", b"100%", b"a?b#c&d=e", "gerät".encode(), b"\xff\xfe", b"//"])
def test_a_path_may_have_any_bytes(tmp_path: Path, name: bytes) -> None:
    directory = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
    with closing(open_tier(directory)) as tier:
        put(tier, "k")
    assert (directory / "tiered.sqlite3").stat().st_size > 0
    with closing(open_tier(directory)) as tier:
        assert tier.read("n", "k")[1] is not None
        tier.backup(directory / "copy")
    assert (directory / "copy").stat().st_size > 0


def test_damage_has_the_code_of_damage() -> None:
    assert code_of(damaged("it")) == apsw.SQLITE_CORRUPT and reason(damaged("it")) is Reason.SERIALIZATION
    assert code_of(ValueError("it")) == 0


def test_nothing_is_left_to_do_when_the_last_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apsw holds the interpreter's lock while it closes: all threads would wait until the log is copied back, and the disk has it."""
    left = list[int]()

    class Watched(Connection):
        def close(self, force: bool = False) -> None:
            _, pages, copied = first(self, "PRAGMA wal_checkpoint(NOOP)")
            left.append(pages - copied)
            super().close(force)

    monkeypatch.setattr("tiered.tiers.sqlite.Connection", Watched)
    with closing(open_tier(tmp_path / "store")) as tier:
        for number in range(10):
            put(tier, f"k{number}")
        tier.read("n", "k1")
        tier.before_fork()
        assert len(left) == 2 and left[-1] == 0
        tier.after_fork_in_parent()
        put(tier, "k")
    assert len(left) == 3 and left[-1] == 0


def test_whoever_keeps_what_a_signal_handler_raised_keeps_no_statement_of_the_writer(
    tier: FileTier, tmp_path: Path
) -> None:
    """It would hold a state of the store, and upon that nobody may write once another process has written."""
    tier.journal.adopt("redis", "an identity")
    kept, steps = list[KeyboardInterrupt](), count()

    def handler(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def trace(frame: FrameType, event: str, _: object) -> object:
        """Python says each line, and each round of a loop on one."""
        inside = frame.f_code.co_name in ("_remember_adopted", "<listcomp>")
        if inside and event == "line" and next(steps) == len(kept):
            signal.raise_signal(signal.SIGUSR1)
        return trace

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with closing(open_tier(tmp_path / "store")) as other:
            while True:
                steps = count()
                put(other, "k")
                sys.settrace(trace)
                try:
                    put(tier, "k")
                    break
                except KeyboardInterrupt as error:
                    kept.append(error)
                finally:
                    sys.settrace(None)
                assert connection(tier).txn_state() == apsw.SQLITE_TXN_NONE
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert kept
