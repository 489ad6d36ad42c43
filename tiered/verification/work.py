"""`verify` and `repair`: one pass over the namespaces of a chain, and the report on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tiered.chain import Chain
from tiered.errors import ConfigError
from tiered.tiers.base import Inventory
from tiered.verification.cache_side import CacheSide
from tiered.verification.memory_side import MemorySide
from tiered.verification.mender import Bury, Mender
from tiered.verification.progress import OnProgress
from tiered.verification.report import Report
from tiered.verification.tally import Tally
from tiered.verification.verifier import Side, Verifier


def namespaces(chain: Chain, own: str, *, every: bool) -> list[str]:
    """The namespace `own`, or with `every` all that the record knows; raises `ConfigError` if it cannot list them."""
    if not every:
        return [own]
    if not isinstance(chain.record, Inventory):
        raise ConfigError(f"{chain.record.name}: this store of record cannot list its namespaces; name one")
    return sorted({own, *chain.record.namespaces()})


def verify(chain: Chain, names: Iterable[str], *, examples: int, on_progress: OnProgress | None) -> Report:
    """Compare; nothing is changed. Raises `StoreError` if the record fails."""
    return _pass(chain, list(names), examples, on_progress, None, None, {})


def repair(
    chain: Chain,
    names: Iterable[str],
    *,
    bury: Bury,
    dry_run: bool,
    replayed: Mapping[str, int],
    examples: int,
    on_progress: OnProgress | None,
) -> Report:
    """Compare and mend, or with `dry_run` only see what there is to mend. Raises `StoreError` if the record fails."""
    return _pass(chain, list(names), examples, on_progress, Mender(chain, bury, dry_run=dry_run), dry_run, replayed)


def _pass(
    chain: Chain,
    names: list[str],
    examples: int,
    on_progress: OnProgress | None,
    mender: Mender | None,
    dry_run: bool | None,
    replayed: Mapping[str, int],
) -> Report:
    began = chain.clock.monotonic()
    memory, record = Tally(chain.memory.name, "memory", examples), Tally(chain.record.name, "record", examples)
    # Memory last: it may be filled again from a tier that is not mended yet.
    sides: list[Side] = [CacheSide(chain, guard, Tally(guard.name, "cache", examples)) for guard in chain.guards]
    if chain.has_memory and chain.memory is not chain.record:
        sides.append(MemorySide(chain, memory))
    on_faults = mender.mend if mender else None
    verifier = Verifier(chain, sides, record, on_faults=on_faults, on_progress=on_progress)
    for name in names:
        verifier.run(name)
    if mender:
        mender.finish()
    tallies = [side.tally for side in (*sides[len(chain.guards) :], *sides[: len(chain.guards)])]
    return Report(
        tuple(names),
        tuple(tally.report() for tally in (*tallies, record)),
        chain.clock.monotonic() - began,
        dry_run,
        mender is not None and mender.new_generation,
        replayed,
    )
