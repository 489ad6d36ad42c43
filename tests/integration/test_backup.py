"""A backup, and back to it: by the command, by copying files, and what is refused before anything is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running import tiered
from tests.servers import RedisServer
from tests.waiting import LIMIT
from tiered import ConfigError, MemoryTier, TieredBackend
from tiered.tiers import file_restore
from tiered.tiers.file_restore import restore
from tiered.tiers.sqlite import connect

KILLED = """
import os, signal, sys
from tiered import TieredBackend
store = TieredBackend.from_url(f"memory://,file:{sys.argv[1]}")
store.set_many({f"old:{n}": "x" * 200 for n in range(300)})
store.backup(sys.argv[2])
store.set_many({f"new:{n}": "y" * 200 for n in range(300)})
store.clear()
store.set_many({f"newer:{n}": "z" * 2000 for n in range(50)})
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A bot that loses its keys after a backup, and ends without closing its store."""
ENDED = """
import os, signal, sys
from tiered.cli import main
from tiered.tiers import {module} as module

def ended(*args):
    os.kill(os.getpid(), signal.{signal})

module.{step} = ended
sys.exit(main(sys.argv[1:]))
"""
"""A command that is ended when it has made its copy, and has not put it in its place."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def backup(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "backup.sqlite3"
    subprocess.run([sys.executable, "-c", KILLED, str(data), str(path)], timeout=LIMIT)
    assert (data / "tiered.sqlite3-wal").stat().st_size
    return path


def keys(data: Path) -> set[str]:
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        return {key.partition(":")[0] for key in list(store.keys())}


def sound(path: Path) -> bool:
    with closing(connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_durable_a_restored_backup_is_what_was_backed_up_though_the_bot_was_killed(data: Path, backup: Path) -> None:
    assert keys(data) == {"newer"}
    done = tiered("restore", str(backup), url=f"memory://,file:{data}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is as it was in" in done.stdout
    assert keys(data) == {"old"} and sound(data / "tiered.sqlite3")
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        assert len(list(store.keys())) == 300
        store.set("after", 1)


def test_what_was_there_is_moved_aside_with_its_log(tmp_path: Path, data: Path, backup: Path) -> None:
    moved = restore(backup, data)
    assert moved is not None and sound(moved)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in data.glob(f"{moved.name}*"):
        shutil.copy(path, elsewhere / path.name.replace(moved.name, "tiered.sqlite3"))
    assert keys(elsewhere) == {"newer"}


def test_durable_a_restore_can_be_undone_with_all_that_was_acknowledged(data: Path, backup: Path) -> None:
    """What was moved away has a log of what had not reached the database itself."""
    moved = restore(backup, data)
    assert moved is not None and Path(f"{moved}-wal").stat().st_size
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        store.set("since then", 1)
    assert restore(moved, data) not in (moved, None)
    assert keys(data) == {"newer"} and sound(data / "tiered.sqlite3")
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        assert [store.get(f"newer:{n}") for n in range(50)] == ["z" * 2000] * 50
    assert not list(data.glob("restor*"))


def test_no_restore_overwrites_what_another_moved_away(data: Path, backup: Path) -> None:
    moved = [restore(backup, data) for _ in range(3)]
    assert len(set(moved)) == 3 and all(it is not None and it.exists() for it in moved)


def test_a_backup_that_was_copied_beside_the_log_of_another_is_refused_and_nothing_is_changed(
    data: Path, backup: Path
) -> None:
    shutil.copy(backup, data / "tiered.sqlite3")
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"Move tiered\.sqlite3-wal away, or copy the backup with `tiered restore`"
        ):
            TieredBackend.from_url(f"memory://,file:{data}")
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    (data / "tiered.sqlite3-wal").rename(data / "away")
    assert keys(data) == {"old"} and sound(data / "tiered.sqlite3")


def test_one_that_is_copied_over_a_closed_store_needs_no_command(data: Path, backup: Path) -> None:
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        store.set("newest", 1)
    shutil.copy(backup, data / "tiered.sqlite3")
    assert keys(data) == {"old"}


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_backup_or_restore_that_is_ended_by_a_signal_leaves_nothing(number: str, data: Path, backup: Path) -> None:
    moved = restore(backup, data)  # it has a log beside it, so that putting it back needs another copy
    before = sorted((*data.iterdir(), *backup.parent.iterdir()))
    for module, step, command in (
        ("file", "copy", f"backup {backup}"),
        ("file_restore", "_sync", f"restore {backup}"),
        ("file_restore", "_check", f"restore {moved}"),
    ):
        program = ENDED.format(module=module, step=step, signal=number)
        args = [sys.executable, "-c", program, *command.split(), "--url", f"memory://,file:{data}"]
        done = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT)
        assert (done.returncode, done.stderr) == (130, "tiered: interrupted\n")
        assert sorted((*data.iterdir(), *backup.parent.iterdir())) == before
    assert keys(data) == {"old"}


def test_what_a_killed_restore_left_goes_with_a_later_one(data: Path, backup: Path) -> None:
    program = ENDED.format(module="file_restore", step="_check", signal="SIGKILL")
    moved = restore(backup, data)
    args = [sys.executable, "-c", program, "restore", str(moved), "--url", f"memory://,file:{data}"]
    subprocess.run(args, timeout=LIMIT)
    (left,) = data.glob("restoring-*")
    restore(backup, data)
    assert left.exists(), "it could be of one that is at work"
    os.utime(left, (0, 0))
    restore(backup, data)
    assert not list(data.glob("restor*"))


