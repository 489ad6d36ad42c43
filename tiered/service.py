"""A chain at work: its readers and writers, the threads beside it, and what is done to all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiered.chain import Chain, Space
from tiered.errors import ConfigError, NotApplied, StoreError, StoreUnavailable, without_tier
from tiered.loading import Loading
from tiered.observability.observed import OBSERVED
from tiered.reading import Reader
from tiered.replication.coherence import Coherence
from tiered.replication.feeder import Feeder
from tiered.replication.keeper import Keeper
from tiered.tiers.base import Tier, Write
from tiered.writing import Result, Writer

if TYPE_CHECKING:
    from tiered.pool import Pool
    from tiered.rekeying import RekeyReport
    from tiered.verification.progress import OnProgress
    from tiered.verification.report import Report


class Service:
    """What all namespaces of a chain share. Thread-safe; raises what `TieredBackend` says of its methods."""

    def __init__(self, tiers: Sequence[Tier], chain: Chain, *, shared: bool, lease_ttl: float, patience: float) -> None:
        self.chain, self.tiers = chain, [*tiers[:-1], chain.record]
        self.keeper, self.coherence = Keeper(chain), Coherence(chain)
        self.feeder = Feeder(chain) if chain.fed else None
        self.loading = Loading(chain, shared=shared, lease_ttl=lease_ttl, patience=patience)
        self.reader, self.writer = Reader(chain), Writer(chain, self.feeder)
        self.pools: list[Pool] = []
        """The threads behind tasks, once there are any: the first one's. Others were made at the same moment, and are idle."""

    def enter(self, space: Space, *, write: bool = False) -> None:
        """Begin to look after `space`, before the first read or `write` there that memory does not answer."""
        self.chain.check_open()
        if space.ready:
            return
        try:
            self.keeper.enter(space)
        except StoreError as error:
            kind = NotApplied if write else StoreUnavailable
            if isinstance(error, kind):
                raise
            told = without_tier(error, error.tier)
            raise kind(f"nothing was done: {told}", tier=error.tier, reason=error.reason) from error
        self.coherence.start()

    def stats(self) -> dict[str, Any]:
        """Counters of each tier."""
        chain = self.chain
        return {
            "memory": dict(chain.memory.health().facts),
            "tiers": {
                **{guard.name: guard.stats.as_dict() for guard in chain.guards},
                chain.record.name: chain.record_stats.as_dict(),
            },
        }

    def health(self) -> dict[str, Any]:
        """Per tier: whether it is well, its breaker, how many keys it is owed, and which of them it does not take."""
        report: dict[str, Any] = {}
        for tier in self.tiers:
            state = tier.health()
            report[tier.name] = {"ok": state.ok, "detail": state.detail, **state.facts}
        for guard in self.chain.guards:
            own, known = report[guard.name], guard.report()
            report[guard.name] = own | known if own["ok"] else known | own
        failure, record = self.chain.last_write.failure(), report[self.chain.record.name]
        if failure and record["ok"]:
            record |= {"ok": False, "detail": f"the last write failed: {failure}"}
        return report

    def namespaces(self) -> list[str]:
        """Those that the record knows."""
        self.chain.check_open()
        return self.chain.namespaces()

    def backup(self, path: str | Path) -> None:
        """Copy the store of record to `path`."""
        backup = getattr(self.chain.record, "backup", None)
        if backup is None:
            raise ConfigError(
                f"{self.chain.record.name}: only a file tier can be backed up like this; a server has tools of its own"
            )
        backup(path)

    def verify(self, space: Space, *, every: bool, examples: int, on_progress: OnProgress | None) -> Report:
        """Compare memory and the cache tiers with the record: of `space`, or of `every` namespace."""
        from tiered.verification import work

        self.chain.check_open()
        names = work.namespaces(self.chain, space.name, every=every)
        return work.verify(self.chain, names, examples=examples, on_progress=on_progress)

    def repair(
        self, space: Space, *, dry_run: bool, every: bool, examples: int, on_progress: OnProgress | None
    ) -> Report:
        """`verify`, and unless it is a `dry_run` mend what differs."""
        from tiered.verification import work

        self.chain.check_open() if dry_run else self.enter(space)
        names = work.namespaces(self.chain, space.name, every=every)
        mender = work.Mender(self.chain, self._commit, dry_run=dry_run)
        replayed, failed = ({}, {}) if dry_run else self._replay()
        options: dict[str, Any] = {"examples": examples, "on_progress": on_progress}
        return work.repair(self.chain, names, mender, replayed=replayed, failed=failed, **options)

    def rekey(self, space: Space, *, every: bool, on_progress: OnProgress | None) -> RekeyReport:
        """Write again what the record holds under another key than the current one."""
        from tiered.rekeying import Rekeyer
        from tiered.verification import work

        self.enter(space, write=True)
        rekeyer = Rekeyer(self.chain, self._commit, on_progress)
        for name in work.namespaces(self.chain, space.name, every=every):
            rekeyer.run(name)
        return rekeyer.report

    def replay(self, space: Space) -> dict[str, int]:
        """Put now what cache tiers are owed; how many keys, per tier."""
        self.enter(space)
        replayed, failed = self._replay()
        for error in failed.values():
            raise error
        return replayed

    def close(self) -> None:
        """End the threads, those behind tasks when they have done what waits, and close every tier. Idempotent."""
        try:
            self._close()
        finally:
            for pool in self.pools:
                pool.close()

    def _close(self) -> None:
        chain = self.chain
        if not chain.closed:
            chain.closed = True
            OBSERVED.discard(chain)
            try:
                self.loading.close()
                self.coherence.stop()
                if self.feeder is not None:
                    self.feeder.stop()
                self.keeper.stop()
            finally:  # nobody closes them later
                for tier in self.tiers:
                    tier.close()
            with chain.memory.lock:
                for space in chain.spaces():
                    chain.memory.empty(space.part)
                    space.flights.renew()  # a read that is still under way must not fill what nobody empties again

    def _replay(self) -> tuple[dict[str, int], dict[str, StoreError]]:
        replayed, failed = dict[str, int](), dict[str, StoreError]()
        for guard in self.chain.guards:
            try:
                replayed[guard.name] = self.keeper.replay(guard)
            except StoreError as error:
                failed[guard.name] = error
        return replayed, failed

    def _commit(self, namespace: str, writes: Sequence[Write]) -> list[Result]:
        """For writes whose values nobody has at hand."""
        space = self.chain.space(namespace)
        if not space.ready:
            self.keeper.enter(space)
        return self.writer.write(space, writes, None)
