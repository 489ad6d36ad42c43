"""The journal of a file tier: what its caches have not confirmed, in the transactions of the entries themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tiered.tiers.base import Absence, Mark
from tiered.tiers.file_history import checked
from tiered.tiers.file_readers import Readers, rows
from tiered.tiers.file_replayer import replaying
from tiered.tiers.file_writer import Writer
from tiered.tiers.overfull import overfull
from tiered.tiers.sqlite import Cursor, damaged, first

# One statement, so one snapshot: an absence is as old as the version beside it.
_ABSENCE = (
    "SELECT coalesce(n.generation, s.generation), CAST(e.frame AS BLOB), s.version,"
    " EXISTS (SELECT 1 FROM pending WHERE namespace = ? AND key = ?)"
    " FROM store s LEFT JOIN namespaces n ON n.name = ? LEFT JOIN entries e ON e.space = n.space AND e.key = ?"
)
_PENDING = "SELECT tier, namespace, key, version, generation FROM pending WHERE tier = ? AND version > ? ORDER BY version LIMIT ?"
_STILL = "SELECT key FROM pending WHERE key IN ({}) AND namespace = ? AND tier = ?"


def marks_of(rows: Iterable[Sequence[Any]]) -> list[Mark]:
    """The marks in `rows` of a database; raises `sqlite.Error` if one is not as it was written."""
    marks = [Mark(*row) for row in rows]
    for mark in marks:
        if [type(it) for it in mark[1:5]] != [str, str, int, int]:
            raise damaged("a pending mark is not one that was written")
    return marks


class FileJournal:
    """See `tiered.tiers.base.Journal`. Thread-safe; reads raise `StoreUnavailable`, the rest as the tier's writes do."""

    def __init__(self, readers: Readers, writer: Writer, directory: Path, identity: str) -> None:
        self.identity = identity
        self._readers, self._writer, self._directory = readers, writer, directory

    def intents(self) -> tuple[()]:
        """None: a value and its marks are one transaction."""
        return ()

    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        return self._readers.snapshot(lambda reader: marks_of(reader.execute(_PENDING, (tier, above, limit))))

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        def look(reader: Cursor) -> set[tuple[str, str]]:
            names = defaultdict[str, list[str]](list)
            for namespace, key in keys:
                names[namespace].append(key)
            return {(name, key) for name in names for (key,) in rows(reader, _STILL, names[name], (name, tier))}

        return self._readers.snapshot(look)

    def confirm(self, marks: Sequence[Mark]) -> None:
        """The next commit carries these along; one that is lost before then costs a replay, never truth."""
        self._writer.confirm(marks)

    def flush(self) -> None:
        """Write waiting confirmations without waiting for the disk: they may be lost, harmlessly."""
        self._writer.flush()

    def absences(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        def look(reader: Cursor) -> tuple[int, list[bytes | Absence]]:
            found: list[bytes | Absence] = []
            for key in keys:
                generation, frame, version, pending = first(reader, _ABSENCE, (namespace, key) * 2)
                if type(version) is not int:
                    raise damaged("the last version is not one that was written")
                found.append(Absence(version, bool(pending)) if frame is None else frame)
            return checked(generation), found

        return self._readers.snapshot(look)

    def adopt(self, tier: str, identity: str) -> bool:
        return self._writer.write(lambda session: session.adopt(tier, identity))

    def adopted(self, tier: str) -> str | None:
        row = self._readers.row("SELECT identity FROM caches WHERE tier = ?", (tier,))
        return None if row is None else str(row[0])

    def replaying(self, tier: str) -> AbstractContextManager[bool]:
        return replaying(self._directory, tier)

    def limit(self, most: int) -> None:
        """Abandon every tier with more than `most` marks: a new generation instead of a journal without end."""
        self.flush()  # what was confirmed is not missed
        for tier in self._readers.snapshot(lambda reader: overfull(reader, "pending", most)):
            self._writer.write(lambda session, tier=tier: session.abandon(tier, most))  # type: ignore[misc]  # bound now
