"""Disks that tests may fill, break and cut off: small file systems of their own, unmounted afterwards."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.machine import allowed, run, tool

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, as `xfs_io -x -c shutdown` uses it; a call and not a program, because the moment matters."""
_WITHOUT_THE_LOG = struct.pack("I", 2)


@contextmanager
def tmpfs(directory: Path, options: str) -> Iterator[Path]:
    """A file system in memory, with a size and a number of inodes."""
    directory.mkdir()
    allowed("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory))
    try:
        yield directory
    finally:
        _unmount(directory)


class LoopDisk:
    """An ext4 on an image in `directory`; mounted at `mount`."""

    def __init__(self, directory: Path, *, megabytes: int = 64, options: str = "loop") -> None:
        self.mount = directory / "disk"
        self._image, self._options = directory / "disk.img", options
        self.mount.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes * 2**20)
        run("mkfs.ext4", "-q", "-F", str(self._image))
        self.attach()

    def attach(self) -> None:
        allowed("mount", "-o", self._options, str(self._image), str(self.mount))

    def detach(self) -> None:
        _unmount(self.mount)

    def cut_power(self) -> None:
        """From here on nothing reaches the image, not even what the kernel still has in memory; then mount it again."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_THE_LOG)
        finally:
            os.close(descriptor)

    def fail(self) -> None:
        """What the kernel does when it finds the file system damaged: everything is read-only at once."""
        device = run("findmnt", "-n", "-o", "SOURCE", str(self.mount)).strip()
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("tiered test")


@contextmanager
def loop_disk(directory: Path, *, megabytes: int = 64, options: str = "loop") -> Iterator[LoopDisk]:
    """A `LoopDisk`, detached afterwards."""
    disk = LoopDisk(directory, megabytes=megabytes, options=options)
    try:
        yield disk
    finally:
        disk.detach()


def _unmount(mount: Path) -> None:
    """Also when something is still open on it, and when it is not mounted any more."""
    subprocess.run([tool("umount"), "--lazy", str(mount)], capture_output=True)
