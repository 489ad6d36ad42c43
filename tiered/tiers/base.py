"""What a tier is: two small protocols, one for caches and one for the store of record.

A *cache tier* (`Tier`) keeps frames under (scope, key) and accepts a frame only if its version is higher than the
one it holds (put-if-newer). That rule alone makes late writes, replays and races between promotions harmless.
A *store of record* (`Record`) also assigns the versions, keeps the generation of each namespace, and enumerates.
The same class may be both: its place in the chain decides.

A tier never interprets a payload, never decides what is expired for a reader, and never retries: it moves bytes, and
raises `StoreError` and nothing else (reads `StoreUnavailable`; writes `NotApplied` or `Ambiguous`), with the tier's name and
a `Reason`. All methods may be called by many threads at the same time. Construction does no network I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from tiered.entry import Draft

RETENTION_MS = 60_000
"""How long a cache tier keeps a frame beyond its `keep_until`: an expired frame and a tombstone read as absent, but
their version still refuses what arrives late."""


class Write(NamedTuple):
    """One write of a commit; a tombstone draft deletes.

    `expect` is None for an unconditional write, 0 for "only if absent", else the version that must be there. An entry
    whose `expires_at` has passed counts as absent.
    """

    key: str
    draft: Draft
    expect: int | None = None


class Written(NamedTuple):
    """What a commit did with one write. `version` 0: the condition did not hold and nothing was changed."""

    version: int
    frame: bytes
    """What the cache tiers are to be given: the sealed value or tombstone; empty when not applied."""
    existed: bool
    """Deletes and conditional writes: whether an unexpired entry was there before. Unconditional values: False."""


class Commit(NamedTuple):
    """What a commit did: the namespace's generation in the same transaction, and a `Written` per write, in order."""

    generation: int
    written: list[Written]


class Mark(NamedTuple):
    """A pending mark: `tier` has not confirmed this write yet."""

    tier: str
    namespace: str
    key: str
    version: int
    generation: int


class Page(NamedTuple):
    """A page of an enumeration; `cursor` None ends it."""

    items: list[tuple[str, bytes]]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class TierHealth:
    """What a tier knows about itself, cheaply: never a scan, never a count over all rows."""

    ok: bool
    detail: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Tier(Protocol):
    """A cache tier. `scope` is an opaque string (a namespace and its generation) that keeps keys apart."""

    name: str

    def get(self, scope: str, key: str) -> bytes | None:
        """The frame under `key`, or None. Expired frames and tombstones are returned as they are."""

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        """The frames under `keys`, in order, in one round trip."""

    def put(self, scope: str, key: str, frame: bytes) -> bool:
        """Store `frame` if its version is higher than what is held; False if it was refused as not newer.

        Bytes that are no frame count as version 0. The frame must vanish by itself `RETENTION_MS` after its
        `keep_until`, or at the tier's own limit, whichever is earlier.
        """

    def put_many(self, scope: str, items: Sequence[tuple[str, bytes]]) -> list[bool]:
        """`put` of each item, in one round trip."""

    def forget(self, scope: str) -> None:
        """Drop what is under `scope`, at leisure; a tier whose entries all expire may do nothing."""

    def probe(self) -> str:
        """Reach the server and return the identity of its data (it changes with a restart); raises `StoreError`."""

    def health(self) -> TierHealth:
        """Facts for operators. Never raises."""

    def close(self) -> None:
        """Release what this tier opened. Idempotent."""


@runtime_checkable
class Record(Tier, Protocol):
    """A store of record: the last tier of a chain, the truth."""

    max_key_bytes: int
    """Keys of at most this many UTF-8 bytes."""

    journal: Journal | None
    """Where pending marks are kept in the same transaction as the values; None if it has no such place."""

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        """The namespace's generation and the frame under `key`, from one consistent snapshot."""

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        """The generation and the frames under `keys`, in order, from one consistent snapshot."""

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        """Apply `writes` in one transaction, all or (raising) nothing; durable when it returns.

        Each applied write gets a version higher than every version this namespace gave before, deletes and evictions included;
        writes to one key apply in their order. For each applied write and each tier named in `marks`, a pending mark
        is stored in the same transaction (ignored without a journal). `now` (Unix ms) decides what has expired.
        """

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        """About `limit` entries whose keys start with `prefix`, after `cursor` (None starts), expired ones included."""

    def generation(self, namespace: str) -> int:
        """The namespace's generation; 1 if nothing was ever written to it."""

    def clear(self, namespace: str) -> int:
        """Make every entry of `namespace` absent and return its new generation. O(1) for the caller."""

    def bump(self) -> None:
        """Give every namespace a new generation, keeping its entries: what cache tiers hold becomes invisible."""


class Journal(Protocol):
    """Pending marks: which cache tier has not confirmed which write. Bounded by its owner."""

    def pending(self, tier: str, *, limit: int, after: tuple[str, str] | None = None) -> list[Mark]:
        """Up to `limit` marks of `tier` in (namespace, key) order, after that pair."""

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those (namespace, key) that have a mark of `tier`."""

    def confirm(self, marks: Sequence[Mark]) -> None:
        """Clear `marks`, each only if the stored mark still has its version and generation. Lazy: no fsync of its own."""

    def flush(self) -> None:
        """Write out confirmations that are still waiting for a commit to ride on."""


@runtime_checkable
class Enumerable(Protocol):
    """What a cache tier may offer besides: `verify` then also sees what only the tier has, and `repair` removes damage."""

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        """About `limit` entries under `scope` after `cursor` (None starts), as they are; no order, and twice is allowed."""

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        """Remove each key that still holds exactly these bytes; how many."""


@runtime_checkable
class Inventory(Protocol):
    """What a store of record may offer besides: `verify` then can do all namespaces, and tell how long it will take."""

    def namespaces(self) -> list[str]:
        """Every namespace that was ever written to."""

    def count(self, namespace: str) -> int | None:
        """About how many entries it has, if that can be told without reading them."""
