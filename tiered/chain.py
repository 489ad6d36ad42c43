"""What all namespaces of a backend share: the tiers with their guards, the codec, the clocks, the options."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from sys import getsizeof
from threading import Lock
from typing import TYPE_CHECKING, Any

from tiered.clock import Clock
from tiered.codecs import NAMES
from tiered.codecs.base import Codec, flat, immutable
from tiered.codecs.frames import Frames
from tiered.codecs.rules import PLAIN, Rules
from tiered.entry import Entry
from tiered.errors import (
    Ambiguous,
    CodecError,
    ConfigError,
    Corrupt,
    Reason,
    StoreError,
    StoreUnavailable,
    TieredError,
    Unreadable,
)
from tiered.forks import Forking, register
from tiered.observability.last_write import LastWrite
from tiered.observability.observed import OBSERVED
from tiered.observability.stats import RECORD_OPS, CoherenceStats, MemoryStats, StoreStats, TierStats
from tiered.replication.guard import Guard
from tiered.replication.inflight import InFlightTable
from tiered.replication.order import ReadOrder
from tiered.replication.places import Places
from tiered.replication.trust import Trust
from tiered.tiers.base import CacheTier, Hosts, Inventory, LateVersions, Mark, Record, Tier
from tiered.tiers.memory import MemoryTier
from tiered.tiers.partitions import size_of
from tiered.turns import Turns

if TYPE_CHECKING:
    from tiered.replication.singleflight import Load

logger = logging.getLogger(__name__)

FLAT_ITEM = 105
"""Bytes that a key and a value of a dict take beyond their contents, at most."""
RECORD_CALLS = 64
TOO_PATIENT = 10
"""A timeout of a cache tier beyond so many deadlines was hardly meant."""
NO_JOURNAL = (
    "if a process dies between a write and a cache tier, that tier may serve the value before it until it expires; give"
    " journal=, a directory on this host's disk"
)
NO_MARKS = (
    'read_order="measured" and feed="journal" build on pending marks, and this store of record keeps none; give journal=, a'
    " directory on this host's disk"
)
FED_ALONE = (
    "feed='journal' is not for a store of record that several hosts share: those do not see this host's journal, and would"
    " read old values from a cache until it is fed; leave it out"
)
INFINITE = math.inf
GRAIN = 0.01
"""Seconds, a hundredth of the staleness bound at most, that an entry in memory may be served for less than it might be, so that it has
its deadline in common with others: a float of its own is one more thing for each hit to fetch, a sixth of it among 10,000 keys."""


class Space:
    """One namespace of a chain in this process: its part of memory, what is under way, its generation."""

    def __init__(self, name: str, memory: MemoryTier, rules: Rules) -> None:
        self.name = name
        self.frames = Frames(name, rules)
        with memory.lock:
            self.part = memory.partition(name)
        self.flights = InFlightTable()
        self.loads: dict[str, Load] = {}
        self.turns = Turns()
        self.stats = StoreStats()
        self.generation = 0
        """The newest generation seen; 0 before the record was asked."""
        self.scope = ""
        """Namespace and generation: where cache tiers keep the entries."""
        self.ready = False
        """Whether the keeper has entered it: before that nothing below memory may be asked."""
        self.subscribed = False
        """Whether every message about it is heard."""

    def forget_parent(self) -> None:
        """In a child after a fork."""
        self.flights.renew()
        self.loads.clear()
        self.turns = Turns()
        self.stats.reset()
        self.generation, self.scope, self.ready, self.subscribed = 0, "", False, False

    def enter(self, generation: int) -> None:
        """From here on `generation` holds. With the memory's lock."""
        self.generation, self.scope = generation, f"{self.name}:{generation}"


