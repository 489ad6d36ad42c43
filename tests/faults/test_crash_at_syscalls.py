"""SIGKILL at every system call with which a store is made, written and backed up (fault 1)."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from tests.faults.strace import files_of, finish, injecting, program
from tiered import ConfigError, FileTier, TieredBackend
from tiered.tiers.file_restore import restore
from tiered.tiers.sqlite import connect

pytestmark = [pytest.mark.faults, pytest.mark.root]

SYSCALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "close")
OLD, NEW, NOTHING = ("old", "old" * 300), ("new", "new" * 300), (None, None)


class Scene(Protocol):
    """What is killed, in a directory of its own."""

    def reset(self) -> None:
        """Make everything as it was."""

    def command(self) -> list[str]:
        """The program to kill, which says "acknowledged" when it has done its work."""

    def paths(self) -> list[Path]:
        """The files whose system calls count."""

    def check(self, acknowledged: bool) -> None:
        """What must hold after the crash."""


def crashes(scene: Scene, syscall: str) -> int:
    """Kill the program at its first, second, … call until a run ends unharmed; how often it was killed."""
    for n in count(1):
        scene.reset()
        done = finish(injecting(f"{syscall}:signal=SIGKILL:when={n}", scene.command(), paths=scene.paths()))
        acknowledged = "acknowledged" in done.stdout
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert acknowledged or done.returncode
        scene.check(acknowledged)
        if done.returncode == 0:
            return n - 1
    raise AssertionError


def crash_everywhere(scenes: dict[str, Scene], used: set[str]) -> None:
    """Every kind of call; those in `used` must have been met, or nothing was tested."""
    with ThreadPoolExecutor(2) as pool:
        counts = dict(zip(scenes, pool.map(crashes, scenes.values(), scenes), strict=True))
    print("killed at:", counts)
    assert {syscall for syscall, times in counts.items() if times} >= used


def values(directory: Path) -> tuple[str | None, str | None]:
    """The batch of write.py as a new process finds it, in a database that is whole and can be written."""
    with TieredBackend([FileTier(directory)]) as store:
        store.set("after", "the crash")
        assert store.get("after") == "the crash"
        found = store.get("a"), store.get("b")
    with closing(connect(directory / "tiered.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


class Writing:
    """A batch is written over what `template` holds, or into a store that is not there yet."""

    def __init__(self, directory: Path, template: Path | None) -> None:
        self.directory, self.template = directory, template

    def reset(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.template is not None:
            shutil.copytree(self.template, self.directory)

    def command(self) -> list[str]:
        return program("write", str(self.directory), "new")

    def paths(self) -> list[Path]:
        return files_of(self.directory)

    def check(self, acknowledged: bool) -> None:
        found = values(self.directory)
        assert found == NEW or (found == (OLD if self.template else NOTHING) and not acknowledged)


@pytest.mark.parametrize("before", ["nothing", "a store"])
def test_durable_a_crash_at_any_syscall_leaves_the_old_or_the_new_batch(tmp_path: Path, before: str) -> None:
    template = tmp_path / "template" if before == "a store" else None
    if template is not None:
        assert finish(program("write", str(template), "old")).returncode == 0
    scenes: dict[str, Scene] = {syscall: Writing(tmp_path / syscall, template) for syscall in SYSCALLS}
    crash_everywhere(scenes, {"openat", "pwrite64", "fdatasync", "close"})


class BackingUp:
    """A store is backed up while others could use it."""

    def __init__(self, directory: Path, store: Path) -> None:
        self.store, self.backup = store, directory / "tiered.sqlite3"
        self.part = directory / "tiered.sqlite3.part-00000000"

    def reset(self) -> None:
        shutil.rmtree(self.backup.parent, ignore_errors=True)
        self.backup.parent.mkdir()

    def command(self) -> list[str]:
        return program("backup", str(self.store), str(self.backup))

    def paths(self) -> list[Path]:
        return [self.backup, self.part]

    def check(self, acknowledged: bool) -> None:
        assert self.backup.exists() or not acknowledged
        if self.backup.exists():
            assert values(self.backup.parent) == OLD


def test_a_crash_while_backing_up_leaves_a_whole_backup_or_none(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert finish(program("write", str(store), "old")).returncode == 0
    crash_everywhere(
        {syscall: BackingUp(tmp_path / syscall, store) for syscall in SYSCALLS}, {"openat", "pwrite64", "rename"}
    )
    assert values(store) == OLD


class Restoring:
    """A store that was not closed, so that its last writes are in its log, is put back to a backup."""

    def __init__(self, directory: Path, template: Path, backup: Path) -> None:
        self.directory, self.template, self.backup = directory, template, backup

    def reset(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.template, self.directory)

    def command(self) -> list[str]:
        return program("restore", str(self.backup), str(self.directory))

    def paths(self) -> list[Path]:
        return [*files_of(self.directory), self.directory / "restored.part"]

    def check(self, acknowledged: bool) -> None:
        try:
            assert values(self.directory) in ((OLD,) if acknowledged else (OLD, NEW))
        except ConfigError as error:
            assert "run it again" in str(error) and not acknowledged
            assert finish(self.command()).returncode == 0
            assert values(self.directory) == OLD
            self.undo()

    def undo(self) -> None:
        (moved,) = (it for it in self.directory.glob("tiered.sqlite3.replaced-*") if not it.name.endswith("-wal"))
        restore(moved, self.directory)
        assert values(self.directory) == NEW


def test_durable_a_crash_while_restoring_leaves_what_was_there_or_the_backup_or_is_told(tmp_path: Path) -> None:
    store, backup = tmp_path / "store", tmp_path / "backup"
    assert finish(program("write", str(store), "old")).returncode == 0
    assert finish(program("backup", str(store), str(backup))).returncode == 0
    assert finish(program("write_and_die", str(store), "new")).returncode == -signal.SIGKILL
    crash_everywhere(
        {syscall: Restoring(tmp_path / syscall, store, backup) for syscall in SYSCALLS}, {"openat", "rename", "fsync"}
    )
