"""`TieredBackend`: the store as its users see it. One object is one namespace of a chain of tiers."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from tiered.arguments import (
    KEEP,
    Ttl,
    _Keep,
    check_key,
    check_keys,
    check_namespace,
    check_prefix,
    tier_name,
)
from tiered.chain import Chain
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.codecs import codec_for
from tiered.codecs.base import MAX_DEPTH, Codec, needs_authentication
from tiered.codecs.keys import Keyring, Source, keyring_of
from tiered.codecs.rules import rules
from tiered.drafting import Drafter
from tiered.errors import ConfigError, InvalidValue, NotApplied, StoreError, StoreUnavailable, without_tier
from tiered.found import Found, Said, Unproven
from tiered.loading import Loading, Loads
from tiered.observability.observed import OBSERVED
from tiered.options import check
from tiered.reading import Reader
from tiered.replication.coherence import Coherence
from tiered.replication.feeder import Feeder
from tiered.replication.keeper import Keeper
from tiered.results import Lookup, WriteOutcome
from tiered.steps import drive
from tiered.terms import Job, terms_of
from tiered.tiers.base import Tier, Write, Written
from tiered.updating import Updates
from tiered.writing import Result, Writer

if TYPE_CHECKING:
    from tiered.rekeying import RekeyReport
    from tiered.verification.progress import OnProgress
    from tiered.verification.report import Report

PAGE = 500
_ABSENT: Any = object()
_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class TieredBackend:
    """A key-value store over a chain of tiers, fastest first; the last tier is the store of record.

    Thread-safe. Reads raise `StoreUnavailable` only when the store of record cannot answer; writes raise `NotApplied` or
    `Ambiguous`, and those that read first (`update`, `touch`, `increment`) `StoreUnavailable`, too. Cache tiers that fail
    never raise: they are skipped and repaired. `staleness` (seconds) bounds how long this process may serve from memory what
    another process has changed; `shared=False` says there is no other. `deadline` (seconds) bounds the time that a call
    spends on cache tiers. `get_or_set` waits at most `load_patience` seconds for another's loader; a process that dies while
    it loads keeps others away for at most `lease_ttl` seconds.
    `journal` is a directory on a local disk, the same for all processes of a host, for a store of record that keeps no
    pending marks itself, such as Redis: what its caches lack then outlives the process that wrote it (docs/journal.md).
    With `serve_unproven`, reads go on above a store of record that cannot be asked, and `lookup` says so; None leaves it to the
    record (Couchbase: yes, others: no).
    `read_order="measured"` asks the store of record before cache tiers that measure slower, and `feed="journal"` gives
    cache tiers what was written after the call has returned; both keep every promise (docs/order.md).
    `name` (by default the namespace) is what metrics call this store, and `metric_namespaces` is how many of its namespaces
    have series of their own; `trace=True` makes OpenTelemetry spans of what tiers are asked (docs/metrics.md).

    `keys` ("env:NAME", "file:PATH", a mapping, a callable) encrypt what is stored, or with `protect="sign"` sign it; other
    frames are then refused, or with `migrate` still read (docs/security.md). Payloads of more than `compress_above` bytes
    are compressed. `max_key_bytes`, `max_value_bytes` and `max_depth` (of the codecs that have a name) are limits for
    writing and reading.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        namespace: str = "default",
        codec: str | Codec | None = None,
        deadline: float = 1.0,
        staleness: float = 1.5,
        shared: bool = True,
        max_value_bytes: int = 20 * 2**20,
        lease_ttl: float = 10.0,
        load_patience: float = 30.0,
        journal: str | os.PathLike[str] | None = None,
        read_order: Literal["declared", "measured"] = "declared",
        feed: Literal["write", "journal"] = "write",
        name: str | None = None,
        trace: bool = False,
        metric_namespaces: int = 50,
        serve_unproven: bool | None = None,
        keys: Keyring | Source | None = None,
        protect: str | None = None,
        migrate: bool = False,
        compress_above: int | None = None,
        max_key_bytes: int = 1024,
        max_depth: int = MAX_DEPTH,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        check(  # all that can be refused before a journal is opened
            {
                "namespace": namespace,
                "deadline": deadline,
                "staleness": staleness,
                "max_value_bytes": max_value_bytes,
                "lease_ttl": lease_ttl,
                "load_patience": load_patience,
                "read_order": read_order,
                "feed": feed,
                "max_key_bytes": max_key_bytes,
                "metric_namespaces": metric_namespaces,
            }
        )
        if trace:
            from tiered.observability.tracing import traced

            tiers = [traced(tier) for tier in tiers]
        codec = codec_for(codec, max_depth)
        chain = Chain(
            tiers,
            codec=codec,
            rules=rules(
                compress_above=compress_above,
                max_size=max_value_bytes,
                keys=None if keys is None else keyring_of(keys),
                protect=protect,
                migrate=migrate,
                authentic=needs_authentication(codec),
            ),
            max_key_bytes=min(max_key_bytes, 1024),
            shared=shared,
            staleness=staleness,
            deadline=deadline,
            journal=journal,
            measured=read_order == "measured",
            fed=feed == "journal",
            name=namespace if name is None else tier_name(name),
            metric_namespaces=metric_namespaces,
            serve_unproven=serve_unproven,
            clock=clock,
        )
        self._tiers = [*tiers[:-1], chain.record]
        self._keeper, self._coherence = Keeper(chain), Coherence(chain)
        self._feeder = Feeder(chain) if chain.fed else None
        self._loading = Loading(chain, shared=shared, lease_ttl=lease_ttl, patience=load_patience)
        self._bind(chain, namespace)

    def _bind(self, chain: Chain, namespace: str) -> None:
        self._chain, self._space = chain, chain.space(namespace)
        self._reader, self._writer = Reader(chain), Writer(chain, self._feeder)
        self._drafter = Drafter(chain, self._space)
        draft = self._drafter.one
        self._loads = Loads(self._loading, self._space, self._reader, draft, self._write)
        self._updates = Updates(chain, self._space, self._ready, draft, partial(self._write, op="update"))
        self._stats = self._space.stats
        self._gets = self._stats.operations["get"]
        # The hot path's own references: the slots of memory and the buffer that notes accesses.
        self._held, self._touched = self._space.part.slots.get, self._space.part.touched.append
        self._monotonic = monotonic if chain.clock is SYSTEM_CLOCK else chain.clock.monotonic

    @classmethod
    def from_url(cls, url: str, **options: Any) -> TieredBackend:
        """A backend from tier URLs, separated by commas: "memory://,redis://localhost:6379/0,file:///var/lib/bot"."""
        from tiered.config import tiers_and_options

        return cls._over(*tiers_and_options(url, options))

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any] | None = None, **options: Any) -> TieredBackend:
        """A backend from a TOML file or a mapping, overlaid by TIERED_* environment variables and `options`."""
        from tiered.config import tiers_from_settings

        return cls._over(*tiers_from_settings(source, options))

    @classmethod
    def _over(cls, tiers: list[Tier], settings: Mapping[str, Any]) -> TieredBackend:
        try:
            return cls(tiers, **settings)
        except BaseException:
            for tier in tiers:
                tier.close()
            raise

    # Reading

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` if it is absent."""
        try:
            slot = self._held(key)
        except TypeError:  # an unhashable key, which _find refuses properly
            slot = None
        if slot is not None and slot[1] > self._monotonic():
            self._stats.memory_hits += 1
            self._touched(key)
        else:
            slot = self._find(key, slot)[0]
            if slot is None:
                return default
        decode = slot[2]
        return slot[0] if decode is None else decode(slot[0])

    def lookup(self, key: str) -> Lookup:
        """What `get` would find, and where: tier, version, expiry, age."""
        now = self._monotonic()
        return self._shown(self._in_memory(key, now) or self._below(key), now)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those `keys` that are there, in their order; one round trip per tier."""
        wanted, values, below = self._from_memory(keys)
        if below:
            with self._stats.operation("get_many", keys=len(below)):
                self._ready()
                found = self._reader.read_many(self._space, below)
            self._add(values, found)
        return {key: values[key] for key in wanted if key in values}

    def ttl(self, key: str) -> float | None:
        """Seconds until `key` expires, math.inf if it never does, None if it is absent."""
        return self._ttl(self.lookup(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.lookup(key).found

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    # Writing

    def set(self, key: str, value: Any, ttl: Ttl = None) -> WriteOutcome:
        """Store `value` under `key`, durably in the store of record and in every tier that can be reached."""
        outcome: WriteOutcome = self._write(self._drafter.one(key, value, ttl), value)[1]
        return outcome

    def add(self, key: str, value: Any, ttl: Ttl = None) -> WriteOutcome | None:
        """`set` only if `key` is absent; None if it is there."""
        written, outcome = self._write(self._drafter.one(key, value, ttl, expect=0), value, op="add")
        return outcome if written.version else None

    def delete(self, key: str) -> bool:
        """Remove `key` everywhere; whether it was there."""
        return self.delete_many((key,))[key]

    def set_many(self, values: Mapping[str, Any], ttl: Ttl = None) -> dict[str, WriteOutcome]:
        """`set` of each, in one commit and one round trip per tier: all of them, or (raising) none."""
        if not hasattr(values, "items"):
            raise InvalidValue(f"set_many takes a mapping of keys to values, not a {type(values).__name__}")
        writes = self._drafter.several(values.items(), ttl)
        results = self._counted("set_many", writes, list(values.values()))
        count = len(writes)
        self._stats.sets += count
        return {key: outcome for key, (_, outcome) in zip(values, results, strict=True) if outcome}

    def delete_many(self, keys: Iterable[str]) -> dict[str, bool]:
        """`delete` of each, in one commit; whether each was there."""
        writes = self._drafter.tombstones(keys)
        results = self._counted("delete", writes, [None] * len(writes))
        count = len(writes)
        self._stats.deletes += count
        return {write.key: written.existed for write, (written, _) in zip(writes, results, strict=True)}

    def touch(self, key: str, ttl: Ttl) -> bool:
        """Give `key` a new time to live (None: for ever); False if it is absent."""
        return drive(self._updates.touch(key, ttl))

    def update(self, key: str, fn: Callable[[Any], Any], default: Any = None, ttl: Ttl | _Keep = KEEP) -> Any:
        """Replace the value of `key` (`default` if absent) by `fn` of it, atomically; returns the new value.

        `fn` gets a copy of its own and may be called again when another writer came first, so it must not have side
        effects. By default the expiry stays as it is. Raises what `fn` raises, with nothing written.
        """
        return drive(self._updates.update(key, fn, default, ttl))

    def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the integer under `key` (0 if absent), atomically; returns the sum. Keeps the expiry."""
        return drive(self._updates.increment(key, by))

    def get_or_set(
        self,
        key: str,
        loader: Callable[[], Any],
        ttl: Ttl = None,
        *,
        stale_ttl: Ttl = None,
        refresh_ahead: Ttl = None,
    ) -> Any:
        """The value of `key`; if it is absent, that of `loader()`, stored with `ttl`: one loader at a time in all processes.

        With `stale_ttl`, a value that expired no longer ago is served when the loader fails, and while another caller is
        loading. With `refresh_ahead`, a hit with no more than that left to live is served as it is, and loaded again in the
        background. Nothing overwrites a value that was set, or restores one that was deleted, while the loader ran.
        Raises what the loader raises, and `RecursiveLoad` if it needs its own key. docs/loading.md has the details.
        """
        job = Job(loader, *terms_of(ttl, stale_ttl, refresh_ahead))
        if not job.ahead:
            value = self.get(key, _ABSENT)
            return drive(self._loads.load(key, job)) if value is _ABSENT else value
        return drive(self._loads.obtain(key, job, self.lookup))

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    # Enumerating, namespaces

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, from the store of record, in pages."""
        return (key for key, _ in self._entries(check_prefix(prefix)))

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """The keys that start with `prefix` and their values, from the store of record, in pages."""
        return ((key, self._chain.decode(entry)) for key, entry in self._entries(check_prefix(prefix)))

    def namespace(self, name: str) -> TieredBackend:
        """Another namespace of the same chain. Closing either closes both."""
        return self._view(check_namespace(name))

    def clear(self) -> None:
        """Remove every key of this namespace, and of no other."""
        self._ready(write=True)
        old = self._space.scope
        try:
            self._chain.learn(self._space, self._chain.record.clear(self._space.name))
        except NotApplied:
            raise
        except BaseException:  # Ambiguous, or a signal's exception: what memory holds may be gone from the record
            self._forget_all()
            raise
        self._forget_all()
        self._chain.record_stats.bumps["clear"] += 1
        for guard in self._chain.guards:
            if guard.breaker.closed:
                guard.forget(old)

    # Operating

    def stats(self) -> dict[str, Any]:
        """Counters of this namespace and of each tier."""
        chain = self._chain
        return {
            "namespace": {"name": self._space.name, **self._stats.as_dict()},
            "memory": dict(chain.memory.health().facts),
            "tiers": {
                **{guard.name: guard.stats.as_dict() for guard in chain.guards},
                chain.record.name: chain.record_stats.as_dict(),
            },
        }

    def health(self) -> dict[str, Any]:
        """Per tier: whether it is well, its breaker, how many keys it is owed. Never raises, never scans."""
        report: dict[str, Any] = {}
        for tier in self._tiers:
            state = tier.health()
            report[tier.name] = {"ok": state.ok, "detail": state.detail, **state.facts}
        for guard in self._chain.guards:
            report[guard.name] |= {"breaker": str(guard.breaker.state), "owed": len(guard.owed)}
            if guard.refused:
                report[guard.name] |= {"ok": False, "detail": guard.refused}
        return report

    def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the store of record to `path` while it is in use."""
        backup = getattr(self._chain.record, "backup", None)
        if backup is None:
            raise ConfigError(f"{self._chain.record.name}: this store of record has a backup procedure of its own")
        backup(path)

    def verify(
        self, *, all_namespaces: bool = False, examples: int = 10, on_progress: OnProgress | None = None
    ) -> Report:
        """Compare this process's memory and every cache tier with the store of record, key by key; changes nothing.

        In pages, while the store is in use. Up to `examples` keys of each kind of fault are named. Raises
        `StoreUnavailable` if the record cannot be read; a cache tier that cannot be is in the report.
        """
        from tiered.verification import work

        self._chain.check_open()
        names = work.namespaces(self._chain, self._space.name, every=all_namespaces)
        return work.verify(self._chain, names, examples=examples, on_progress=on_progress)

    def repair(
        self,
        *,
        dry_run: bool = True,
        all_namespaces: bool = False,
        examples: int = 10,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """`verify`, and with `dry_run=False` `replay` before it and make every tier agree with the record again.

        What cannot be mended in place is mended by one new generation: cache tiers then start empty, of all namespaces.
        Damage in the record itself is only reported.
        """
        from tiered.verification import work

        self._chain.check_open() if dry_run else self._ready()
        names = work.namespaces(self._chain, self._space.name, every=all_namespaces)
        mender = work.Mender(self._chain, self._commit_in, dry_run=dry_run)
        replayed, failed = ({}, {}) if dry_run else self._replay()
        options: dict[str, Any] = {"examples": examples, "on_progress": on_progress}
        return work.repair(self._chain, names, mender, replayed=replayed, failed=failed, **options)

    def replay(self) -> dict[str, int]:
        """Put now what cache tiers are owed and what is pending for them, of every namespace; how many keys, per tier.

        The background thread does the same by itself. Raises the `StoreError` of a tier that cannot be reached, after
        the others have got theirs.
        """
        self._ready()
        replayed, failed = self._replay()
        for error in failed.values():
            raise error
        return replayed

    def rekey(self, *, all_namespaces: bool = False, on_progress: OnProgress | None = None) -> RekeyReport:
        """Write again what the store of record holds under another key than the current one, or not as `protect` says.

        While the store is in use; interrupted, the next run continues. Raises `ConfigError` without `keys`.
        """
        from tiered.rekeying import Rekeyer
        from tiered.verification import work

        self._ready(write=True)
        rekeyer = Rekeyer(self._chain, self._commit_in, on_progress)
        for name in work.namespaces(self._chain, self._space.name, every=all_namespaces):
            rekeyer.run(name)
        return rekeyer.report

    def close(self) -> None:
        """Stop the background thread and close every tier. Idempotent."""
        if not self._chain.closed:
            self._chain.closed = True
            OBSERVED.discard(self._chain)
            self._loading.close()
            self._coherence.stop()
            if self._feeder is not None:
                self._feeder.stop()
            self._keeper.stop()
            for tier in self._tiers:
                tier.close()
            with self._chain.memory.lock:
                for space in self._chain.spaces():
                    self._chain.memory.empty(space.part)
                    space.flights.renew()  # a read that is still under way must not fill what nobody empties again

    def __enter__(self) -> TieredBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        chain = " → ".join(tier.name for tier in self._tiers)
        return f"<TieredBackend {self._space.name!r}: {chain}{', closed' if self._chain.closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a TieredBackend cannot be sent to another process; build one there (a forked child may use this)"
        )

    # Private, in the order of use

    def _forget_all(self) -> None:
        """Empty this namespace's memory, also of what is on its way there."""
        with self._chain.memory.lock:
            self._chain.memory.empty(self._space.part)
            self._space.flights.renew()

    def _replay(self) -> tuple[dict[str, int], dict[str, StoreError]]:
        replayed, failed = dict[str, int](), dict[str, StoreError]()
        for guard in self._chain.guards:
            try:
                replayed[guard.name] = self._keeper.replay(guard)
            except StoreError as error:
                failed[guard.name] = error
        return replayed, failed

    def _commit_in(self, namespace: str, writes: Sequence[Write]) -> list[Result]:
        """For writes whose values nobody has at hand."""
        space = self._chain.space(namespace)
        if not space.ready:
            self._keeper.enter(space)
        return self._writer.write(space, writes, None)

    def _view(self, namespace: str) -> TieredBackend:
        """Another object over the same chain."""
        view = object.__new__(TieredBackend)
        view._tiers, view._feeder = self._tiers, self._feeder
        view._keeper, view._coherence, view._loading = self._keeper, self._coherence, self._loading
        view._bind(self._chain, namespace)
        return view

    def _read_together(self, keys: Collection[str], said: Mapping[str, Said]) -> dict[str, Found | Exception]:
        """What `_find` finds of each key, or raises, for callers who wait at the same moment."""
        found, left, now = dict[str, Found | Exception](), list[str](), self._monotonic()
        for key in keys:
            slot = self._held(key)
            if slot is not None and slot[1] > now:  # one who waited shortly before has brought it
                found[key] = Found(slot, self._chain.memory.name, slot[3])
            else:
                left.append(key)
        if left:
            self._ready()
            found.update(self._reader.read_together(self._space, left, said))
        return found

    def _ready(self, *, write: bool = False) -> None:
        if self._chain.closed:
            self._chain.check_open()
        if not self._space.ready:
            try:
                self._keeper.enter(self._space)
            except StoreError as error:
                kind = NotApplied if write else StoreUnavailable
                if isinstance(error, kind):
                    raise
                told = without_tier(error, error.tier)
                raise kind(f"nothing was done: {told}", tier=error.tier, reason=error.reason) from error
            self._coherence.start()

    def _from_memory(self, keys: Iterable[str]) -> tuple[list[str], dict[str, Any], list[str]]:
        """`keys` without repetitions, the values that memory has, and the keys to be looked for below."""
        values, below, now = dict[str, Any](), list[str](), self._monotonic()
        wanted = check_keys(keys, self._chain.max_key_bytes)
        for key in wanted:
            slot = self._held(key)
            if slot is not None and (slot[1] > now or self._chain.prolong(self._space, key, slot)):
                self._touched(key)
                values[key] = _value(slot)
            else:
                below.append(key)
        count = len(values)
        self._stats.many_hits += count
        return wanted, values, below

    def _add(self, values: dict[str, Any], found: Mapping[str, Found]) -> None:
        """What was found below memory to what memory had."""
        for key, it in found.items():
            self._stats.found(it.tier, it.slot is not None)
            if it.slot is not None:
                values[key] = _value(it.slot)

    def _shown(self, found: Found, now: float) -> Lookup:
        if found.slot is None:
            return Lookup(False, tier=found.tier, version=found.version, unproven=type(found) is Unproven)
        age = now - found.slot[5] if found.tier == self._chain.memory.name else 0.0
        shown = _lookup(found.slot, found.tier, age)
        return shown if type(found) is Found else shown._replace(unproven=True)

    def _ttl(self, found: Lookup) -> float | None:
        if not found.found:
            return None
        return float("inf") if found.expires_at is None else found.expires_at - self._chain.clock.now() / 1000

    def _find(self, key: str, slot: tuple[Any, ...] | None) -> Found:
        """What is not in memory, or in a `slot` whose time is over."""
        if type(key) is not str or not key.isascii() or not 0 < len(key) <= self._chain.max_key_bytes:
            key = check_key(key, self._chain.max_key_bytes)
        return (slot is not None and self._prolonged(key, slot)) or self._below(key)

    def _in_memory(self, key: str, now: float) -> Found | None:
        """What memory has of `key` and may serve, counted; refuses a bad key."""
        slot = self._held(check_key(key, self._chain.max_key_bytes))
        if slot is None or slot[1] <= now:
            return None if slot is None else self._prolonged(key, slot)
        self._stats.memory_hits += 1
        self._touched(key)
        return Found(slot, self._chain.memory.name, slot[3])

    def _prolonged(self, key: str, slot: tuple[Any, ...]) -> Found | None:
        """What is in a `slot` whose time is over, if it may be served for longer, counted."""
        if not self._chain.prolong(self._space, key, slot):
            return None
        self._stats.memory_hits += 1
        return Found(slot, self._chain.memory.name, slot[3])

    def _below(self, key: str) -> Found:
        """What is below memory."""
        began = monotonic()
        try:
            if self._chain.closed or not self._space.ready:
                self._ready()
            found = self._reader.read(self._space, key)
        except StoreError:
            self._failed(began)
            raise
        self._found(found, began)
        return found

    def _found(self, found: Found, began: float) -> None:
        """Count a `get` below memory; as `operation` does, at a third of what that costs."""
        self._gets.ok += 1
        self._gets.duration.observe(monotonic() - began)
        if found[0] is None:
            self._stats.found(found.tier, False)
        else:
            self._stats.hits_below[found[1]] += 1

    def _failed(self, began: float) -> None:
        self._stats.read_errors += 1
        self._gets.failed(monotonic() - began)

    def _write(self, write: Write, value: Any, *, op: str = "set") -> tuple[Written, Any]:
        result = self._counted(op, (write,), (value,))[0]
        count = bool(result[0].version)
        self._stats.sets += count
        return result

    def _counted(self, op: str, writes: Sequence[Write], values: Sequence[Any]) -> list[Result]:
        """`_commit` for one caller."""
        with self._stats.operation(op) as it:
            results = self._commit(writes, values)
            it.degraded = self._is_degraded(results)
        return results

    def _is_degraded(self, results: Sequence[Result]) -> bool:
        """Whether a cache tier did not take a write when it was given it."""
        if self._feeder is not None:
            return False
        applied = next((outcome for _, outcome in results if outcome), None)  # a cache tier took all of them or none
        return applied is not None and "queued" in applied.tiers.values()

    def _commit(self, writes: Sequence[Write], values: Sequence[Any]) -> list[Result]:
        self._ready(write=True)
        return self._writer.write(self._space, writes, values) if writes else []

    def _entries(self, prefix: str) -> Iterator[tuple[str, Any]]:
        cursor: str | None = None
        while True:
            self._ready()
            page = self._chain.record.scan(self._space.name, prefix, cursor, PAGE)
            for key, frame in page.items:
                entry = self._space.frames.open(frame, key)
                if not entry.absent(self._chain.clock.now()):
                    yield key, entry
            if (cursor := page.cursor) is None:
                return


def _value(slot: tuple[Any, ...]) -> Any:
    decode = slot[2]
    return slot[0] if decode is None else decode(slot[0])


def _lookup(slot: tuple[Any, ...], tier: str, age: float) -> Lookup:
    return Lookup(True, _value(slot), tier, slot[3], slot[4] / 1000 if slot[4] else None, max(0.0, age))
