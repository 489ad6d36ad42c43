"""`AsyncTieredBackend`: the store for asyncio. Memory answers without suspending; all else is combined on a few threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from tiered.arguments import KEEP, Ttl, _Keep, check_key
from tiered.backend import _ABSENT, TieredBackend
from tiered.core import PAGE
from tiered.errors import NotApplied, StoreError
from tiered.found import Found
from tiered.options import Options, Settings
from tiered.performing import Performer
from tiered.pool import Pool
from tiered.results import Lookup, WriteOutcome
from tiered.steps import Steps
from tiered.terms import Job, terms_of
from tiered.tiers.base import Tier, Write
from tiered.writing import Result

if TYPE_CHECKING:
    from tiered.rekeying import RekeyReport
    from tiered.verification.progress import OnProgress
    from tiered.verification.report import Report

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")


class AsyncTieredBackend:
    """`TieredBackend` for asyncio: the same operations, awaited, with the same promises (docs/asyncio.md).

    Constructed without await, in a loop or not, with the same arguments; may be used by tasks of several event loops, and
    at the same time by threads, through the `TieredBackend` it was made `over`. A call that is cancelled has no result; what it
    had begun in the tiers is not undone, what it had not is not done. So many bytes of calls may wait at once (`busy`).
    """

    def __init__(self, tiers: Sequence[Tier], **options: Unpack[Options]) -> None:
        self._bind(TieredBackend(tiers, **options))

    def _bind(self, store: TieredBackend) -> None:
        pools = store._core.service.pools
        if not pools:
            pools.append(Pool())
        self._store, self._core, self._pool = store, store._core, pools[0]
        core = store._core
        self._held, self._touched, self._monotonic, self._stats = core.held, core.touched, core.monotonic, core.stats
        self._performer = Performer(self._pool, core, self.lookup, self._write)

    @classmethod
    def over(cls, store: TieredBackend) -> AsyncTieredBackend:
        """The same store for tasks. Closing either closes both."""
        backend = object.__new__(cls)
        backend._bind(store)
        return backend

    @classmethod
    def from_url(cls, url: str, **options: Unpack[Options]) -> AsyncTieredBackend:
        """A backend from tier URLs, separated by commas: "memory://,redis://localhost:6379/0,file:///var/lib/bot"."""
        return cls.over(TieredBackend.from_url(url, **options))

    @classmethod
    def from_config(
        cls, source: str | Path | Mapping[str, Any] | None = None, **options: Unpack[Settings]
    ) -> AsyncTieredBackend:
        """A backend from a TOML file or a mapping, overlaid by TIERED_* environment variables and `options`."""
        return cls.over(TieredBackend.from_config(source, **options))

    # Reading

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` if it is absent."""
        try:  # to call `TieredBackend.get` for a hit would cost a sixth of it
            slot = self._held(key)
        except TypeError:
            slot = None
        if slot is not None and slot[1] > self._monotonic():
            self._stats.memory_hits += 1
            self._touched(key)
        else:
            slot = (await self._find(key, slot))[0]
            if slot is None:
                return default
        decode = slot[2]
        return slot[0] if decode is None else decode(slot[0])

    async def lookup(self, key: str) -> Lookup:
        """What `get` would find, and where: tier, version, expiry, age."""
        core, now = self._core, self._monotonic()
        return core.shown(core.in_memory(key, now) or await self._find(key, None), now)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those `keys` that are there, in their order; one round trip per tier."""
        wanted, values, below = self._core.from_memory(keys)
        if below:
            with self._stats.operation("get_many", keys=len(below)):
                found = await self._pool.read_many(self._core, below)
            self._core.add(values, found)
        return {key: values[key] for key in wanted if key in values}

    async def ttl(self, key: str) -> float | None:
        """Seconds until `key` expires, math.inf if it never does, None if it is absent."""
        return self._core.ttl(await self.lookup(key))

    # Writing

    async def set(self, key: str, value: Any, ttl: Ttl = None) -> WriteOutcome:
        """Store `value` under `key`, durably in the store of record and in every tier that can be reached."""
        _, outcome = await self._write(*self._core.draft(key, value, ttl))
        assert outcome is not None  # there was no condition
        return outcome

    async def add(self, key: str, value: Any, ttl: Ttl = None) -> WriteOutcome | None:
        """`set` only if `key` is absent; None if it is there."""
        return (await self._write(*self._core.draft(key, value, ttl, expect=0), op="add"))[1]

    async def delete(self, key: str) -> bool:
        """Remove `key` everywhere; whether it was there."""
        (existed,) = (await self.delete_many((key,))).values()
        return existed

    async def set_many(self, values: Mapping[str, Any], ttl: Ttl = None) -> dict[str, WriteOutcome]:
        """`set` of each, in one commit and one round trip per tier: all of them, or (raising) none."""
        writes, at_hand = self._core.drafts(values, ttl)
        return self._core.outcomes(writes, await self._counted("set_many", writes, at_hand))

    async def delete_many(self, keys: Iterable[str]) -> dict[str, bool]:
        """`delete` of each, in one commit; whether each was there."""
        writes = self._core.drafter.tombstones(keys)
        return self._core.existed(writes, await self._counted("delete", writes, [None] * len(writes)))

    async def touch(self, key: str, ttl: Ttl) -> bool:
        """Give `key` a new time to live (None: for ever); False if it is absent."""
        return await self._perform(self._core.updates.touch(key, ttl))

    @overload
    async def update(
        self, key: str, fn: Callable[[Any], Awaitable[_Value]], default: Any = None, ttl: Ttl | _Keep = KEEP
    ) -> _Value: ...

    @overload
    async def update(
        self, key: str, fn: Callable[[Any], _Value], default: Any = None, ttl: Ttl | _Keep = KEEP
    ) -> _Value: ...

    async def update(self, key: str, fn: Callable[[Any], Any], default: Any = None, ttl: Ttl | _Keep = KEEP) -> Any:
        """Replace the value of `key` (`default` if absent) by `fn` of it, atomically; returns the new value.

        `fn` is called in the loop, so it must not block; if it is async, it is awaited. It gets a copy of its own (of a
        `default` that is a list, dict, set or tuple, too; another object as it is) and may be called again when another
        writer came first, so it must not have side effects. By default the expiry stays as it is. Raises what `fn` raises,
        with nothing written.
        """
        return await self._perform(self._core.updates.update(key, fn, default, ttl))

    async def increment(self, key: str, by: int = 1, *, ttl: Ttl = None) -> int:
        """Add `by` to the integer under `key` (0 if absent), atomically; returns the sum.

        `ttl` is for a counter that this call makes; one that is there keeps its expiry, so a window does not move. Raises
        `InvalidValue` if something else than an int is there.
        """
        return await self._perform(self._core.updates.increment(key, by, ttl))

    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Awaitable[_Value]],
        ttl: Ttl = None,
        *,
        stale_ttl: Ttl = None,
        refresh_ahead: Ttl = None,
    ) -> _Value: ...

    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], _Value],
        ttl: Ttl = None,
        *,
        stale_ttl: Ttl = None,
        refresh_ahead: Ttl = None,
    ) -> _Value: ...

    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Any],
        ttl: Ttl = None,
        *,
        stale_ttl: Ttl = None,
        refresh_ahead: Ttl = None,
    ) -> Any:
        """The value of `key`; if it is absent, that of `loader()`, stored with `ttl`: one loader at a time in all processes.

        An async loader is awaited in this task; any other runs on a thread of the loop's executor, with this task's
        context. One that is cancelled leaves nothing, and one of those who waited for it takes over. The rest is as for
        `TieredBackend.get_or_set`.
        """
        job = Job(loader, *terms_of(ttl, stale_ttl, refresh_ahead), later=self._pool.later)
        if not job.ahead:
            value = await self.get(key, _ABSENT)
            return await self._perform(self._core.loads.load(key, job)) if value is _ABSENT else value
        return await self._perform(self._core.loads.obtain(key, job, self._store.lookup))

    # Enumerating, namespaces

    def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys that start with `prefix`, from the store of record, in pages."""
        return self._pages(self._store.keys(prefix))

    def items(self, prefix: str = "") -> AsyncIterator[tuple[str, Any]]:
        """The keys that start with `prefix` and their values, from the store of record, in pages."""
        return self._pages(self._store.items(prefix))

    def __aiter__(self) -> AsyncIterator[str]:
        return self.keys()

    def namespace(self, name: str) -> AsyncTieredBackend:
        """Another namespace of the same chain. Closing either closes both. Raises `ConfigError` for what can be no name."""
        return self.over(self._store.namespace(name))

    async def namespaces(self) -> list[str]:
        """The names of all namespaces that were ever written to, as the store of record knows them; some may be empty.

        Raises `ConfigError` where it cannot list them.
        """
        return await self._on_a_thread(self._store.namespaces)

    async def clear(self) -> None:
        """Remove every key of this namespace, and of no other."""
        await self._pool.ask(self._store.clear, refusal=NotApplied)

    # Operating

    async def stats(self) -> dict[str, Any]:
        """Counters of this namespace and of each tier."""
        return self._store.stats()

    async def health(self) -> dict[str, Any]:
        """Per tier: whether it is well, its breaker, how many keys it is owed. Never raises, never scans."""
        return await self._on_a_thread(self._store.health)

    async def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the store of record to `path` while it is in use.

        Raises `ConfigError` if `path` cannot be that, or where the record has a backup procedure of its own.
        """
        await self._on_a_thread(partial(self._store.backup, path))

    async def verify(
        self, *, all_namespaces: bool = False, examples: int = 10, on_progress: OnProgress | None = None
    ) -> Report:
        """`TieredBackend.verify`; `on_progress` is called on a thread."""
        options: dict[str, Any] = {"all_namespaces": all_namespaces, "examples": examples, "on_progress": on_progress}
        return await self._on_a_thread(partial(self._store.verify, **options))

    async def repair(
        self,
        *,
        dry_run: bool = True,
        all_namespaces: bool = False,
        examples: int = 10,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """`TieredBackend.repair`; `on_progress` is called on a thread."""
        options: dict[str, Any] = {"all_namespaces": all_namespaces, "examples": examples, "on_progress": on_progress}
        return await self._on_a_thread(partial(self._store.repair, dry_run=dry_run, **options))

    async def rekey(self, *, all_namespaces: bool = False, on_progress: OnProgress | None = None) -> RekeyReport:
        """`TieredBackend.rekey`; `on_progress` is called on a thread."""
        options: dict[str, Any] = {"all_namespaces": all_namespaces, "on_progress": on_progress}
        return await self._on_a_thread(partial(self._store.rekey, **options))

    async def replay(self) -> dict[str, int]:
        """Put now what cache tiers are owed and what is pending for them, of every namespace; how many keys, per tier.

        The background thread does the same by itself. Raises the `StoreError` of a tier that cannot be reached, after
        the others have got theirs.
        """
        return await self._on_a_thread(self._store.replay)

    async def close(self) -> None:
        """Stop the background threads and close every tier. Idempotent; goes on if it is cancelled."""
        await self._pool.certainly(self._store.close)

    async def __aenter__(self) -> AsyncTieredBackend:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self._store).removeprefix('<')}"

    # Private, in the order of use

    async def _find(self, key: str, slot: tuple[Any, ...] | None) -> Found:
        """What is not in memory, or in a `slot` whose time is over."""
        core, began = self._core, monotonic()
        key = check_key(key, core.chain.max_key_bytes)
        if slot is not None and (found := core.prolonged(key, slot)) is not None:
            return found
        try:
            near = None
            if core.space.ready and not core.chain.closed:
                near = await core.service.reader.read_awaited(core.space, key, self._pool.later)
            found = near if isinstance(near, Found) else await self._pool.read(core, key, near)
        except StoreError:
            core.failed(began)
            raise
        core.found(found, began)
        return found

    async def _write(self, write: Write, value: Any, *, op: str = "set") -> Result:
        (result,) = await self._counted(op, (write,), (value,))
        count = bool(result[0].version)
        self._stats.sets += count
        return result

    async def _counted(self, op: str, writes: Sequence[Write], values: Sequence[Any]) -> list[Result]:
        with self._stats.operation(op) as it:
            results = await self._pool.commit(self._core, writes, values)
            it.degraded = self._core.is_degraded(results)
        return results

    async def _perform(self, steps: Steps[_Result]) -> _Result:
        return await self._performer.perform(steps)

    async def _pages(self, entries: Iterator[_Result]) -> AsyncIterator[_Result]:
        while page := await self._pool.ask(lambda: list(islice(entries, PAGE))):
            for entry in page:
                yield entry

    async def _on_a_thread(self, call: Callable[[], _Result]) -> _Result:
        result: _Result = await self._pool.ask(partial(copy_context().run, call))
        return result
