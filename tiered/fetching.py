"""Reads below memory, as short as one question can be: one key of one tier; all others are a search (search.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from tiered.answers import Answers
from tiered.chain import Chain, Space
from tiered.errors import CodecError, StoreError, StoreUnavailable
from tiered.found import Found, Said
from tiered.record_reads import RecordReads
from tiered.replication.guard import Answer, Guard
from tiered.search import Search, may_serve

NOTHING: Mapping[str, Said] = MappingProxyType({})


class Fetcher:
    """Reads below memory, without coordination between them. Thread-safe.

    `events` are those of the namespace when a read `started`.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain, answers, self._record = chain, Answers(chain), RecordReads(chain)
        self._of_cache, self._of_record, self._read_one = answers.of_cache, answers.of_record, self._record.one
        self._search = partial(Search, chain, answers, self._record)

    def fetch_one(self, space: Space, key: str, started: float, events: int) -> Found:
        """`fetch` of one key; as a rule it is one question, to the first cache tier or, where none is asked, to the record."""
        chain, (asked, until) = self._chain, self.first(started)
        if until:
            answer = asked[0].get(space, key)
            found = self.made_of(space, key, asked, answer, started, until, events)
            if isinstance(found, Found):
                return found
            said = NOTHING if found is None else {key: found}
            return self.fetch(space, (key,), started, events, said=said)[key]
        if asked:
            return self.fetch(space, (key,), started, events)[key]
        try:
            generation, frame = self._read_one(space, key, started)
            if generation != space.generation:
                chain.learn(space, generation)
            held = self._record.absences(space, (key,))[0] if frame is None else frame
        except StoreUnavailable as error:
            if not may_serve(chain, error):
                raise
            return self._search(space, (key,), started, events).unproven((key,), error)[key]
        answered = self._of_record(space, key, held, started)
        if chain.order.measured:
            chain.order.pass_by(space, key, asked, chain.clock.monotonic())
        return answered

    def first(self, started: float) -> tuple[list[Guard], float]:
        """The cache tiers that a read asks, and until when the answer of the first may be served; 0.0: it must not be asked."""
        asked = self._chain.order.asked
        return asked, self._chain.trust.first_until(started, asked[0].passed_at) if asked else 0.0

    def made_of(
        self, space: Space, key: str, asked: list[Guard], answer: Answer, started: float, until: float, events: int
    ) -> Found | Said | None:
        """What the `answer` of the first of `asked` is worth, which may be served `until` then; None if it is for `fetch` to
        look at it."""
        guard = asked[0]
        if not isinstance(answer, bytes):
            if answer is None:
                guard.stats.misses += 1
            return Said(guard, answer)
        try:
            found = self._of_cache(space, key, answer, guard.name, started, until, events)
        except CodecError:
            return None
        guard.stats.hits += 1
        if self._chain.order.measured:
            self._chain.order.pass_by(space, key, asked, self._chain.clock.monotonic())
        return found

    def fetch(
        self,
        space: Space,
        keys: Sequence[str],
        started: float,
        events: int,
        *,
        caches: bool = True,
        failed: dict[str, StoreError] | None = None,
        said: Mapping[str, Said] = NOTHING,
    ) -> dict[str, Found]:
        """What the tiers say of each of `keys` (`Search`)."""
        return self._search(space, keys, started, events, failed=failed).run(said, caches=caches)
