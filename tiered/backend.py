"""`TieredBackend`: the store as its users see it. One object is one namespace of a chain of tiers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Unpack

from tiered.arguments import (
    KEEP,
    Ttl,
    _Keep,
    check_prefix,
    tier_name,
)
from tiered.chain import Chain
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.codecs.base import MAX_DEPTH, Codec
from tiered.codecs.keys import Keyring, Source
from tiered.core import Core
from tiered.options import Options, Settings, forms
from tiered.results import Lookup, WriteOutcome
from tiered.service import Service
from tiered.steps import drive
from tiered.terms import Job, terms_of
from tiered.tiers.base import Tier

if TYPE_CHECKING:
    from tiered.rekeying import RekeyReport
    from tiered.verification.progress import OnProgress
    from tiered.verification.report import Report

_ABSENT: Any = object()
_Value = TypeVar("_Value")


class TieredBackend:
    """A key-value store over a chain of tiers, fastest first; the last tier is the store of record.

    Thread-safe. Reads raise `StoreUnavailable` only when the store of record cannot answer; writes, also those that read
    first, raise `NotApplied` or `Ambiguous`. Cache tiers that fail never raise: they are skipped and repaired. A `ttl` is
    seconds or a `timedelta`, None for ever. `staleness` (seconds) bounds how long this process may serve from memory what
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
        codec, rules = forms(locals())  # every option by its name; before a journal is opened
        if trace:
            from tiered.observability.tracing import traced

            tiers = [traced(tier) for tier in tiers]
        chain = Chain(
            tiers,
            codec=codec,
            rules=rules,
            max_key_bytes=min(max_key_bytes, 1024),
            shared=shared,
            staleness=staleness,
            deadline=deadline,
            journal=journal,
            measured=read_order == "measured",
            fed=feed == "journal",
            name=tier_name(namespace if name is None else name),
            metric_namespaces=metric_namespaces,
            serve_unproven=serve_unproven,
            clock=clock,
        )
        service = Service(tiers, chain, shared=shared, lease_ttl=lease_ttl, patience=load_patience)
        self._bind(Core(service, namespace))

    def _bind(self, core: Core) -> None:
        self._core, self._service = core, core.service
        # What a hit in memory needs, at the shortest way.
        self._held, self._touched, self._monotonic, self._stats = core.held, core.touched, core.monotonic, core.stats
        self._find = core.find

    @classmethod
    def from_url(cls, url: str, **options: Unpack[Options]) -> TieredBackend:
        """A backend from tier URLs, separated by commas: "memory://,redis://localhost:6379/0,file:///var/lib/bot"."""
        from tiered.config import tiers_and_options

        return cls._over(*tiers_and_options(url, options))

    @classmethod
    def from_config(
        cls, source: str | Path | Mapping[str, Any] | None = None, **options: Unpack[Settings]
    ) -> TieredBackend:
        """A backend from a TOML file or a mapping, overlaid by TIERED_* environment variables and `options`."""
        from tiered.config import tiers_from_settings

        return cls._over(*tiers_from_settings(source, options))

    @classmethod
    def _over(cls, tiers: list[Tier], settings: Mapping[str, Any]) -> TieredBackend:
        """A backend that owns `tiers`: they are closed, too, if it cannot be made."""
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
        core, now = self._core, self._monotonic()
        return core.shown(core.in_memory(key, now) or core.find(key, None), now)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those `keys` that are there, in their order; one round trip per tier."""
        core = self._core
        wanted, values, below = core.from_memory(keys)
        if below:
            with self._stats.operation("get_many", keys=len(below)):
                found = core.below_many(below)
            core.add(values, found)
        return {key: values[key] for key in wanted if key in values}

    def ttl(self, key: str) -> float | None:
        """Seconds until `key` expires, math.inf if it never does, None if it is absent."""
        return self._core.ttl(self.lookup(key))

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
        core = self._core
        _, outcome = core.write(*core.draft(key, value, ttl))
        return outcome  # type: ignore[return-value]  # there was no condition

    def add(self, key: str, value: Any, ttl: Ttl = None) -> WriteOutcome | None:
        """`set` only if `key` is absent; None if it is there."""
        return self._core.write(*self._core.draft(key, value, ttl, expect=0), op="add")[1]

    def delete(self, key: str) -> bool:
        """Remove `key` everywhere; whether it was there."""
        (existed,) = self.delete_many((key,)).values()
        return existed

    def set_many(self, values: Mapping[str, Any], ttl: Ttl = None) -> dict[str, WriteOutcome]:
        """`set` of each, in one commit and one round trip per tier: all of them, or (raising) none."""
        core = self._core
        writes, at_hand = core.drafts(values, ttl)
        return core.outcomes(writes, core.counted("set_many", writes, at_hand))

    def delete_many(self, keys: Iterable[str]) -> dict[str, bool]:
        """`delete` of each, in one commit; whether each was there."""
        core = self._core
        writes = core.drafter.tombstones(keys)
        return core.existed(writes, core.counted("delete", writes, [None] * len(writes)))

    def touch(self, key: str, ttl: Ttl) -> bool:
        """Give `key` a new time to live (None: for ever); False if it is absent."""
        return drive(self._core.updates.touch(key, ttl))

    def update(self, key: str, fn: Callable[[Any], _Value], default: Any = None, ttl: Ttl | _Keep = KEEP) -> _Value:
        """Replace the value of `key` (`default` if absent) by `fn` of it, atomically; returns the new value.

        `fn` gets a copy of its own (of a `default` that is a list, dict, set or tuple, too; another object as it is) and
        may be called again when another writer came first, so it must not have side effects. By default the expiry stays
        as it is. Raises what `fn` raises, with nothing written.
        """
        value: _Value = drive(self._core.updates.update(key, fn, default, ttl))
        return value

    def increment(self, key: str, by: int = 1, *, ttl: Ttl = None) -> int:
        """Add `by` to the integer under `key` (0 if absent), atomically; returns the sum.

        `ttl` is for a counter that this call makes; one that is there keeps its expiry, so a window does not move. Raises
        `InvalidValue` if something else than an int is there.
        """
        return drive(self._core.updates.increment(key, by, ttl))

    def get_or_set(
        self,
        key: str,
        loader: Callable[[], _Value],
        ttl: Ttl = None,
        *,
        stale_ttl: Ttl = None,
        refresh_ahead: Ttl = None,
    ) -> _Value:
        """The value of `key`; if it is absent, that of `loader()`, stored with `ttl`: one loader at a time in all processes.

        With `stale_ttl`, a value that expired no longer ago is served when the loader fails, and while another caller is
        loading. With `refresh_ahead`, a hit with no more than that left to live is served as it is, and loaded again in the
        background. Nothing overwrites a value that was set while the loader ran, or restores one that was deleted then; but
        a delete by another process may go unnoticed without Redis, and at the very moment of the commit. Raises what the
        loader raises, and `RecursiveLoad` if it needs its own key. docs/loading.md has the details.
        """
        job = Job(loader, *terms_of(ttl, stale_ttl, refresh_ahead))
        if not job.ahead:
            value: _Value = self.get(key, _ABSENT)
            return drive(self._core.loads.load(key, job)) if value is _ABSENT else value
        value = drive(self._core.loads.obtain(key, job, self.lookup))
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    # Enumerating, namespaces

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, from the store of record, in pages."""
        return (key for key, _ in self._core.entries(check_prefix(prefix)))

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """The keys that start with `prefix` and their values, from the store of record, in pages."""
        return self._core.items(check_prefix(prefix))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def namespace(self, name: str) -> TieredBackend:
        """Another namespace of the same chain. Closing either closes both. Raises `ConfigError` for what can be no name."""
        view = object.__new__(TieredBackend)
        view._bind(Core(self._service, name))
        return view

    def namespaces(self) -> list[str]:
        """The names of all namespaces that were ever written to, as the store of record knows them; some may be empty.

        Raises `ConfigError` where it cannot list them.
        """
        return self._service.namespaces()

    def clear(self) -> None:
        """Remove every key of this namespace, and of no other."""
        self._core.clear()

    # Operating

    def stats(self) -> dict[str, Any]:
        """Counters of this namespace and of each tier."""
        return {"namespace": {"name": self._core.space.name, **self._stats.as_dict()}, **self._service.stats()}

    def health(self) -> dict[str, Any]:
        """Per tier: whether it is well, its breaker, how many keys it is owed. Never raises, never scans."""
        return self._service.health()

    def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the store of record to `path` while it is in use.

        Raises `ConfigError` if `path` cannot be that, or where the record has a backup procedure of its own.
        """
        self._service.backup(path)

    def verify(
        self, *, all_namespaces: bool = False, examples: int = 10, on_progress: OnProgress | None = None
    ) -> Report:
        """Compare this process's memory and every cache tier with the store of record, key by key; changes nothing.

        In pages, while the store is in use. Up to `examples` keys of each kind of fault are named. Raises
        `StoreUnavailable` if the record cannot be read; a cache tier that cannot be is in the report.
        """
        return self._service.verify(self._core.space, every=all_namespaces, examples=examples, on_progress=on_progress)

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
        return self._service.repair(
            self._core.space, dry_run=dry_run, every=all_namespaces, examples=examples, on_progress=on_progress
        )

    def replay(self) -> dict[str, int]:
        """Put now what cache tiers are owed and what is pending for them, of every namespace; how many keys, per tier.

        The background thread does the same by itself. Raises the `StoreError` of a tier that cannot be reached, after
        the others have got theirs.
        """
        return self._service.replay(self._core.space)

    def rekey(self, *, all_namespaces: bool = False, on_progress: OnProgress | None = None) -> RekeyReport:
        """Write again what the store of record holds under another key than the current one, or not as `protect` says.

        While the store is in use; interrupted, the next run continues. Raises `ConfigError` without `keys`.
        """
        return self._service.rekey(self._core.space, every=all_namespaces, on_progress=on_progress)

    def close(self) -> None:
        """Stop the background thread and close every tier. Idempotent."""
        self._service.close()

    def __enter__(self) -> TieredBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        core, chain = self._core, " → ".join(tier.name for tier in self._service.tiers)
        return f"<TieredBackend {core.space.name!r}: {chain}{', closed' if core.chain.closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a TieredBackend cannot be sent to another process; build one there (a forked child may use this)"
        )
