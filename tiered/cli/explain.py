"""`tiered get --explain`: what each tier has under a key, and which one answers. Never the value."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tiered.arguments import check_key
from tiered.cli.columns import Column, table
from tiered.cli.condition import chain_of, space_of
from tiered.cli.quantities import NONE, size, span
from tiered.entry import version_of
from tiered.errors import CodecError, StoreError, Unreadable, Untrusted
from tiered.results import Lookup

if TYPE_CHECKING:
    from tiered.backend import TieredBackend
    from tiered.replication.guard import Guard

_COLUMNS = (
    Column("tier", left=True),
    Column("has", left=True),
    Column("version"),
    Column("expires in"),
    Column("size", rank=1),
)


@dataclass(frozen=True, slots=True)
class Held:
    """What one tier has: a value, a tombstone, something expired or damaged, nothing; or it is unreachable."""

    tier: str
    has: str
    version: int = 0
    ttl: float | None = None
    """Seconds; None for ever, or where there is no value."""
    bytes: int | None = None
    notes: tuple[str, ...] = ()


class Explanation:
    """What the tiers hold now, looked at one by one, and then what a read finds, which may change that."""

    def __init__(self, store: TieredBackend, key: str) -> None:
        """Raises `InvalidKey`; whatever else fails is a part of the explanation."""
        self._chain, self._space, self.key = chain_of(store), space_of(store), key
        check_key(key, self._chain.max_key_bytes)
        self.generation: int | None = None
        self.error: StoreError | None = None
        self.held = self._below_memory()
        try:
            self.found = store.lookup(key)
        except StoreError as error:
            self.error, self.found = error, Lookup(False)

    def as_dict(self) -> dict[str, Any]:
        found = {name: value for name, value in self.found._asdict().items() if name not in ("value", "age")}
        where = {"namespace": self._space.name, "key": self.key, "generation": self.generation}
        tiers = [asdict(it) for it in self.held]
        return {**where, **found, "tiers": tiers, **({"error": str(self.error)} if self.error else {})}

    def lines(self, width: int) -> list[str]:
        """For people."""
        key = self.key if self.key.isprintable() else json.dumps(self.key)
        yes = f"found in {self.found.tier}, version {self.found.version}"
        no = f"absent, says {self.found.tier}" if self.found.tier else "no answer"
        told = f"{key} in namespace {self._space.name}: {yes if self.found.found else no}"
        rows = [[it.tier, it.has, str(it.version or NONE), _left(it), size(it.bytes)] for it in self.held]
        heading, *body = table(_COLUMNS, rows, width)
        lines = [*textwrap.wrap(told, width), heading]
        for it, line in zip(self.held, body, strict=True):
            lines.append(line)
            for note in it.notes:
                lines += textwrap.wrap(f"→ {note}", width, initial_indent="  ", subsequent_indent="    ")
        return lines

    # Private

    def _below_memory(self) -> list[Held]:
        chain, held = self._chain, list[Held]()
        if chain.has_memory and chain.memory is not chain.record:
            held.append(Held(chain.memory.name, "not known", notes=("each process has its own, and this one is new",)))
        record = self._of_record()
        held += [self._of_cache(guard, record) for guard in chain.guards]
        return [*held, record]

    def _of_record(self) -> Held:
        record = self._chain.record
        try:
            self.generation, frame = record.read(self._space.name, self.key)
        except StoreError as error:
            return Held(record.name, "no answer", notes=(str(error),))
        return self._opened(record.name, frame)

    def _of_cache(self, guard: Guard, record: Held) -> Held:
        if self.generation is None:
            return Held(guard.name, "not known", notes=("where to look is known to the store of record only",))
        try:
            identity = guard.tier.probe()
            held = self._opened(guard.name, guard.tier.get(f"{self._space.name}:{self.generation}", self.key))
            return replace(held, notes=(*held.notes, *self._doubts(guard.name, identity, held, record)))
        except StoreError as error:
            return Held(guard.name, "no answer", notes=(str(error),))

    def _opened(self, tier: str, frame: bytes | None) -> Held:
        if frame is None:
            return Held(tier, "nothing")
        now = self._chain.clock.now()
        try:
            entry = self._space.frames.open(frame, self.key)
            if not entry.absent(now):
                self._chain.decode(entry)
        except CodecError as error:
            has = "UNREADABLE" if isinstance(error, (Unreadable, Untrusted)) else "DAMAGED"
            return Held(tier, has, version_of(frame), None, len(frame), (str(error),))
        if entry.tombstone:
            return Held(tier, "a tombstone", entry.version, None, len(frame), ("says that the key was deleted",))
        ttl = (entry.expires_at - now) / 1000 if entry.expires_at else None
        return Held(tier, "expired" if entry.absent(now) else "a value", entry.version, ttl, len(frame))

    def _doubts(self, tier: str, identity: str, held: Held, record: Held) -> Iterator[str]:
        """Why what a cache tier holds is not read. Raises `StoreError` of the record."""
        journal = self._chain.record.journal
        if journal is not None and journal.adopted(tier) not in (None, identity):
            yield "it was restarted since this store last used it, so it starts empty"
        if journal is not None and journal.still_pending(tier, [(self._space.name, self.key)]):
            yield "a write is on its way to it (pending): it is not asked before that has arrived"
        if held.version and record.version and held.version != record.version:
            yield f"{'older' if held.version < record.version else 'NEWER'} than the store of record"


def _left(held: Held) -> str:
    if held.has == "a value" and held.ttl is None:
        return "never"
    return NONE if held.ttl is None or held.has == "expired" else span(held.ttl)
