"""Documents of one Couchbase collection: what is asked of the server, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    CouchbaseException,
    DocumentNotFoundException,
    FeatureUnavailableException,
    MutationTokenOutdatedException,
    UnsupportedOperation,
)
from couchbase.kv_range_scan import PrefixScan

from tiered.clock import Clock
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.tiers import couchbase_batch as batch
from tiered.tiers.couchbase_batch import BATCH, CONDITION, Held, Mutation
from tiered.tiers.couchbase_connection import Connection
from tiered.tiers.couchbase_errors import store_error
from tiered.tiers.couchbase_history import Histories
from tiered.tiers.couchbase_prober import Prober
from tiered.tiers.couchbase_url import Address

SCAN_TIMEOUT = timedelta(seconds=10)
"""For a part of a listing, which waits until what it must see is on the server's disk."""
RENEW_AFTER = 2
"""Probes that fail before a new connection is tried."""
_DURABILITY = {
    "majority": DurabilityLevel.MAJORITY,
    "majority_and_persist_active": DurabilityLevel.MAJORITY_AND_PERSIST_TO_ACTIVE,
    "persist_to_majority": DurabilityLevel.PERSIST_TO_MAJORITY,
}
_Result = TypeVar("_Result")


class Link:
    """One collection. Thread-safe; raises `StoreError`; no retries beyond those of the SDK."""

    def __init__(
        self, address: Address, *, name: str, timeout: float, connect_timeout: float, durability: str, clock: Clock
    ) -> None:
        self.name = name
        self._histories = Histories(lasting=durability != "none")
        self._connection = Connection(address, name=name, timeout=timeout, connect_timeout=connect_timeout, clock=clock)
        self._prober = Prober(name, self._probe, clock)
        self._durable: dict[str, Any] = {}
        if durability != "none":
            self._durable = {"durability": ServerDurability(_DURABILITY[durability])}

    def fetch(self, id: str) -> Held | None:
        """The document `id`, or None."""

        def ask(collection: Any) -> Held | None:
            try:
                result = collection.get(id)
            except DocumentNotFoundException:
                return None
            return Held(result.value, result.cas)

        return self._run(ask)

    def fetch_many(self, ids: Sequence[str]) -> list[Held | None]:
        """`fetch` of each of `ids`, in order; a round trip for some of them at a time."""
        found: dict[str, Held] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            found |= self._run(lambda collection, part=part: batch.fetch(collection, part))  # type: ignore[misc]  # bound now
        return [found.get(id) for id in ids]

    def mutate(self, it: Mutation) -> int:
        """Its new CAS; 0 if the condition did not hold."""
        options = self._durable
        if it.expiry:
            options = {"expiry": timedelta(seconds=it.expiry), **options}

        def ask(collection: Any) -> int:
            try:
                if it.cas is None:
                    result = collection.upsert(it.id, it.body, **options)
                elif it.cas == 0:
                    result = collection.insert(it.id, it.body, **options)
                else:
                    result = collection.replace(it.id, it.body, cas=it.cas, **options)
            except CONDITION:
                return 0
            return self._cas(result)

        return self._run(ask, write=True)

    def mutate_many(self, mutations: Sequence[Mutation]) -> list[int]:
        """`mutate` of each, of different documents. Raises `Ambiguous` if only a part of them may have been done."""
        if len(mutations) == 1:
            return [self.mutate(mutations[0])]
        done: dict[str, int] = {}
        for part in batch.batches(mutations):
            try:
                done |= self._mutate(part)
            except NotApplied as error:
                if not any(done.values()):
                    raise
                raise self._partly(error) from error
        return [done[it.id] for it in mutations]

    def remove(self, id: str, cas: int) -> bool:
        """Whether the document was still the one of `cas`; it is gone now."""

        def ask(collection: Any) -> bool:
            try:
                collection.remove(id, cas=cas, **self._durable)
            except CONDITION:
                return False
            return True

        return self._run(ask, write=True)

    def touch(self, id: str, expiry: int) -> None:
        """Let the document, if it is there, live for `expiry` seconds from now."""

        def ask(collection: Any) -> None:
            try:
                collection.touch(id, timedelta(seconds=expiry))
            except DocumentNotFoundException:
                return

        self._run(ask, write=True)

    def ids(self, prefix: str) -> Iterator[str]:
        """Those that start with `prefix`, in no order: all that this process wrote before, and what else is on the disk."""
        options = {"ids_only": True, "timeout": SCAN_TIMEOUT, **self._histories.seen()}
        found = self._run(lambda collection: iter(collection.scan(PrefixScan(prefix), **options)))
        while True:
            one = self._run(lambda _: next(found, None))
            if one is None:
                return
            yield one.id

    def ping(self) -> None:
        """Asks now, whatever calls have said lately."""
        self._connection.ping()
        self._prober.answered()

    @property
    def replaced(self) -> bool:
        """Whether a node may have lost what it acknowledged (see `Histories`)."""
        return self._histories.replaced

    def believe(self) -> None:
        """What the nodes have now is believed."""
        self._histories.believe()

    @property
    def state(self) -> str:
        """Of the breaker."""
        return str(self._prober.breaker.state)

    def close(self) -> None:
        self._prober.close()
        self._connection.close()

    def abandon(self) -> None:
        """In a child after a fork."""
        self.believe()
        self._prober.abandon()
        self._connection.abandon()

    # Private

    def _run(self, ask: Callable[[Any], _Result], *, write: bool = False) -> _Result:
        """The one place where the SDK's errors become ours, and where the breaker hears of them."""
        if not self._prober.breaker.closed:
            self._prober.watch()
            kind = NotApplied if write else StoreUnavailable
            message = "out of service: it has not answered lately, and is probed in the background"
            raise kind(message, tier=self.name, reason=Reason.CONNECTION)
        try:
            result = ask(self._connection.collection(write=write))
        except StoreError as error:
            self._prober.failed(error)
            raise
        except (FeatureUnavailableException, UnsupportedOperation) as error:
            raise self._unsupported(error, write) from error
        except MutationTokenOutdatedException as error:
            self._histories.outdated()
            message = "a node was restarted or replaced since this process wrote to it; begin the listing again"
            raise StoreUnavailable(message, tier=self.name, reason=Reason.RESTARTED) from error
        except (CouchbaseException, RuntimeError) as error:
            failure = store_error(error, self.name, write=write)
            self._prober.failed(failure)
            raise failure from error
        self._prober.breaker.success()
        return result

    def _cas(self, result: Any) -> int:
        """Of what was written."""
        token = result.mutation_token()
        if token is not None:
            self._histories.note(token)
        return int(result.cas)

    def _unsupported(self, error: Exception, write: bool) -> StoreError:
        if "scan" not in str(error):
            return store_error(error, self.name, write=write)
        message = (
            "listing keys needs a range scan, which Couchbase Server offers from version 7.6 on; this one does not"
        )
        return StoreUnavailable(message, tier=self.name, reason=Reason.MISUSE)

    def _mutate(self, part: Sequence[Mutation]) -> dict[str, int]:
        def ask(collection: Any) -> dict[str, int]:
            answers = batch.mutate(collection, part, self._durable)
            if answers.failed:
                raise self._worst(answers.failed, bool(answers.done))
            return {id: self._cas(one) for id, one in answers.done.items()} | dict.fromkeys(answers.refused, 0)

        return self._run(ask, write=True)

    def _worst(self, errors: Sequence[Exception], partly: bool) -> StoreError:
        """What these errors of one batch come to."""
        failures = [store_error(error, self.name, write=True) for error in errors]
        worst = next((it for it in failures if isinstance(it, Ambiguous)), failures[0])
        return self._partly(worst) if partly and isinstance(worst, NotApplied) else worst

    def _partly(self, error: StoreError) -> Ambiguous:
        message = without_tier(error, self.name)
        return Ambiguous(f"after a part was stored: {message}", tier=self.name, reason=error.reason)

    def _probe(self, tries: int) -> None:
        if tries and tries % RENEW_AFTER == 0:
            self._connection.renew()
        self._connection.ping()
