"""Checks of a directory that a tier or a journal keeps its database in: who may use it, and how much room is left."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tiered.cli.doctor.finding import Finding, advice, ok, problem
from tiered.cli.quantities import size

SCARCE = 100 * 2**20
"""Free bytes below which writes are about to fail."""


def check_directory(directory: Path, name: str) -> Iterator[Finding]:
    """Raises `OSError` if it cannot be looked at."""
    inside = dict(_contents(directory))
    yield _check_permissions(directory, name, inside)
    yield _check_space(directory, name, sum(it.st_size for it in inside.values()))


def _contents(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in it; SQLite makes and removes files while one looks."""
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            yield path, path.lstat()


def _check_permissions(directory: Path, name: str, inside: Mapping[Path, os.stat_result]) -> Finding:
    check, info, me, quoted = f"{name}.permissions", directory.stat(), os.geteuid(), shlex.quote(str(directory))
    readable = [path for path, it in inside.items() if it.st_mode & 0o077 and not stat.S_ISLNK(it.st_mode)]
    # A directory that only its owner can enter guards what is in it, whatever its mode.
    if info.st_mode & 0o022 or (info.st_mode & 0o077 and readable):
        fix = f"chmod 700 {quoted} && chmod 600 {quoted}/*"
        return problem(check, f"other users of this machine can get at {readable[0] if readable else directory}", fix)
    strangers = [path for path, it in inside.items() if it.st_uid != info.st_uid]
    if strangers:
        text = f"{strangers[0].name} in {directory} belongs to another user than the directory"
        return problem(check, text, f"chown -R {info.st_uid} {quoted}")
    whose = "" if info.st_uid == me else f", which user {info.st_uid} owns and this is user {me}"
    return ok(check, f"only its owner can get at {directory}{whose}")


def _check_space(directory: Path, name: str, used: int) -> Finding:
    check, usage, inodes = f"{name}.space", shutil.disk_usage(directory), os.statvfs(directory)
    text = f"{size(usage.free)} free where {directory} is, which takes {size(used)}"
    if usage.free < SCARCE or (inodes.f_files and not inodes.f_favail):
        what = text if usage.free < SCARCE else f"no more files can be made where {directory} is"
        return problem(check, what, "free some space now: on a full disk writes raise NotApplied")
    if usage.free < usage.total // 20 or usage.free < used:
        fix = "free some space; a backup, and SQLite's own tidying, need as much as the store takes"
        return advice(check, text, fix)
    return ok(check, text)
