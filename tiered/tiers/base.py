"""What a tier is: two small protocols, one for caches and one for the store of record.

A *cache tier* (`CacheTier`) keeps frames under (scope, key) and accepts a frame only if its version is higher than the
one it holds (put-if-newer). That rule alone makes late writes, replays and races between promotions harmless.
A *store of record* (`Record`) also assigns the versions, keeps the generation of each namespace, and enumerates.
The same class may be both: its place in the chain decides.

A tier never interprets a payload, never decides what is expired for a reader, and never retries: it moves bytes, and
raises `StoreError` and nothing else (reads `StoreUnavailable`; writes `NotApplied` or `Ambiguous`), with the tier's name and
a `Reason`. All methods may be called by many threads at the same time. Construction does no network I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from tiered.entry import Draft
from tiered.forks import Forking

if TYPE_CHECKING:
    from asyncio import Future

CLEARED_MARKS = 1000
"""So many pending marks a `clear` takes along; what more there are, are replayed: harmless, and no caller waits for it."""
RETENTION_MS = 60_000
"""How long a cache tier keeps a frame beyond its `keep_until`: an expired frame and a tombstone read as absent, but
their version still refuses what arrives late."""


NOTHING_HAS = -1
"""As a version that is expected: a write that changes nothing."""


class Given:
    """The version that a write is given, which another of this process may build on before it is known."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = NOTHING_HAS
        """Until the record gave it, and again if that came to nothing: so what builds on it changes nothing."""


class Write(NamedTuple):
    """One write of a commit; a tombstone draft deletes.

    `expect` is None for an unconditional write, 0 for "only if absent", else the version that must be there. An entry
    whose `expires_at` has passed counts as absent.
    """

    key: str
    draft: Draft
    expect: int | None = None
    after: Given | None = None
    """Whose version must be there, if `expect` is `NOTHING_HAS`. Like `given`, only for a record that `gives`."""
    given: Given | None = None
    """Where to tell the version of this write, if it has a condition."""


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
    """`MAX_VERSION`: of one that nobody knows."""
    generation: int
    place: int = 0
    """Where it is in the journal's order, if versions are not that order."""

    @property
    def at(self) -> int:
        return self.place or self.version


class Absence(NamedTuple):
    """The record has no entry for a key. `version` is the highest that was given when it said so (0: it cannot tell)."""

    version: int
    pending: bool = False
    """Whether a cache tier may not have confirmed the write that removed it."""


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
    """What every tier has. It is a `CacheTier`, a `Record`, or both: then its place in the chain decides."""

    name: str

    def probe(self) -> str:
        """Reach the server and return the identity of its data (it changes with a restart); raises `StoreError`."""

    def health(self) -> TierHealth:
        """Facts for operators. Never raises."""

    def close(self) -> None:
        """Release what this tier opened. Idempotent."""


@runtime_checkable
class CacheTier(Tier, Protocol):
    """A cache tier. `scope` is an opaque string (a namespace and its generation) that keeps keys apart.

    What it may lose it must lose under another identity, or not have acknowledged: an older frame must not come back.
    """

    def get(self, scope: str, key: str) -> bytes | None:
        """The frame under `key`, or None. Expired frames and tombstones are returned as they are."""

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        """The frames under `keys`, in order, in one round trip."""

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        """Store each frame if its version is higher than what is held, in one round trip; False where it was not newer.

        Bytes that are no frame count as version 0. A frame must vanish by itself `RETENTION_MS` after its
        `keep_until`, or at the tier's own limit, whichever is earlier.
        `since` (monotonic seconds) is when the frames were committed or read: a tier behind a network refuses what
        arrives much later, so that a late put cannot fill a slot that was emptied meanwhile (PROTOCOL R6). With `tell`
        a tier that can carries the versions to every subscriber, whether or not it stored them (R14).
        """

    def forget(self, scope: str) -> None:
        """Drop what is under `scope`, at leisure; a tier whose entries all expire may do nothing."""


