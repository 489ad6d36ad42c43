"""The file that a backup is written to before it takes the place of its target."""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from glob import escape
from pathlib import Path

from tiered.errors import ConfigError
from tiered.tiers.file_place import belongs_to_a_store, explain

LEFT = 3600.0
"""Seconds after which a file that nobody has written to is of a process that was killed. If it was only stopped, its backup fails
when it goes on."""


def begin(target: Path, name: str) -> Path:
    """A new file beside `target`, empty and for its user only; raises `ConfigError`. What others have left there goes."""
    part = Path(f"{target}.part-{secrets.token_hex(4)}")
    try:
        _check(target, name)
        for left in target.parent.glob(f"{escape(target.name)}.part-????????"):
            with suppress(FileNotFoundError):  # another backup was faster
                if left.stat().st_mtime < time.time() - LEFT:
                    remove(left)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise ConfigError(f"{name}: cannot create {part}: {explain(error)}") from error
    return part


def _check(target: Path, name: str) -> None:
    """Only a regular file is replaced, and none that a store uses: where root may rename, a device would go for the whole machine."""
    if target.is_dir():
        raise ConfigError(f"{name}: {target} is a directory; give the path of a file")
    if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
        raise ConfigError(f"{name}: {target} is no regular file, which a backup would replace; give the path of one")
    if belongs_to_a_store(target):
        raise ConfigError(f"{name}: {target} belongs to a store; back up to another path")


def remove(part: Path) -> None:
    """With the journal that SQLite leaves beside it where the disk is full; neither may be there."""
    for path in (part, Path(f"{part}-journal")):
        path.unlink(missing_ok=True)
