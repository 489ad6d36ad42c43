"""Listing documents in pages: a range scan has no order to begin again in, so the scans themselves are kept open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, count, islice
from threading import Lock

from tiered.errors import Reason, StoreUnavailable
from tiered.tiers.couchbase_batch import Held
from tiered.tiers.couchbase_documents import DIGEST, unpack
from tiered.tiers.couchbase_link import Link

MOST = 64
"""Scans that are open at a time; past it the oldest is given up."""


class Listing:
    """One scan under way."""

    def __init__(self, start: str, prefix: str, ids: Iterator[str]) -> None:
        self.start, self.prefix, self.ids = start, prefix, ids


class Listings:
    """The open scans of one link. Thread-safe; raises `StoreUnavailable`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.forget()

    def open(self, start: str, prefix: str) -> Listing:
        """Of the keys with `prefix` whose ids begin with `start`."""
        ids = self._link.ids(start + prefix)
        if prefix:  # the ids of long keys do not show it
            ids = chain(ids, self._link.ids(start + DIGEST))
        return Listing(start, prefix, ids)

    def reopen(self, cursor: str) -> Listing:
        with self._lock:
            found = self._open.pop(cursor, None)
        if found is None:
            message = (
                f"this listing was given up: more than {MOST} were under way, or it is another process's; begin again"
            )
            raise StoreUnavailable(message, tier=self._link.name, reason=Reason.BUSY)
        return found

    def page(self, it: Listing, limit: int) -> tuple[list[tuple[str, Held]], str | None]:
        """About `limit` keys with their documents, and a cursor if there may be more."""
        ids = list(islice(it.ids, limit))
        found = []
        for id, held in zip(ids, self._link.fetch_many(ids) if ids else [], strict=True):
            if held is not None:
                key = unpack(held.body).key
                key = id[len(it.start) :] if key is None else key
                if key.startswith(it.prefix):
                    found.append((key, held))
        return found, self._keep(it) if len(ids) == limit else None

    def forget(self) -> None:
        self._lock = Lock()  # guards the table
        self._open: OrderedDict[str, Listing] = OrderedDict()
        self._cursors = count(1)

    def _keep(self, it: Listing) -> str:
        with self._lock:
            cursor = str(next(self._cursors))
            self._open[cursor] = it
            if len(self._open) > MOST:
                self._open.popitem(last=False)
        return cursor
