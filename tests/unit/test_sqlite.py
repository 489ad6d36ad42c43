"""The door to SQLite: which one it is, and what every connection is set to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from tests.file_tier import open_tier, put
from tiered.errors import Reason
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
