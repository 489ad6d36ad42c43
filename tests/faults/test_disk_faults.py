"""A disk that fails, is full, becomes read-only, or is slow (faults 3 to 6)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.faults.agents import Agent, file_url
from tests.faults.disks import loop_disk, tmpfs
from tests.faults.strace import files_of, finish, injecting, program
from tests.machine import run
from tiered import FileTier, TieredBackend
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreUnavailable

pytestmark = [pytest.mark.faults, pytest.mark.root]

DENIED = ("NotApplied", "Ambiguous")


def fresh(directory: Path, key: str = "k") -> object:
    """What a new process would read."""
    with TieredBackend([FileTier(directory)]) as store:
        return store.get(key)


# Fault 3: the disk does not keep what it was given


def test_durable_a_failed_fsync_is_told_and_the_next_write_starts_anew(tmp_path: Path) -> None:
    failed = 0
    for n in count(1):
        directory = tmp_path / str(n)
        with TieredBackend([FileTier(directory)]) as store:
            store.set("k", "old")
        injection = f"fsync,fdatasync:error=EIO:when={n}"
        files = files_of(directory)
        with Agent(file_url(directory), wrap=lambda it, i=injection, f=files: injecting(i, it, paths=f)) as agent:
            first = agent.ask("set", "k", "new")
            seen = agent.get("k")
            assert seen in (("old", "new") if first.error else ("new",))
            if first.error is None:
                break
            failed += 1
            assert first.error in DENIED and "check the disk" in first.message
            assert agent.set("k", "newer") == {"file": "ok"}
            assert agent.get("k") == "newer"
            agent.kill()
        assert fresh(directory) == "newer"
    assert failed > 0


def test_no_going_back_after_a_failed_fsync_and_a_crash(tmp_path: Path) -> None:
    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("k", "old")
    files = files_of(tmp_path)
    with Agent(file_url(tmp_path), wrap=lambda it: injecting("fdatasync:error=EIO:when=1+", it, paths=files)) as agent:
        assert agent.ask("set", "k", "new").error in DENIED
        seen = agent.get("k")
        agent.kill()
    assert fresh(tmp_path) == seen


def test_durable_on_a_disk_that_loses_its_ground_the_acknowledged_writes_stay(tmp_path: Path) -> None:
    """The image of the disk is larger than what holds it: at some point the kernel cannot write back any more."""
    with ExitStack() as stack:
        ground = stack.enter_context(tmpfs(tmp_path / "ground", "size=12m"))
        disk = stack.enter_context(loop_disk(ground))
        acknowledged = 0
        with TieredBackend([FileTier(disk.mount / "store")]) as store, pytest.raises((NotApplied, Ambiguous)):
            for acknowledged in range(1000):
                store.set(f"k{acknowledged}", str(acknowledged) * 20_000)
        assert acknowledged > 0
        disk.detach()
        run("mount", "-o", "remount,size=100m", str(ground))
        disk.attach()
        with TieredBackend([FileTier(disk.mount / "store")]) as store:
            assert all(store.get(f"k{n}") == str(n) * 20_000 for n in range(acknowledged))
            store.set("k", "again")


# Fault 4: no room


def test_a_full_disk_is_told_reads_go_on_and_room_heals_it(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=2m") as disk, TieredBackend([FileTier(disk / "store")]) as store:
        store.set("small", "there")
        filler = disk / "filler"
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with pytest.raises((NotApplied, Ambiguous), match="free some space") as caught:
            store.set("big", "x" * 100_000)
        assert caught.value.reason is Reason.FULL
        assert store.get("small") == "there" and store.get("big") is None
        filler.unlink()
        store.set("big", "x" * 100_000)
        assert store.get("big") == "x" * 100_000


def test_a_backup_to_a_full_disk_says_so_and_leaves_nothing_but_the_one_before(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=1m") as disk, TieredBackend([FileTier(tmp_path / "store")]) as store:
        store.backup(disk / "backup")
        before = (disk / "backup").read_bytes()
        store.set("big", "x" * 2_000_000)
        with pytest.raises(StoreUnavailable, match="failed: the disk is full; free some space") as caught:
            store.backup(disk / "backup")
        assert caught.value.reason is Reason.FULL
        assert [(it.name, it.read_bytes()) for it in disk.iterdir()] == [("backup", before)]


@pytest.mark.parametrize("inodes", range(2, 7))
def test_a_disk_without_inodes_is_refused_and_heals(tmp_path: Path, inodes: int) -> None:
    """The directory, the lock, the database and SQLite's two files beside it are five, and the disk's root is one."""
    with tmpfs(tmp_path / "disk", "size=2m,nr_inodes=6") as disk:
        fillers = [disk / f"filler{n}" for n in range(6 - inodes)]
        for filler in fillers:
            filler.touch()
        try:
            with TieredBackend([FileTier(disk / "store")]) as store:
                store.set("k", "v")
        except (ConfigError, NotApplied) as error:
            assert inodes < 6 and "free" in str(error)
        else:
            assert inodes == 6
        for filler in fillers:
            filler.unlink()
        with TieredBackend([FileTier(disk / "store")]) as store:
            store.set("k", "v")
            assert store.get("k") == "v"


def test_a_limit_on_the_size_of_files_is_told_reads_go_on_and_lifting_it_heals(tmp_path: Path) -> None:
    with Agent(file_url(tmp_path / "store")) as agent:
        agent.set("small", "there")
        agent.ask("limit", "FSIZE", 100_000)
        denied = agent.ask("set", "big", "x" * 200_000)
        assert denied.error in DENIED
        assert agent.get("small") == "there" and agent.get("big") is None
        agent.ask("limit", "FSIZE", -1)
        agent.set("big", "x" * 200_000)
        assert agent.get("big") == "x" * 200_000


# Fault 5: read-only from one moment to the next


def test_a_disk_that_becomes_read_only_is_told_and_reads_go_on(tmp_path: Path) -> None:
    with loop_disk(tmp_path, options="loop,errors=remount-ro") as disk:
        directory = disk.mount / "store"
        with TieredBackend([FileTier(directory)]) as store:
            store.set("k", "v")
            store.get("k")
            disk.fail()
            for _ in range(2):  # with the connection that it had, and without
                with pytest.raises((NotApplied, Ambiguous)):
                    store.set("k", "lost")
                assert store.get("k") == "v"
        with pytest.raises(ConfigError, match="read-write"):
            FileTier(directory)
        disk.detach()
        disk.attach()
        assert fresh(directory) == "v"


# Fault 6: slow


def test_readers_do_not_wait_for_a_slow_disk(tmp_path: Path) -> None:
    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("k", "old")
    slow = injecting("fdatasync:delay_enter=1000000", program("read_while_writing", str(tmp_path)))
    done = finish(slow)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["write"] > 1  # the fault was there
    assert found["reads"] > 100 and found["slowest"] < found["write"] / 2
