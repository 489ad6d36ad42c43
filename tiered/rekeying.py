"""`rekey`: what the store of record holds is written again as it would be now: encrypted, with the current key.

In pages, while the store is in use, each entry on the condition that nobody was faster. What is as it should be is passed
over, so that a run which was interrupted is continued by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tiered.chain import Chain, Space
from tiered.errors import CodecError, ConfigError
from tiered.tiers.base import Inventory, Write
from tiered.verification.pages import pages
from tiered.verification.progress import OnProgress, Progress
from tiered.writing import Result

EXAMPLES = 5
Commit = Callable[[str, Sequence[Write]], Sequence[Result]]
"""Commits writes to a namespace and publishes them, as the backend does."""


@dataclass(slots=True)
class RekeyReport:
    """How many entries were written again, and which could not be."""

    key: str | None
    """The id of the key that all are to be written with; None without protection."""
    rewritten: int = 0
    current: int = 0
    """Already as they should be."""
    expired: int = 0
    """Dead and removed."""
    overtaken: int = 0
    """Written by others meanwhile, with their current key: another run sees whether it is this one."""
    unreadable: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    """Namespace and key of the first that do not open."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why they do not, and how many of each: the first few reasons."""

    def leave(self, namespace: str, key: str, reason: str) -> None:
        """Count an entry that does not open."""
        self.unreadable += 1
        if len(self.examples) < EXAMPLES:
            self.examples += ((namespace, key),)
        if reason in self.reasons or len(self.reasons) < EXAMPLES:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    @property
    def ok(self) -> bool:
        """Nothing is left that needs another key."""
        return not self.overtaken and not self.unreadable

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        names = ("key", "rewritten", "current", "expired", "overtaken", "unreadable")
        counts = {name: getattr(self, name) for name in names}
        return {"ok": self.ok, **counts, "examples": self.examples, "reasons": self.reasons}


class Rekeyer:
    """One run over namespaces. For one thread; raises `StoreError` when the record fails, with what is done kept."""

    def __init__(self, chain: Chain, commit: Commit, on_progress: OnProgress | None) -> None:
        rules = chain.rules
        if rules.ring is None:
            raise ConfigError("rekey needs keys: give keys= (TIERED_KEYS), such as env:NAME or file:PATH")
        self._chain, self._commit, self._on_progress = chain, commit, on_progress
        self.report = RekeyReport(rules.ring.current.id if rules.writes is not None else None)

    def run(self, namespace: str) -> None:
        """Write the entries of `namespace` again that need it."""
        record, space, done = self._chain.record, self._chain.space(namespace), 0
        total = record.count(namespace) if self._on_progress and isinstance(record, Inventory) else None
        for items in pages(lambda cursor, limit: record.scan(namespace, "", cursor, limit)):
            writes = [write for key, frame in items if (write := self._write(space, key, frame)) is not None]
            if writes:
                self._count(writes, self._commit(namespace, writes))
            done += len(items)
            if self._on_progress:
                self._on_progress(Progress(namespace, "rekeying", done, total))

    def _write(self, space: Space, key: str, frame: bytes) -> Write | None:
        """What is to be written in the place of `frame`; None if nothing is."""
        frames, now = space.frames, self._chain.clock.now()
        if frames.is_current(frame):
            self.report.current += 1
            return None
        try:
            entry = frames.open(frame, key)
        except CodecError as error:
            self.report.leave(space.name, key, str(error))
            return None
        if 0 < entry.keep_until <= now:
            return Write(key, frames.tombstone(key, now), expect=0)
        draft = frames.draft(key, entry.payload, entry.codec, entry.expires_at, entry.keep_until)
        return Write(key, draft, expect=0 if entry.absent(now) else entry.version)

    def _count(self, writes: Sequence[Write], results: Sequence[Result]) -> None:
        for write, (written, _) in zip(writes, results, strict=True):
            if not written.version:
                self.report.overtaken += 1
            elif write.draft.tombstone:
                self.report.expired += 1
            else:
                self.report.rewritten += 1
