"""A wall clock that tests set, for processes of their own; their monotonic clock stays as it is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from tests.faults.strace import PROGRAMS
from tests.machine import run, tool


class WallClock:
    """The wall clock of every process that `under` starts."""

    def __init__(self, directory: Path) -> None:
        self._library, self._file = directory / "clock.so", directory / "clock"
        run(
            "cc",
            "-shared",
            "-fPIC",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-o",
            str(self._library),
            str(PROGRAMS / "clock.c"),
        )
        self._file.write_bytes(struct.pack("l", 0))

    def jump(self, seconds: int) -> None:
        """From now on it is off by so much."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("l", seconds))

    def under(self, command: Sequence[str]) -> list[str]:
        return [tool("env"), f"LD_PRELOAD={self._library}", f"TIERED_TEST_CLOCK={self._file}", *command]