def test_the_database_of_a_store_in_use_is_no_backup(tmp_path: Path, data: Path, backup: Path) -> None:
    """A copy of what is being written to may be torn."""
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        store.set("k", 1)
        refused = tiered("restore", str(data / "tiered.sqlite3"), url=f"memory://,file:{tmp_path}/copy")
        assert refused.returncode == 2 and "is the database of a store in use; stop that, or give a" in refused.stderr
    assert not (tmp_path / "copy").exists()
    assert tiered("restore", str(data / "tiered.sqlite3"), url=f"memory://,file:{tmp_path}/copy").returncode == 0
    assert keys(tmp_path / "copy") == {"newer", "k"}


def test_who_opens_a_store_while_it_is_put_back_is_told_of_that(
    data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(file_restore, "_sync", lambda _: told.append(tiered("ls", url=f"memory://,file:{data}")))
    restore(backup, data)
    assert told and {(it.returncode, "alone (shared=False, or `tiered restore`)" in it.stderr) for it in told} == {
        (2, True)
    }


def test_a_store_in_use_is_not_put_back(data: Path, backup: Path) -> None:
    with TieredBackend.from_url(f"memory://,file:{data}") as store:
        refused = tiered("restore", str(backup), url=f"memory://,file:{data}")
        assert refused.returncode == 2 and "is in use by another process" in refused.stderr
        assert store.get("newer:1") is not None
    assert keys(data) == {"newer"}


def test_commands_say_that_a_restore_was_interrupted_and_the_next_one_ends_it(data: Path, backup: Path) -> None:
    shutil.copy(backup, data / "tiered.sqlite3.replaced-20261130T120000-restored")
    (data / "tiered.sqlite3-wal").rename(data / "tiered.sqlite3.replaced-20261130T120000-wal")
    refused = tiered("ls", url=f"memory://,file:{data}")
    assert refused.returncode == 2 and "was interrupted before its end; run it again" in refused.stderr
    (data / "tiered.sqlite3").rename(data / "tiered.sqlite3.replaced-20261130T120000")
    assert tiered("ls", url=f"memory://,file:{data}").stderr == refused.stderr
    done = tiered("restore", str(backup), url=f"memory://,file:{data}")
    assert (done.returncode, done.stderr) == (0, "") and "replaced-20261130T120000, remove" in done.stdout
    assert keys(data) == {"old"}
    restore(data / "tiered.sqlite3.replaced-20261130T120000", data)
    assert keys(data) == {"newer"} and not list(data.glob("*restored*"))


def test_what_is_no_whole_backup_is_refused_and_nothing_is_changed(tmp_path: Path, data: Path, backup: Path) -> None:
    half, text, other = tmp_path / "half", tmp_path / "text", tmp_path / "other"
    half.write_bytes(backup.read_bytes()[:50_000])
    text.write_text("no database")
    with closing(connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    for path, says in (
        (half, "is damaged"),
        (text, "no backup of a file tier"),
        (other, "no backup of a file tier"),
        (tmp_path, "there is no file"),
        (tmp_path / "nowhere", "there is no file"),
    ):
        with pytest.raises(ConfigError, match=says):
            restore(path, data)
    assert keys(data) == {"newer"}


def test_damage_that_is_told_in_what_is_no_text_is_refused_as_well(data: Path, backup: Path) -> None:
    steps = [
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'identity TEXT NOT NULL', 'identity TEXT') WHERE name = 'store'",
        "PRAGMA writable_schema=RESET",
        "UPDATE store SET identity = NULL",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = CAST(replace(CAST(sql AS BLOB), CAST('identity TEXT' AS BLOB),"
        " CAST(x'ff206964' || ' TEXT NOT NULL' AS BLOB)) AS TEXT) WHERE name = 'store'",
    ]
    with closing(connect(backup)) as connection:
        for step in steps:
            connection.execute(step)
    with pytest.raises(ConfigError, match="is damaged"):
        restore(backup, data)
    assert sound(data / "tiered.sqlite3")


def test_a_directory_that_is_not_there_yet_is_made(tmp_path: Path, backup: Path) -> None:
    assert restore(backup, tmp_path / "another host" / "data") is None
    assert keys(tmp_path / "another host" / "data") == {"old"}


def test_redis_believes_nothing_of_after_the_backup(tmp_path: Path, redis_server: RedisServer) -> None:
    url, path = f"memory://,{redis_server.url},file:{tmp_path}/data", tmp_path / "backup"
    with TieredBackend.from_url(url) as store:
        store.set("k", "old")
        store.backup(path)
        store.set("k", "new")
        assert store._core.chain.guards[0].tier.get(store._core.space.scope, "k") is not None
    restore(path, tmp_path / "data")
    with TieredBackend.from_url(url) as store:
        assert store.get("k") == "old"
        store.set("k", "newest")
        store._core.chain.memory.forget_all()
        assert store.get("k") == "newest" and store.verify().ok


def test_backup_tells_what_it_wrote(tmp_path: Path) -> None:
    url, path = f"memory://,file:{tmp_path}/data", tmp_path / "backup"
    assert tiered("set", "k", "v", url=url).returncode == 0
    done = tiered("backup", str(path), "--json", url=url)
    assert json.loads(done.stdout) == {"path": str(path), "bytes": path.stat().st_size}
    moved = json.loads(tiered("restore", str(path), "--json", url=url).stdout)["replaced"]
    assert Path(moved).exists()
    for chain, says in (("memory://", "no file tier"), ("", "no chain: give url")):
        refused = tiered("restore", str(path), url=chain)
        assert refused.returncode == 2 and says in refused.stderr


def test_a_record_that_is_no_file_says_so() -> None:
    with (
        TieredBackend([MemoryTier()]) as store,
        pytest.raises(ConfigError, match="memory: only a file tier can be backed up like this"),
    ):
        store.backup("copy")
