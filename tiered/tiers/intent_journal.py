"""The journal of a record that has none of its own: what its caches have not confirmed, in a local directory."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count
from random import SystemRandom
from threading import Lock
from typing import Literal

from tiered.arguments import number, whole
from tiered.clock import Clock
from tiered.entry import draft, namespace_seed, open_frame
from tiered.errors import (
    Ambiguous,
    ConfigError,
    Corrupt,
    NotApplied,
    Reason,
    StoreError,
    StoreUnavailable,
    without_tier,
)
from tiered.forks import Forking, forget, put_off, register
from tiered.tiers import intent_tables as tables
from tiered.tiers.base import Absence, Commit, Hosts, Mark, Record, Write
from tiered.tiers.file_journal import marks_of
from tiered.tiers.file_replayer import replaying
from tiered.tiers.intent_changes import Applied
from tiered.tiers.intent_store import IntentStore
from tiered.tiers.intent_tidying import Tidying
from tiered.tiers.sqlite import first

logger = logging.getLogger(__name__)

OWN = "tiered:journal"
"""The namespace, which nobody can name, of what a journal keeps in the record."""

_PENDING = "SELECT tier, namespace, key, version, generation, place FROM marks WHERE tier = ? AND place > ? ORDER BY place LIMIT ?"
_NO_WRITER = -2
_INTENTS = "SELECT DISTINCT namespace, key FROM intents WHERE writer <> ?"
_STILL = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM marks WHERE namespace = ? AND key = ? AND tier = ?)"
    " OR EXISTS (SELECT 1 FROM intents WHERE namespace = ? AND key = ?)"
)
_ANY = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM marks WHERE namespace = ? AND key = ?)"
    " OR EXISTS (SELECT 1 FROM intents WHERE namespace = ? AND key = ?)"
)


class IntentJournal(Forking):
    """See `tiered.tiers.base.Journal`. `end`, `withdraw` or `doubt` what you `begin`. Thread-safe; errors are of the tier `record`, for which it stands in.

    `grace` is how many seconds after a write was given up it may still be applied by the record. `max_pending` bounds the
    marks of each cache tier, and the intents.
    """

    def __init__(
        self,
        record: Record,
        directory: str | os.PathLike[str],
        *,
        sync: Literal["full", "normal"],
        max_pending: int,
        grace: float,
        clock: Clock,
    ) -> None:
        self._record, self._clock = record, clock
        self.hosts: Hosts | None = getattr(record, "hosts", None)
        self._max_pending = whole(f"{record.name}: the journal's max_pending", max_pending, 1)
        self._grace = number(f"{record.name}: the journal's grace", grace, 0.0, 86_400.0, " seconds")
        self._identity = ""
        with put_off():
            self._store = IntentStore(directory, record.name, sync)
            self.directory = self._store.directory
            self._start()
            register(self)

    def _start(self) -> None:
        self._lock = Lock()  # guards the taking of a writer's number
        self._ready = False
        self._ids = count(SystemRandom().randrange(2**62))
        self._tidying = Tidying(self._record, self._store, self._clock, self._max_pending, self._grace)

    # Around a commit of the record

    def begin(self, namespace: str, keys: Sequence[str]) -> list[int]:
        """Announce writes; durable when it returns. Raises `NotApplied`."""
        if not self._ready:
            self._get_ready()
        if self._tidying.full:
            message = (
                f"more than {self._max_pending} writes may still be made by the record; wait until it is well again"
            )
            raise NotApplied(message, tier=self._record.name, reason=Reason.BUSY)
        ids = [next(self._ids) for _ in keys]
        self._store.announce(namespace, list(zip(ids, keys, strict=True)))
        return ids

    def end(
        self, intents: Sequence[int], namespace: str, writes: Sequence[Write], commit: Commit, tiers: Sequence[str]
    ) -> None:
        """The record has answered."""
        waiting = self._store.waiting
        for intent, write, it in zip(intents, writes, commit.written, strict=True):
            if it.version:
                waiting.applied((namespace, write.key, it.version), Applied(intent, commit.generation, tiers))
            else:
                waiting.over([intent])

    def withdraw(self, intents: Sequence[int]) -> None:
        """Certainly nothing was written."""
        self._store.waiting.over(intents)

    def doubt(self, intents: Sequence[int]) -> None:
        """Nobody knows."""
        self._store.waiting.doubtful(intents)

    def cleared(self, namespace: str, generation: int) -> None:
        """The record has begun `generation`: nothing is lacking of those before."""
        with suppress(StoreError):  # marks that stay are replayed, which is harmless
            self._store.write(lambda db: tables.drop_cleared(db, namespace, generation), lazy=True)

    # The journal

    @property
    def identity(self) -> str:
        """Kept in the record itself, since other hosts use it with journals of their own."""
        if not self._identity:
            identity = self._identity_of_record()
            owner = self._store.write(lambda db: tables.bind(db, identity))
            if owner != identity:
                raise ConfigError(
                    f"{self._record.name}: {self.directory} is the journal of another store of record ({owner[:8]}…, this"
                    f" one is {identity[:8]}…); give this one another directory, or, if that store is gone, remove it"
                )
            self._identity = identity
        return self._identity

    def intents(self) -> list[tuple[str, str]]:
        mine = self._store.writers.number if self._ready else _NO_WRITER
        here = self._store.read(lambda db: tables.names(db.execute(_INTENTS, (mine,))))
        return here if self.hosts is None else [*here, *(it[:2] for it in self.hosts.notices())]

    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        self._catch_up()
        return self._store.read(lambda db: marks_of(db.execute(_PENDING, (tier, above, limit))))

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        self._catch_up()
        here = self._store.read(lambda db: {key for key in keys if first(db, _STILL, (*key, tier, *key))})
        return here if self.hosts is None else here | {it[:2] for it in self.hosts.notices(tier)}.intersection(keys)

    def confirm(self, marks: Sequence[Mark]) -> None:
        """The next commit carries these along."""
        self._store.waiting.confirmed(marks)

    def flush(self) -> None:
        """Write out what waits; now and then look after writers that died, and the limits."""
        self._store.write_out()
        self._tidying.run()
        self._follow_record()

    def absences(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        """The record first: whatever removed a key is confirmed, or still to be found here afterwards."""
        generation, frames = self._record.read_many(namespace, keys)
        missing = [key for key, frame in zip(keys, frames, strict=True) if frame is None]
        pending = self._store.read(lambda db: {key for key in missing if first(db, _ANY, (namespace, key) * 2)})
        held = zip(keys, frames, strict=True)
        return generation, [Absence(0, key in pending) if frame is None else frame for key, frame in held]

    def adopt(self, tier: str, identity: str) -> bool:
        """Three steps, each of which may be the last: marks for the tier from now on, a new generation, and only then belief."""
        _ = self.identity
        again = self._follow_record()
        if self.adopted(tier) == identity:
            return again
        self._believe(tier, identity)
        return True

    def _believe(self, tier: str, identity: str) -> None:
        """Again, if somebody gave the tier up meanwhile: marks of the new generation may lack."""
        believed = False
        while not believed:
            since = self._store.write(lambda db: tables.unbelieve(db, tier))
            self._record.bump()
            believed = self._store.write(lambda db, since=since: tables.believe(db, tier, identity, since))  # type: ignore[misc]  # bound now

    def adopted(self, tier: str) -> str | None:
        return None if self.hosts is not None and self.hosts.lost(tier) else self.believed(tier)

    def believed(self, tier: str) -> str | None:
        """What this host has adopted, whatever others have told."""
        return self._store.read(lambda db: tables.believed(db, tier))

    def replaying(self, tier: str) -> AbstractContextManager[bool]:
        return replaying(self.directory, tier)

    def close(self) -> None:
        """What still waits is written out, if it can be."""
        with suppress(StoreError):  # intents whose writer is gone are replayed, which is harmless
            self._store.write_out()
        self._store.close()
        forget(self)

    # Forks

    def before_fork(self) -> None:
        self._store.before_fork()

    def after_fork_in_parent(self) -> None:
        self._store.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        self._store.after_fork_in_child()
        self._start()

    # Private

    def _follow_record(self) -> bool:
        """Whether the record has other data than were believed in: now it has a new generation.

        One that came back with an old snapshot has forgotten writes, and clears, that caches still know of.
        """
        lineage: Callable[[], str] | None = getattr(self._record, "lineage", None)
        try:
            run = None if lineage is None else lineage()
        except StoreUnavailable:  # whoever reads the record is told
            return False
        known = self.adopted(tables.RECORD)
        if not run or run == known:
            return False
        if known is not None:
            logger.warning("%s: restarted or replaced, so caches start anew (new generation)", self._record.name)
        self._believe(tables.RECORD, run)
        return True

    def _catch_up(self) -> None:
        with suppress(StoreError):  # what cannot be written out is an intent still, and so not forgotten
            self._store.write_out()

    def _get_ready(self) -> None:
        """Raises `NotApplied`: whatever is in doubt here, the write that is to follow was not tried."""
        try:
            _ = self.identity
            with self._lock:  # once in a process, so it may take a while
                if not self._ready:
                    self._take_writer()
                    self._ready = True
        except (StoreUnavailable, Ambiguous) as error:
            message = f"nothing was written: {without_tier(error, error.tier)}"
            raise NotApplied(message, tier=error.tier, reason=error.reason) from error

    def _take_writer(self) -> None:
        writers = self._store.writers
        writer = writers.take() if writers.number < 0 else writers.number
        self._store.write(lambda db: tables.abandon_writer(db, writer), lazy=True)

    def _identity_of_record(self) -> str:
        """Written by whoever comes first."""
        seed, record = namespace_seed(OWN), self._record
        frame = record.read(OWN, "identity")[1]
        if frame is None:
            it = draft(seed, "identity", uuid.uuid4().hex.encode(), 0)
            written = record.commit(OWN, [Write("identity", it, expect=0)], now=self._clock.now()).written[0]
            frame = written.frame or record.read(OWN, "identity")[1] or b""
        try:
            return open_frame(frame, seed, "identity").payload.decode()
        except Corrupt as error:
            message = f"the store's id is damaged ({error}); restore a backup"
            raise StoreUnavailable(message, tier=record.name, reason=Reason.SERIALIZATION) from error