class Chain(Forking):
    """Memory, guarded cache tiers and the store of record, fastest first."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        codec: Codec,
        rules: Rules = PLAIN,
        shared: bool,
        staleness: float,
        deadline: float,
        clock: Clock,
        journal: str | os.PathLike[str] | None = None,
        max_key_bytes: int = 1024,
        serve_unproven: bool | None = None,
        measured: bool = False,
        fed: bool = False,
        name: str = "default",
        metric_namespaces: int = 50,
    ) -> None:
        self.codec, self.rules, self.clock, self.deadline = codec, rules, clock, deadline
        self.memory, self.guards, self.record = _arrange(tiers, clock)
        _check_patience(self.guards, deadline)
        if isinstance(self.record, LateVersions):
            frames_of = lru_cache(maxsize=1024)(partial(Frames, rules=rules))  # not its `Space`: that is of one in use
            self.record.stamp = lambda name, key, frame, version: frames_of(name).stamp(key, frame, version)
        self.metric_namespaces = metric_namespaces
        self.fed = fed and bool(self.guards)
        self.record = self._with_marks(journal, needed=measured or fed)
        own = bool(getattr(self.record, "serve_unproven", False))
        self.serve_unproven = own if serve_unproven is None else serve_unproven
        """Whether reads are answered from above while the record cannot be asked."""
        self.has_memory = any(tier is self.memory for tier in tiers)
        self.shared = shared and not isinstance(self.record, MemoryTier)
        self.order = ReadOrder(self.guards, self.record, measured=measured)
        self.trust = Trust(staleness if self.shared else math.inf)
        self.record_calls = Places(RECORD_CALLS)
        """So many reads may fall through cache tiers to the record at once; those that ask none of them do not count."""
        self.marks = [guard.name for guard in self.guards]
        self.record_stats = TierStats.of(RECORD_OPS)
        self.memory_stats, self.coherence_stats = MemoryStats(), CoherenceStats()
        self.last_write = LastWrite(self.record.name, self.record_stats, clock)
        self.closed = False
        self.max_key_bytes = min(self.record.max_key_bytes, max_key_bytes)
        self._grain, self._last_until = min(GRAIN, self.trust.staleness / 100), 0.0
        self._decode_trusted: Callable[[bytes], Any] = getattr(codec, "decode_trusted", codec.decode)
        self._spaces: dict[str, Space] = {}
        self._spaces_lock = Lock()  # guards the table of namespaces
        register(self)
        OBSERVED.add(self, name)

    def space(self, name: str) -> Space:
        """The namespace `name`; the same object for everyone in this chain."""
        with self._spaces_lock:
            found = self._spaces.get(name)
            if found is None:
                found = self._spaces[name] = Space(name, self.memory, self.rules)
            return found

    def spaces(self) -> list[Space]:
        """The namespaces used so far, in the order of their first use; none is ever forgotten."""
        with self._spaces_lock:
            return list(self._spaces.values())

    def after_fork_in_child(self) -> None:
        """Memory is empty, the counters stand at zero, and nothing that the parent had proven is believed."""
        self._spaces_lock, self.record_calls = Lock(), Places(RECORD_CALLS)
        if self.memory is self.record:
            self.memory.lock = Lock()  # its entries are nowhere else
        else:
            self.memory.forget_all()
        self.trust.forget()
        self.order.forget()
        self.last_write.forget()
        for stats in (self.record_stats, self.memory_stats, self.coherence_stats):
            stats.reset()
        for guard in self.guards:
            guard.forget_parent()
        for space in self.spaces():
            space.forget_parent()

    def check_open(self) -> None:
        if self.closed:
            raise TieredError("this backend is closed; build a new one")

    def namespaces(self) -> list[str]:
        """All that the record knows, in their order; raises `ConfigError` if it cannot list them."""
        if not isinstance(self.record, Inventory):
            raise ConfigError(f"{self.record.name}: this store of record cannot list its namespaces; name one")
        return sorted(self.record.namespaces())

    def unusable(self, error: CodecError, kind: type[StoreError] = StoreUnavailable) -> StoreError:
        """What is told, and counted, of an entry of the record that does not open; damage there is never a miss."""
        if isinstance(error, Unreadable):
            self.record_stats.unanswered += 1
            message = f"the stored entry cannot be read here: {error}"
        else:
            self.record_stats.corrupt += 1
            message = f"the stored entry cannot be used: {error}"
        if isinstance(error, Corrupt):
            message = f"the stored entry is damaged ({error}); set or delete the key, or restore a backup"
        return kind(message, tier=self.record.name, reason=Reason.SERIALIZATION)

    def learn(self, space: Space, generation: int) -> None:
        """The record says `generation` (R8); a new one makes what memory holds untrustworthy (R4)."""
        if generation > space.generation:
            with self.memory.lock:
                if space.generation:
                    self.memory.empty(space.part)
                    space.flights.renew()
                space.enter(max(generation, space.generation))

    def decode(self, entry: Entry) -> Any:
        """The value of `entry`; raises `CodecError`."""
        if entry.codec != self.codec.id:
            raise self.foreign(entry.codec)
        return self.codec.decode(entry.payload)

    def foreign(self, codec: int) -> Unreadable:
        """What is told of an entry that another codec than this store's has written."""
        name = NAMES.get(codec)
        how = f"codec={name!r}" if name else "the writer's codec"
        told = f"written by the codec {name or codec}, and this store has {self.codec.name}"
        return Unreadable(f"{told}; delete nothing, read it with {how}")

    def slot(
        self, key: str, value: Any, payload: bytes, version: int, expires_at: int, since: float, until: float
    ) -> tuple[Any, ...]:
        """The memory slot of `value`, which nobody else has, read or written since `since`, and may be served `until` then.

        Laid out as `tiered.tiers.partitions.Slot`.
        """
        ends = INFINITE
        if expires_at:
            ends = self.clock.monotonic() + (expires_at - self.clock.now()) / 1000
        until = self._deadline(until, ends)
        kind = type(value)
        if kind is str or kind is bytes:
            return (value, until, None, version, expires_at, since, ends, getsizeof(value) + len(key) + 49)
        if immutable(value):
            return (value, until, None, version, expires_at, since, ends, size_of(value) + len(key) + 49)
        if kind is dict and flat(value):
            size = getsizeof(value) + len(payload) + FLAT_ITEM * len(value) + len(key) + 49
            return (value, until, dict.copy, version, expires_at, since, ends, size)
        size = len(payload) + len(key) + 82
        return (payload, until, self._decode_trusted, version, expires_at, since, ends, size)

    def prolong(self, space: Space, key: str, slot: tuple[Any, ...]) -> bool:
        """Serve a slot for longer whose time is over, if the messages and looks since prove that it is new enough."""
        until = self.trust.memory_until(slot[5])
        if not space.subscribed or min(until, slot[6]) <= self.clock.monotonic():
            return False
        with self.memory.lock:
            if space.part.slots.get(key) is not slot:
                return False
            space.part.slots[key] = (slot[0], self._deadline(until, slot[6]), *slot[2:])
        return True

    def _deadline(self, until: float, ends: float) -> float:
        """The earlier of the two, as an object that others have, too: `ends`, or the last `until`, if that is hardly earlier."""
        if until >= ends:
            return ends
        last = self._last_until
        if last <= until < last + self._grain:
            return last
        self._last_until = until
        return until

    def tell_hosts(self, guard: Guard, space: Space, keys: Sequence[str]) -> None:
        """`guard` did not take these: processes on other hosts must hear of it before the write is acknowledged (R7, R13).

        Raises `Ambiguous`: written, but a promise could not be kept. A record without a journal promises nothing there.
        """
        hosts: Hosts | None = getattr(self.record, "hosts", None)
        if hosts is None or self.record.journal is None:
            return
        try:
            hosts.tell(guard.name, space.name, keys)
        except StoreError as error:
            message = f"written, but other hosts could not be told that {guard.name} lacks it: {error}"
            raise Ambiguous(message, tier=error.tier, reason=error.reason) from error

    def confirm(self, guard: Guard, space: Space, generation: int, items: Sequence[tuple[str, int]]) -> None:
        """`guard` holds these (key, version) or newer: clear their pending marks."""
        if self.record.journal is not None:
            marks = [Mark(guard.name, space.name, key, version, generation) for key, version in items]
            self.record.journal.confirm(marks)

    def _with_marks(self, journal: str | os.PathLike[str] | None, *, needed: bool) -> Record:
        """The record, with a journal of its own or beside it; without one only where no option builds on it."""
        record = self.record
        if needed and self.guards and journal is None and record.journal is None:
            raise ConfigError(f"{record.name}: {NO_MARKS}")
        if self.fed and getattr(record, "hosts", None) is not None:
            raise ConfigError(f"{record.name}: {FED_ALONE}")
        if journal is not None:
            from tiered.tiers.journaled import with_journal

            return with_journal(record, journal, [guard.tier for guard in self.guards], self.clock)
        if self.guards and record.journal is None:
            logger.warning("%s has no journal: " + NO_JOURNAL, record.name)
        return record


