"""Faults of system calls, injected by strace into a program of tests/faults/programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.machine import tool

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 120.0


def program(name: str, *args: str) -> list[str]:
    """The command that runs a program of this directory."""
    return [sys.executable, str(PROGRAMS / f"{name}.py"), *args]


def injecting(injection: str, command: Sequence[str], *, paths: Sequence[Path] = ()) -> list[str]:
    """`command` under strace, with `injection` ("fsync:error=EIO:when=2") for calls on `paths`, or on anything.

    Calls are counted per thread and system call.
    """
    only = [word for path in paths for word in ("-P", str(path.absolute()))]
    calls = injection.partition(":")[0]
    quiet = ("-qqq", "--signal=none", "-f", "-o", "/dev/null")  # with --seccomp-bpf, signals are not injected
    return [tool("strace"), *quiet, *only, "-e", f"trace={calls}", "-e", f"inject={injection}", *command]


def finish(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, however it ends."""
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)


def files_of(directory: Path) -> list[Path]:
    """What a file tier may touch in its directory, and the directory."""
    database = directory / "tiered.sqlite3"
    beside = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
    return [directory, directory / "lock", database, *beside]
