"""The directory of Will's own File backend: a file per key, and a hidden one beside it with the time of its expiry."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tiered.errors import ConfigError, Reason, StoreUnavailable
from tiered.integrations.will.source import Kept

OWN = ".will_settings"
"""Will's own mark: it uses no directory that has files and lacks this one."""
_EXPIRES = re.compile(r"\.(.+)\.expires", re.DOTALL)
_TIME = re.compile(rb"\s*-?\d{1,15}\s*")


class FileSource:
    """Reads `directory`, and nothing beneath or outside it."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(os.path.expanduser(directory))
        self.left_out = Counter[str]()
        if not self._directory.is_dir():
            raise ConfigError(f"{self._directory} is not a directory; give Will's FILE_DIR")
        if OWN not in self._names():  # every file of another directory would be taken for a value
            raise ConfigError(
                f"{self._directory} has no {OWN}, which Will's File backend puts into its FILE_DIR: is it another directory, or a"
                " copy without the hidden files, where the times of expiry are, too?"
            )

    def count(self) -> int:
        return len(self._names())

    def values(self) -> Iterator[Kept]:
        self.left_out.clear()
        names = self._names()
        for name in sorted(names):
            if name == OWN or self._is_expiry(name, names):
                continue
            value = self._read(name)
            if value:
                yield Kept(_key(name), value, self._expires_at(name, names))
            else:
                self.left_out["empty file (a save that was cut off)"] += 1

    def close(self) -> None:
        """Nothing is open."""

    def _names(self) -> set[str]:
        try:
            with os.scandir(self._directory) as found:
                return {entry.name for entry in found if entry.is_file()}
        except OSError as error:
            raise _unreadable(self._directory, error) from error

    def _is_expiry(self, name: str, names: set[str]) -> bool:
        """Will calls the expiry of z ".z.expires"; so may a plugin call a key, whose value then is no time."""
        match = _EXPIRES.fullmatch(name)
        if match is None or not _TIME.fullmatch(self._read(name)):
            return False
        if match[1] not in names:
            self.left_out["expiry without a value"] += 1
        return True

    def _expires_at(self, name: str, names: set[str]) -> float | None:
        beside = f".{name}.expires"
        return float(self._read(beside)) if beside in names and self._is_expiry(beside, names) else None

    def _read(self, name: str) -> bytes:
        path = self._directory / name
        try:
            return path.read_bytes()
        except FileNotFoundError:  # a bot that still runs has cleared it
            return b""
        except OSError as error:
            raise _unreadable(path, error) from error


def _key(name: str) -> str | bytes:
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _unreadable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path}: {error.strerror}; run this as the user of the bot", tier="will", reason=Reason.OTHER
    )
