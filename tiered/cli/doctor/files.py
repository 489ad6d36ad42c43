"""Checks of a directory that a tier or a journal keeps its database in: who may use it, and how much room is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tiered.cli.doctor.finding import Finding, advice, ok, problem
from tiered.cli.quantities import size

SCARCE = 100 * 2**20
"""Free bytes below which writes are about to fail."""


def check_directory(directory: Path, name: str) -> Iterator[Finding]:
    """Raises `OSError` if it cannot be looked at."""
    yield _check_permissions(directory, name)
    yield _check_space(directory, name)


def _check_permissions(directory: Path, name: str) -> Finding:
    check, info, inside = (
        f"{name}.permissions",
        directory.stat(),
        [it for it in directory.iterdir() if not it.is_symlink()],
    )
    readable = [it for it in inside if it.stat().st_mode & 0o077]
    # A directory that only its owner can enter guards what is in it, whatever its mode.
    if info.st_mode & 0o022 or (info.st_mode & 0o077 and readable):
        fix = f"chmod 700 {directory} && chmod 600 {directory}/*"
        return problem(check, f"other users of this machine can get at {readable[0] if readable else directory}", fix)
    me = os.geteuid()
    strangers = [it for it in inside if it.stat().st_uid != info.st_uid]
    if strangers:
        fix = f"chown -R {info.st_uid} {directory}"
        return problem(check, f"{strangers[0].name} in {directory} belongs to another user than the directory", fix)
    whose = "" if info.st_uid == me else f", which user {info.st_uid} owns and this is user {me}"
    return ok(check, f"only its owner can get at {directory}{whose}")


def _check_space(directory: Path, name: str) -> Finding:
    check, usage = f"{name}.space", shutil.disk_usage(directory)
    used = sum(it.stat().st_size for it in directory.iterdir() if it.is_file())
    text = f"{size(usage.free)} free where {directory} is, which takes {size(used)}"
    inodes = os.statvfs(directory)
    if usage.free < SCARCE or (inodes.f_files and not inodes.f_favail):
        what = text if usage.free < SCARCE else f"no more files can be made where {directory} is"
        return problem(check, what, "free some space now: on a full disk writes raise NotApplied")
    if usage.free < usage.total // 20 or usage.free < used:
        return advice(
            check, text, "free some space; a backup, and SQLite's own tidying, need as much as the store takes"
        )
    return ok(check, text)
