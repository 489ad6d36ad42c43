"""Copies what Will's own backend kept into a store, value by value as it is, and then compares the two.

It keeps no notes: what the store has already is passed over, so a run that was ended in the middle is resumed by
another one. What is there but differs, in its value or in when it ends, is left alone: the bot may have changed it since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tiered.backend import TieredBackend
from tiered.core import value_of
from tiered.errors import InvalidValue
from tiered.integrations.will.expire import seconds_left
from tiered.integrations.will.keys import stored_name
from tiered.integrations.will.source import Kept, Source

BATCH, BATCH_BYTES = 200, 1_000_000
"""Values that are compared at once, and when they are enough before: a Redis has to answer with all of them in time."""
EXAMPLES = 5
SAME_END = 10.0
"""Seconds. A Redis tells what is left, after some time on the way, so that a value seems to end later in each run."""

OnProgress = Callable[[str, int, int | None], None]
"""Told the step ("copying", "verifying"), how many values of it are done, and of how many."""


@dataclass(slots=True)
class Outcome:
    """What a migration did. The lists name up to `EXAMPLES` keys."""

    dry_run: bool
    copied: int = 0
    """In a dry run: to be copied."""
    already_there: int = 0
    different: int = 0
    """Another value is in the store, or the same one with another end, and was kept there."""
    different_keys: list[str] = field(default_factory=list)
    expired: int = 0
    too_large: int = 0
    too_large_keys: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    verified: int = 0
    unequal: int = 0
    unequal_keys: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        """Values of Will's in the source."""
        return self.copied + self.already_there + self.different + self.expired + self.too_large

    @property
    def complete(self) -> bool:
        """Whether everything of the source is in the store, or in a dry run would be. A source with nothing is a wrong one."""
        return bool(self.found) and not (self.different or self.too_large or self.unequal)

    def as_dict(self) -> dict[str, Any]:
        return {"complete": self.complete, "found": self.found, **asdict(self)}


class Migration:
    """One run from `source` into `store`. With `overwrite` the source wins where the two differ."""

    def __init__(
        self, source: Source, store: TieredBackend, *, dry_run: bool, overwrite: bool, on_progress: OnProgress
    ) -> None:
        self._source, self._store, self._on_progress = source, store, on_progress
        self._overwrite, self._outcome = overwrite, Outcome(dry_run)
        self._kept = set[str]()
        """Keys whose values in the store were not to be changed, and so differ."""

    def run(self) -> Outcome:
        """Copy, then verify; raises the typed errors of tiered, and may be run again after any of them."""
        self._copy()
        self._outcome.left_out = dict(self._source.left_out)
        if not self._outcome.dry_run:
            self._verify()
        return self._outcome

    def _copy(self) -> None:
        for batch in self._batches("copying"):
            alive = [it for it in batch if _alive(it)]
            self._outcome.expired += len(batch) - len(alive)
            names = [stored_name(it.key) for it in alive]
            there = self._of_record(names)
            for name, kept in zip(names, alive, strict=True):
                self._place(name, kept, there[name])

    def _place(self, name: str, kept: Kept, slot: tuple[Any, ...] | None) -> None:
        """`slot` is what the store was found to have."""
        if slot is None:
            self._put(name, kept)
        elif _equal(slot, kept):
            self._outcome.already_there += 1
        else:
            self._differs(name, kept)

    def _put(self, name: str, kept: Kept, *, replace: bool = False) -> None:
        if not self._outcome.dry_run:
            ttl = _ttl(kept)
            try:
                # A bot that runs on the store already, or another run, may have written the key a moment ago.
                done = self._store.set(name, kept.value, ttl) if replace else self._store.add(name, kept.value, ttl)
            except InvalidValue:
                self._kept.add(name)
                self._outcome.too_large += 1
                _note(self._outcome.too_large_keys, name)
                return
            if done is None:
                self._place(name, kept, self._of_record([name])[name])
                return
        self._outcome.copied += 1

    def _differs(self, name: str, kept: Kept) -> None:
        if self._overwrite:
            self._put(name, kept, replace=True)
        else:
            self._kept.add(name)
            self._outcome.different += 1
            _note(self._outcome.different_keys, name)

    def _verify(self) -> None:
        """Read both sides anew, the store from its record rather than from a cache."""
        for batch in self._batches("verifying"):
            by_name = {stored_name(kept.key): kept for kept in batch}
            there = self._of_record([name for name in by_name if name not in self._kept])
            for name, slot in there.items():
                if slot is not None and _equal(slot, by_name[name]):
                    self._outcome.verified += 1
                elif _alive(by_name[name]):
                    self._outcome.unequal += 1
                    _note(self._outcome.unequal_keys, name)

    def _of_record(self, names: list[str]) -> dict[str, tuple[Any, ...] | None]:
        """What the store of record has under each of `names`. By key: not every record can list what it has."""
        core = self._store._core
        found = core.service.reader.read_many(core.space, names, caches=False) if names else {}
        return {name: it.slot for name, it in found.items()}

    def _batches(self, step: str) -> Iterator[list[Kept]]:
        done, total = 0, self._source.count()
        self._on_progress(step, 0, total)
        for batch in _batched(self._source.values()):
            yield batch
            done += len(batch)
            self._on_progress(step, done, max(done, total))


def _batched(values: Iterator[Kept]) -> Iterator[list[Kept]]:
    batch, size = list[Kept](), 0
    for kept in values:
        batch.append(kept)
        size += len(kept.value)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _alive(kept: Kept) -> bool:
    return kept.expires_at is None or kept.expires_at > time.time()


def _equal(slot: tuple[Any, ...], kept: Kept) -> bool:
    """Whether the store has the value, until the same time."""
    theirs, left = slot[4] / 1000, _ttl(kept)
    if not theirs or left is None:
        same_end = not theirs and left is None
    else:
        same_end = abs(theirs - time.time() - left) <= SAME_END
    return same_end and _raw(value_of(slot)) == kept.value


def _ttl(kept: Kept) -> float | None:
    """Beyond what a store can express is for ever, as when Will saves it here."""
    now = time.time()
    left = None if kept.expires_at is None else seconds_left(kept.expires_at - now, now)
    return None if left is None else max(0.001, left)


def _raw(value: Any) -> bytes:
    """What is stored, as Will would get it; of another program's value, something that equals nothing of Will's."""
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


def _note(examples: list[str], name: str) -> None:
    if len(examples) < EXAMPLES:
        examples.append(name)