Later = Callable[[Callable[[], None]], None]
"""Has what it is given, which raises nothing, done on a thread."""


class Awaited(Protocol):
    """What a cache tier may offer besides: to be asked by tasks without a thread."""

    def asked(self, scope: str, key: str, later: Later) -> Future[bytes | None] | None:
        """`get` for a task of the running loop, which must not be blocked. None: it has to be asked on a thread now.

        `later` is for what must be done on a thread before the tier can be asked here.
        """


@runtime_checkable
class Record(Tier, Protocol):
    """A store of record: the last tier of a chain, the truth.

    A class that cannot be one in some configuration says why in an attribute `no_record` ("" where it can). One that is far
    away may have `serve_unproven = True`: then reads are answered from above while it cannot be asked, unless told otherwise.
    One that commits several writes in more than one transaction has `one_by_one = True`: then those of several callers are
    not combined. One whose commits others of this process join, and to which a write may so come before the one that it
    builds on is durable, has `gives = True`: it tells a `Given`, and has later writes, of the same commit too, applied after it.
    One that can say the generations of many namespaces at once has `generation_many` (`generations_of`).
    """

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
        """Make every entry of `namespace` absent and return its new generation. O(1) for the caller.

        Pending marks of the generation before go with it, unless they are many: caches lack nothing of what nobody can read.
        """

    def bump(self) -> None:
        """Give every namespace a new generation, keeping its entries: what cache tiers hold becomes invisible."""


class BuiltIn(CacheTier, Record, Forking):
    """What this package's tiers are that have files or connections: to a type checker, a list of them is one of tiers."""


def generations_of(record: Record, namespaces: Sequence[str]) -> Sequence[int]:
    """The generation of each of `namespaces`, by one question if the record takes that: they are looked at all the time."""
    together: Callable[[Sequence[str]], Sequence[int]] | None = getattr(record, "generation_many", None)
    return [record.generation(name) for name in namespaces] if together is None else together(namespaces)


Stamp = Callable[[str, str, bytes, int], bytes]
"""(namespace, key, frame, version): a frame that was sealed under version 0, under its version."""


@runtime_checkable
class LateVersions(Protocol):
    """A record whose server tells the version of an entry only when it has it: it stores frames under version 0 and returns
    them under theirs, by `stamp`, which a chain sets to what knows how its frames are sealed."""

    stamp: Stamp


