"""`verify` and `repair`: one pass over the namespaces of a chain, and the report on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tiered.chain import Chain
from tiered.errors import StoreError
from tiered.verification.cache_side import CacheSide
from tiered.verification.memory_side import MemorySide
from tiered.verification.mender import Mender
from tiered.verification.progress import OnProgress
from tiered.verification.report import Report
from tiered.verification.tally import Tally
from tiered.verification.verifier import Side, Verifier

__all__ = ["Mender", "namespaces", "repair", "verify"]


def namespaces(chain: Chain, own: str, *, every: bool) -> list[str]:
    """The namespace `own`, or with `every` all that the record knows; raises `ConfigError` if it cannot list them."""
    return sorted({own, *chain.namespaces()}) if every else [own]


def verify(chain: Chain, names: Sequence[str], *, examples: int, on_progress: OnProgress | None) -> Report:
    """Compare; nothing is changed. Raises `StoreError` if the record fails."""
    return _Pass(chain, examples).run(names, None, on_progress)


def repair(
    chain: Chain,
    names: Sequence[str],
    mender: Mender,
    *,
    replayed: Mapping[str, int],
    failed: Mapping[str, StoreError],
    examples: int,
    on_progress: OnProgress | None,
) -> Report:
    """Compare and let `mender` mend. A tier to which nothing could be replayed (`failed`) is left alone."""
    work = _Pass(chain, examples)
    for side in work.sides:
        side.tally.error = str(failed.get(side.name, ""))
    report = work.run(names, mender, on_progress)
    return replace(report, dry_run=mender.dry_run, new_generation=mender.new_generation, replayed=replayed)


class _Pass:
    """The sides of a chain and their tallies, for one report."""

    def __init__(self, chain: Chain, examples: int) -> None:
        self._chain = chain
        self._record = Tally(chain.record.name, "record", examples)
        self._caches = [CacheSide(chain, guard, Tally(guard.name, "cache", examples)) for guard in chain.guards]
        self._memory: list[Side] = []
        if chain.has_memory and chain.memory is not chain.record:
            self._memory.append(MemorySide(chain, Tally(chain.memory.name, "memory", examples)))

    @property
    def sides(self) -> list[Side]:
        """Memory last: it may be filled again from a tier that is not mended yet."""
        return [*self._caches, *self._memory]

    def run(self, names: Sequence[str], mender: Mender | None, on_progress: OnProgress | None) -> Report:
        began = self._chain.clock.monotonic()
        on_faults = mender.mend if mender else None
        verifier = Verifier(self._chain, self.sides, self._record, on_faults=on_faults, on_progress=on_progress)
        for name in names:
            verifier.run(name)
        if mender:
            mender.finish()
        for side in self._caches:
            side.guard.stats.repairs.update(side.tally.mended)
        tallies = [side.tally for side in [*self._memory, *self._caches]]
        tiers = tuple(tally.report() for tally in (*tallies, self._record))
        return Report(tuple(names), tiers, self._chain.clock.monotonic() - began)
