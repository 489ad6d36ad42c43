"""Several documents in one round trip: what is asked for each, and what the SDK says of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from couchbase.exceptions import CasMismatchException, DocumentExistsException, DocumentNotFoundException

BATCH = 200
"""Documents of one round trip, at most."""
BATCH_BYTES = 8 * 2**20
CONDITION = (CasMismatchException, DocumentExistsException, DocumentNotFoundException)
"""What the server says when the condition of a mutation does not hold."""


class Held(NamedTuple):
    """A document as it is."""

    body: bytes
    cas: int


class Mutation(NamedTuple):
    """A document as it is to be: unconditionally (`cas` None), if there is none (0), or if it is still the one of `cas`."""

    id: str
    body: bytes
    expiry: int
    """Seconds from now, 0 = never."""
    cas: int | None = None

    @property
    def method(self) -> str:
        """Of a collection, for several documents."""
        return "upsert_multi" if self.cas is None else "replace_multi" if self.cas else "insert_multi"


class Answers(NamedTuple):
    """Of a batch: the SDK's results, the ids whose condition did not hold, and the errors of the others."""

    done: dict[str, Any]
    refused: list[str]
    failed: list[Exception]


def batches(mutations: Sequence[Mutation]) -> Iterator[list[Mutation]]:
    """Mutations of one kind, in batches that are not too much for one round trip."""
    for method in ("upsert_multi", "insert_multi", "replace_multi"):
        batch, size = list[Mutation](), 0
        for it in mutations:
            if it.method == method:
                if len(batch) == BATCH or (batch and size + len(it.body) > BATCH_BYTES):
                    yield batch
                    batch, size = [], 0
                batch.append(it)
                size += len(it.body)
        if batch:
            yield batch


def mutate(collection: Any, batch: Sequence[Mutation], durable: dict[str, Any]) -> Answers:
    """Ask for all of `batch`."""
    options: dict[str, dict[str, Any]] = {it.id: {"expiry": timedelta(seconds=it.expiry)} for it in batch}
    for it in batch:
        if it.cas:
            options[it.id]["cas"] = it.cas
    bodies = {it.id: it.body for it in batch}
    result = getattr(collection, batch[0].method)(bodies, per_key_options=options, **durable)
    refused = [id for id, error in result.exceptions.items() if isinstance(error, CONDITION)]
    failed = [error for id, error in result.exceptions.items() if id not in refused]
    return Answers(result.results, refused, failed)


def fetch(collection: Any, ids: list[str]) -> dict[str, Held]:
    """Those of the documents that are there; raises the first error that is not an absence."""
    result = collection.get_multi(ids)
    for error in result.exceptions.values():
        if not isinstance(error, DocumentNotFoundException):
            raise error
    return {id: Held(one.value, one.cas) for id, one in result.results.items()}