class Journal(Protocol):
    """What the record keeps about cache tiers, in the transactions of its entries: marks, and whom it has adopted.

    A cache tier is *adopted* with the identity of its data (a Redis server's run id). From then on every commit leaves
    a pending mark for it, whoever commits, until its marks are more than the journal's limit: then it is abandoned.
    """

    @property
    def identity(self) -> str:
        """Of this store of record: another one must not share its cache tiers' keys."""

    def intents(self) -> Collection[tuple[str, str]]:
        """The (namespace, key) of writes that others have announced and may still make, or have made; none where a write
        and its marks are one transaction. What becomes one of marks does so at their end: so ask for these first."""

    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        """Up to `limit` marks of `tier` whose `at` is higher than `above`, in its order, which is that of their becoming
        visible."""

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those (namespace, key) that have a mark of `tier`, or an intent."""

    def confirm(self, marks: Sequence[Mark]) -> None:
        """Clear `marks`, each only if the stored mark still has its version and generation, and the place if it is given.
        Lazy: no fsync of its own."""

    def flush(self) -> None:
        """Write out confirmations that are still waiting for a commit to ride on."""

    def absences(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        """The generation, and the frame or `Absence` of each key, from one consistent snapshot."""

    def adopt(self, tier: str, identity: str) -> bool:
        """Build on the data `identity` of `tier` from now on. If that is another than before, or the first, every
        namespace gets a new generation in the same transaction; whether it did."""

    def adopted(self, tier: str) -> str | None:
        """The identity that `tier` was adopted with; None if it never was, or was abandoned."""

    def replaying(self, tier: str) -> AbstractContextManager[bool]:
        """Try to become the one process that replays to `tier`; False if another is. Freed when the process dies."""


class Notice(NamedTuple):
    """A key that a cache tier may lack in its newest version, as other hosts were told. `number` is another each time."""

    namespace: str
    key: str
    number: int


class Hosts(Protocol):
    """What a store of record that several hosts share may offer besides, as its attribute `hosts`: a place for what the
    journal of one host cannot tell the others. Raises `StoreError`."""

    def tell(self, tier: str, namespace: str, keys: Sequence[str]) -> None:
        """`tier` may lack these. Every host that asks after this has returned is told."""

    def notices(self, tier: str | None = None) -> list[Notice]:
        """What is told now, of one cache tier or of all."""

    def lost(self, tier: str) -> bool:
        """Whether `tier` may lack more than can be told: then nothing in it may be believed before the next `bump`."""

    def settle(self, tier: str, notices: Sequence[Notice]) -> None:
        """`tier` has these now; those that were told again meanwhile stay."""


class Told(NamedTuple):
    """What came over a subscription: `kind` is "subscribed" or "told" (with keys and their versions), or "alive"."""

    kind: str
    namespace: str = ""
    versions: Sequence[tuple[str, int]] = ()


class Subscription(Protocol):
    """A connection on which a tier tells what was put there. For one thread; raises `StoreError`."""

    def add(self, namespace: str) -> None:
        """Subscribe to a namespace; "subscribed" tells when it holds."""

    def beat(self) -> None:
        """Send a heartbeat; "alive" comes after everything that was told before it."""

    def receive(self) -> list[Told]:
        """What has arrived, without waiting."""

    def close(self) -> None: ...


@runtime_checkable
class Telling(Protocol):
    """A cache tier that can tell its subscribers what was put."""

    def subscribe(self) -> Subscription: ...


@runtime_checkable
class Claimable(Protocol):
    """A cache tier that can keep whose a namespace is."""

    def claim(self, namespace: str, identity: str) -> str:
        """Claim `namespace` for the store of record `identity` if nobody has, or renew its claim; whose it is.

        A claim expires some time (at least five minutes) after it was last renewed.
        """

    def claim_key(self, namespace: str) -> str:
        """What an operator removes there to free it."""


@runtime_checkable
class Witness(Protocol):
    """A cache tier that can keep where a store of record was in its history: it forgets that itself when it is put back."""

    def note(self, line: str, place: str) -> str | None:
        """Keep `place` as the last one on `line`, for longer than what is put within the next half minute.

        Returns the one before, taken in the same step; None if there was none.
        """

    def noted(self, line: str) -> str | None:
        """The last place on `line`, whatever somebody has put there; None if there is none."""


@runtime_checkable
class Restorable(Protocol):
    """A store of record that may be put back to an older state behind everybody's back, as files may."""

    def history(self) -> tuple[str, str]:
        """The line of history that the store is on, and its place there."""

    def knows(self, place: str) -> bool:
        """Whether it has been at `place` and has lost nothing of before, or is on a later line; False for what is no place."""

    def start_anew(self, line: str) -> bool:
        """Unless it has left `line` by now: go on with versions and generations that no cache has seen, on another line.

        Whether it did. Nothing is owed any more, and no cache is adopted.
        """


class Leasing(Protocol):
    """Leases on keys, optional: a tier that gives them has one of these as its attribute `leases`.

    A lease says that its holder is loading the key. It saves others the work and proves nothing: whoever writes, writes
    on a condition. Raises `StoreError` and nothing else; `take` raises when it cannot tell.
    """

    expires: bool
    """Whether a lease ends `ttl` seconds after it was taken or extended; else it ends with the holder's process."""

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        """Whether `token` holds the lease of `key` now; False if another token does."""

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        """Let it last for `ttl` seconds from now; False if `token` does not hold it any more."""

    def release(self, namespace: str, key: str, token: str) -> None:
        """End it if `token` holds it; else change nothing."""


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
