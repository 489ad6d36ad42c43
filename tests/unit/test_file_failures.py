"""What a file tier says when something fails, and what it refuses to open."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import connection, files, open_tier, put
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreUnavailable
from tiered.tiers import file_place, file_turn
from tiered.tiers.file import FileTier
from tiered.tiers.file_store import Database
from tiered.tiers.sqlite import Connection, Cursor, Error, connect


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


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
    monkeypatch.setattr(file_turn, "BUSY_TIMEOUT", 0.05)
    tier._writer._drop()
    other = connect(tier._path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotApplied) as caught:
        put(tier, "k")
    assert caught.value.reason is Reason.BUSY
    other.close()
    assert put(tier, "k") > 0


def test_a_turn_to_write_is_waited_for_by_short_naps(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own naps are up to a tenth of a second; among busy processes a write then takes seconds."""
    other, naps = connect(tier._path), list[float]()
    other.execute("BEGIN IMMEDIATE")

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 20:
            other.execute("COMMIT")

    monkeypatch.setattr(file_turn, "sleep", nap)
    assert put(tier, "k") > 0 and len(naps) == 20 and max(naps) < 0.001
    other.close()


class FailingCommit:
    """A connection whose COMMIT fails, as a failed fsync does."""

    def __init__(self, inner: Connection) -> None:
        self.inner = inner

    def execute(self, sql: str, *rest: object) -> object:
        if sql == "COMMIT":
            raise Error("disk I/O error")
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
    other = connect(tmp_path / "foreign" / "tiered.sqlite3")
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


def test_a_disk_that_does_not_say_what_is_at_the_path_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Database) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Database, "_check_place", broken)
    with pytest.raises(ConfigError, match=f"cannot use {tmp_path}.*Input/output error"):
        FileTier(tmp_path)


def test_a_writer_to_a_restored_backup_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not in WAL mode; who changes that reads before it locks, and there SQLite does not wait by itself."""
    open_tier(tmp_path / "store").close()
    other, naps = connect(tmp_path / "store" / "tiered.sqlite3"), list[float]()
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN IMMEDIATE")

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(file_turn, "sleep", nap)
    with closing(open_tier(tmp_path / "store")) as tier:
        assert put(tier, "k") > 0 and len(naps) == 3
    other.close()


def test_a_store_that_another_process_creates_meanwhile_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each statement of one that found nothing, another may be done with creating everything."""
    others = list[FileTier]()

    class Overtaken(Connection):
        def execute(self, sql: str, *rest: object) -> Cursor:
            cursor = super().execute(sql, *rest)  # type: ignore[arg-type]  # passed on as it is
            if "application_id" in sql and not others:
                (row,) = cursor.fetchall()
                monkeypatch.undo()
                others.append(open_tier(tmp_path / "store"))
                return super().execute(f"SELECT {', '.join(map(str, row))}")
            return cursor

    monkeypatch.setattr("tiered.tiers.sqlite.Connection", Overtaken)
    with closing(open_tier(tmp_path / "store")) as tier, closing(others[0]) as other:
        assert tier.probe() == other.probe()


def test_refuses_a_newer_schema(tmp_path: Path) -> None:
    it = FileTier(tmp_path)
    connection(it).execute("PRAGMA user_version=99")
    it.close()
    with pytest.raises(ConfigError, match="upgrade"):
        FileTier(tmp_path)


def test_a_refused_opening_leaks_no_descriptor(tmp_path: Path) -> None:
    other = connect(tmp_path / "tiered.sqlite3")
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = files()
    with pytest.raises(ConfigError):
        FileTier(tmp_path)
    assert files() == before