def _why_none(tier: object, what: type) -> str:
    """What keeps this from being one of the protocol `what`."""
    if isinstance(tier, (str, type)):
        return "give an instance of one; TieredBackend.from_url takes URLs"
    members = [name for base in what.__mro__[:-3] for name in [*base.__annotations__, *vars(base)] if name[0] != "_"]
    lacking = [name for name in members if not hasattr(tier, name)]
    # Since Python 3.12 isinstance does not ask __getattr__ for the members of a protocol.
    why = f"it has no {', '.join(lacking)}" if lacking else "what its __getattr__ gives does not count"
    return f"{why} (docs/writing-a-tier.md)"


def _check_patience(guards: Sequence[Guard], deadline: float) -> None:
    """Warn of a cache tier for which callers may wait many times as long as they should: most likely, milliseconds were meant."""
    for guard in guards:
        if (patience := getattr(guard.tier, "patience", 0.0)) > TOO_PATIENT * deadline:
            told = "%s: a call may wait %g s for it, and should ask no cache tier after the deadline of %g s; timeout=100ms is a tenth of a second"
            logger.warning(told, guard.name, patience, deadline)


def _arrange(tiers: Sequence[Tier], clock: Clock) -> tuple[MemoryTier, list[Guard], Record]:
    if not isinstance(tiers, Sequence) or isinstance(tiers, (str, bytes)) or not tiers:
        raise ConfigError("a chain is a list of at least one tier, such as [MemoryTier(), FileTier(directory)]")
    for tier in tiers:
        if not isinstance(tier, Tier) or isinstance(tier, type):
            raise ConfigError(f"{tier!r:.60} is no tier: {_why_none(tier, Tier)}")
    names = [tier.name for tier in tiers]
    if len(set(names)) != len(names):
        raise ConfigError(f"tier names must differ: {', '.join(names)}; give one of them name=…")
    if any(isinstance(tier, MemoryTier) for tier in tiers[1:]):
        raise ConfigError("memory must be the first tier, and there can be only one")
    first, record = tiers[0], tiers[-1]
    if not isinstance(record, Record):
        raise ConfigError(f"{record.name}: the last tier must be a store of record (it lacks commit, read, scan …)")
    if why := getattr(record, "no_record", ""):
        raise ConfigError(f"{record.name}: {why}")
    memory = first if isinstance(first, MemoryTier) else MemoryTier(max_entries=0, clock=clock)
    return memory, [Guard(_cache(tier), clock=clock) for tier in tiers[:-1] if tier is not memory], record


def _cache(tier: Tier) -> CacheTier:
    if isinstance(tier, CacheTier):
        return tier
    raise ConfigError(f"{tier.name}: this is no cache tier: {_why_none(tier, CacheTier)}")
