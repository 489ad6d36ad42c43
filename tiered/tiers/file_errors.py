"""What an error of SQLite means for the callers of a file tier, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import apsw

from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreUnavailable, without_tier
from tiered.tiers.sqlite import Error, code_of

CLOSED = "closed; build a new one"
SQLITE_ERRORS = (Error, UnicodeDecodeError)
"""What a call of SQLite raises; the second for a text, in a row, that is damaged so that it is none."""

_REASONS = {
    apsw.SQLITE_FULL: Reason.FULL,
    apsw.SQLITE_BUSY: Reason.BUSY,
    apsw.SQLITE_INTERRUPT: Reason.BUSY,
    apsw.SQLITE_CORRUPT: Reason.SERIALIZATION,
    apsw.SQLITE_NOTADB: Reason.SERIALIZATION,
    apsw.SQLITE_READONLY: Reason.MISUSE,
    apsw.SQLITE_PERM: Reason.MISUSE,
    apsw.SQLITE_CANTOPEN: Reason.MISUSE,
}
_ADVICE = {
    apsw.SQLITE_FULL: "; free some space, then try again",
    apsw.SQLITE_BUSY: "; another process holds the write lock for too long",
    apsw.SQLITE_INTERRUPT: ", by a fork of this process each time that it was begun; use `tiered backup`, a process of its own",
    apsw.SQLITE_CORRUPT: "; the file is damaged: {remedy}",
    apsw.SQLITE_NOTADB: "; the file is damaged or no database: {remedy}",
    apsw.SQLITE_READONLY: "; make the directory and its mount writable",
    apsw.SQLITE_PERM: "; check the owner and the mode of the directory",
    apsw.SQLITE_CANTOPEN: "; check the directory, its owner and mode, that its disk has free inodes, and that this process may"
    " open more files (ulimit -n)",
    apsw.SQLITE_IOERR: "; check the disk, and the system's log",
}
_UNSAID = {apsw.SQLITE_FULL: "the disk is full", apsw.SQLITE_IOERR: "disk I/O error"}
"""Of a step of a copy SQLite has no text: "not an error"."""


class FileErrors:
    """Turns errors of SQLite, and of a directory that another process holds, into typed ones for one database."""

    def __init__(self, name: str, path: Path, remedy: str = "restore a backup") -> None:
        self.name = name
        self.path = path
        self.remedy = remedy
        """Of damage."""
        self.log_removed = False
        """Whether the log to which the store wrote is not at its path any more."""
        self.inherited = False
        """Whether this process has connections of its parent: SQLite believes to have their locks, takes none, and may hang."""

    def replaced(self) -> str:
        """What to say of a database that is not at its path any more, or of its log, or that this process must not use."""
        if self.inherited:
            return (
                f"this process was forked in the middle of a call that uses {self.path}, as by a signal handler, and SQLite would take"
                " its parent's locks for its own; fork elsewhere"
            )
        if self.log_removed:
            return (
                f"the log of {self.path} was removed while it was in use, as by a second SQLite in this process (Python's sqlite3),"
                " which takes itself for the last user when it closes the file: docs/backup.md; restart what uses it"
            )
        return f"{self.path} was removed or replaced while it was in use; put it back, or restart what uses it"

    def unusable(self, error: Exception) -> ConfigError:
        return ConfigError(f"{self.name}: cannot use {self.path}: {error}{self._advice(error)}")

    def unreadable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, ConfigError):
            return StoreUnavailable(without_tier(error, self.name), tier=self.name, reason=Reason.MISUSE)
        return StoreUnavailable(self._say("cannot read {}", error), tier=self.name, reason=reason(error))

    def not_applied(self, error: Exception) -> NotApplied:
        if isinstance(error, ConfigError):
            return NotApplied(without_tier(error, self.name), tier=self.name, reason=Reason.MISUSE)
        return NotApplied(self._say("nothing was written to {}", error), tier=self.name, reason=reason(error))

    def ambiguous(self, error: Exception) -> Ambiguous:
        message = self._say("the commit to {} failed and may or may not be on disk", error)
        return Ambiguous(message, tier=self.name, reason=reason(error))

    def not_copied(self, target: Path, error: Exception) -> StoreUnavailable:
        what = _UNSAID.get(_code(error), error)
        message = f"the backup of {self.path} to {target} failed: {what}{self._advice(error)}"
        return StoreUnavailable(message, tier=self.name, reason=reason(error))

    def _say(self, what: str, error: Exception) -> str:
        return f"{what.format(self.path)}: {error}{self._advice(error)}"

    def _advice(self, error: Exception) -> str:
        return _ADVICE.get(_code(error), "").format(remedy=self.remedy)


def reason(error: BaseException) -> Reason:
    return _REASONS.get(_code(error), Reason.OTHER)


def certainly_undone(error: Exception) -> bool:
    """Whether a COMMIT that failed with `error` has certainly committed nothing.

    Only if a write to the log found no room: the frame that commits is the last, and it is not whole. A disk that has no
    room at fsync, or for the index of the log, tells so after that frame was written, and as an I/O error.
    """
    return code_of(error) == apsw.SQLITE_FULL


def _code(error: BaseException) -> int:
    """SQLite's primary code; a full disk that keeps the index of the log from growing is told as an I/O error."""
    if isinstance(error, UnicodeDecodeError):
        return apsw.SQLITE_CORRUPT
    code = code_of(error)
    return apsw.SQLITE_FULL if code == apsw.SQLITE_IOERR_SHMSIZE else code & 0xFF
