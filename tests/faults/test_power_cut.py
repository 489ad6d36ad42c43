"""Power cuts on a real file system: what was acknowledged is there afterwards (fault 2)."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.faults.disks import LoopDisk, loop_disk
from tests.faults.strace import program
from tiered import FileTier, TieredBackend

pytestmark = [pytest.mark.faults, pytest.mark.root]

ROUNDS = 20


def write_until_the_cut(disk: LoopDisk, acknowledgements: int) -> int:
    """A process writes; the power goes when it has acknowledged so many. Returns the last that it had acknowledged.

    What it says after that does not count. The kernel's shutdown is not quite a power cut: an fdatasync that is under
    way may still return success without effect (with pwrite and fdatasync alone, 179 times of 454 on Linux 6.18).
    """
    command = program("count", str(disk.mount / "store"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as writer:
        assert writer.stdout is not None
        last = 0
        for _ in range(acknowledgements):
            last = int(writer.stdout.readline())
        disk.cut_power()
        writer.kill()
    return last


def test_durable_acknowledged_writes_survive_power_cuts(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    with loop_disk(tmp_path) as disk:
        for round_ in range(ROUNDS):
            acknowledged = write_until_the_cut(disk, 1 if round_ == 0 else rng.randint(1, 150))
            disk.detach()
            disk.attach()
            with TieredBackend([FileTier(disk.mount / "store")]) as store:
                n = store.get("n")
                assert n >= acknowledged
                assert store.get(f"k{n % 7}") == n  # a batch is all or nothing


def test_the_cut_is_a_real_one(tmp_path: Path) -> None:
    """What nobody asked the disk to keep is gone; otherwise the test above would show nothing."""
    with loop_disk(tmp_path) as disk:
        (disk.mount / "never-synced").write_text("lost")
        disk.cut_power()
        disk.detach()
        disk.attach()
        assert not (disk.mount / "never-synced").exists()
