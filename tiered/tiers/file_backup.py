"""The file that a backup is written to before it takes the place of its target."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from glob import escape
from pathlib import Path

from tiered.errors import ConfigError
from tiered.tiers.file_place import explain

LEFT = 3600.0
"""Seconds after which a file that nobody has written to is of a process that was killed. If it was only stopped, its backup fails
when it goes on."""


def begin(target: Path, name: str) -> Path:
    """A new file beside `target`, empty and for its user only; raises `ConfigError`. What others have left there goes."""
    part = Path(f"{target}.part-{secrets.token_hex(4)}")
    try:
        for left in target.parent.glob(f"{escape(target.name)}.part-????????"):
            with suppress(FileNotFoundError):  # another backup was faster
                if left.stat().st_mtime < time.time() - LEFT:
                    remove(left)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise ConfigError(f"{name}: cannot create {part}: {explain(error)}") from error
    return part


def remove(part: Path) -> None:
    """With the journal that SQLite leaves beside it where the disk is full; neither may be there."""
    for path in (part, Path(f"{part}-journal")):
        path.unlink(missing_ok=True)
