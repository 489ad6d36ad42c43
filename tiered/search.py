"""One read of several keys below memory: the cache tiers that may be asked, then the store of record, then promotion upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from tiered.answers import Answers
from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION
from tiered.errors import CodecError, StoreError, StoreUnavailable, Unreadable
from tiered.found import Found, Said, Unproven
from tiered.record_reads import RecordReads
from tiered.replication.guard import OWED, Answer, Guard
from tiered.tiers.base import Absence


class _Asked:
    """What one cache tier said in one search."""

    def __init__(self, guard: Guard, since: float, until: float) -> None:
        """`until` when its answers may be served, known before it is asked: a later look would lend them more (R7)."""
        self.guard, self.since, self.until = guard, since, until
        self.missed: list[str] = []
        self.unanswered: list[str] = []
        self.owed: list[str] = []

    def note(self, key: str, answer: Answer) -> None:
        """`answer` is no frame."""
        (self.missed if answer is None else self.owed if answer is OWED else self.unanswered).append(key)

    def take(self, keys: Sequence[str], said: Mapping[str, Said]) -> list[str]:
        """Note what the tier has said already; what it is still to be asked for."""
        left = []
        for key in keys:
            before = said.get(key)
            if before is None or before.guard is not self.guard:
                left.append(key)
            else:
                self.note(key, before.answer)
        return left


class Search:
    """Tier after tier is asked for what is still unknown, in one round trip each. For one thread, once."""

    def __init__(
        self,
        chain: Chain,
        answers: Answers,
        record: RecordReads,
        space: Space,
        keys: Sequence[str],
        started: float,
        events: int,
        *,
        failed: dict[str, StoreError] | None = None,
    ) -> None:
        """`events` are those of the namespace when the read `started`.

        With `failed`, the record's errors are put there, each for the keys that it concerns, and not raised.
        """
        self._chain, self._answers, self._record = chain, answers, record
        self._space, self._keys, self._started, self._events, self._failed = space, keys, started, events, failed
        self._found = dict[str, Found]()

    def run(self, said: Mapping[str, Said], *, caches: bool) -> dict[str, Found]:
        """What the tiers say of each key; what a cache tier has `said` already it is not asked again.

        Without `caches` these are asked nothing, since what they say was overtaken just now.
        """
        order, space = self._chain.order, self._space
        guards = order.asked
        asked = self._ask(guards, said, believed=caches and self._chain.trust.caches(self._started))
        if left := self._left():
            try:
                self._from_record(left, asked)
            except StoreError as error:
                if caches and may_serve(self._chain, error):
                    self.unproven(left, error)
                elif self._failed is None:
                    raise
                else:
                    self._failed.update(dict.fromkeys(left, error))
        if order.measured:
            order.pass_by(space, self._keys[0], guards, self._chain.clock.monotonic())
        return self._found

    def _left(self) -> list[str]:
        found = self._found
        return [key for key in self._keys if key not in found]

    def _ask(self, guards: Sequence[Guard], said: Mapping[str, Said], *, believed: bool) -> list[_Asked]:
        """Ask the cache tiers in their order, and promote what one has to those that missed it."""
        chain, asked, since = self._chain, list[_Asked](), monotonic()
        for guard in guards:
            if not (left := self._left()):
                break
            it = _Asked(guard, since, chain.trust.cache_until(self._started))
            left = it.take(left, said) if said else left
            if not believed or not chain.trust.proven(guard.passed_at) or self._is_late():
                it.unanswered += left
            elif left:
                self._ask_one(it, left, asked)
            asked.append(it)
        return asked

    def _is_late(self) -> bool:
        return self._chain.clock.monotonic() - self._started > self._chain.deadline

    def _ask_one(self, it: _Asked, keys: list[str], above: list[_Asked]) -> None:
        space, guard, generation = self._space, it.guard, self._space.generation
        good = self._sort(it, keys, guard.get_many(space, keys) if len(keys) > 1 else [guard.get(space, keys[0])])
        if above and good:
            self._owe(above, good)
            self._promote(generation, above, good)

    def _sort(self, it: _Asked, keys: Sequence[str], answers: list[Answer]) -> dict[str, bytes]:
        """Turn a cache tier's answers into findings, misses, or none; the frames that are good enough to promote.

        Damaged bytes are a counted miss. What is only unreadable here stays for those who can read it.
        """
        good, stats, name, found = dict[str, bytes](), it.guard.stats, it.guard.name, self._found
        space, of_cache = self._space, self._answers.of_cache
        started, until, events = self._started, it.until, self._events
        for key, answer in zip(keys, answers, strict=True):
            if not isinstance(answer, bytes):
                it.note(key, answer)
                continue
            try:
                found[key] = of_cache(space, key, answer, name, started, until, events)
            except Unreadable:
                stats.unanswered += 1
                it.unanswered.append(key)
            except CodecError:
                stats.corrupt += 1
                # Damage may have left the version intact, and then no put would replace it.
                (it.missed if it.guard.discard(space, key, answer) else it.unanswered).append(key)
            else:
                good[key] = answer
        count = answers.count(None)
        stats.misses += count
        count = len(good)
        stats.hits += count
        return good

    def _from_record(self, keys: Sequence[str], asked: list[_Asked]) -> None:
        """Ask the record; what a cache tier could not say it owes (R9), what it missed is promoted to it."""
        space, found = self._space, self._found
        generation, held = (self._record.fallen_through if asked else self._record.several)(space, keys)
        self._chain.learn(space, generation)
        frames, absent = dict[str, bytes](), dict[str, Absence]()
        for key, answer in zip(keys, held, strict=True):
            try:
                found[key] = self._answers.of_record(space, key, answer, self._started)
            except StoreUnavailable as error:
                if self._failed is None:
                    raise
                self._failed[key] = error
                continue
            if isinstance(answer, bytes):
                frames[key] = answer
            else:
                absent[key] = answer
        self._owe(asked, frames)
        self._owe_absences(asked, absent)
        self._promote(generation, asked, frames)

    def unproven(self, keys: Sequence[str], error: StoreError) -> dict[str, Found]:
        """What caches in service say, or memory, if it is newer; else the record's `error`.

        A debt is believed in: a write of this process, or one whose mark it has seen, is never passed over. But a tier that has
        what it is owed may say so, although nobody could settle it.
        """
        chain, space, found = self._chain, self._space, self._found
        for guard in chain.guards:
            left = [key for key in keys if key not in found]
            if left and chain.trust.proven(guard.passed_at):
                it = _Asked(guard, self._started, chain.trust.cache_until(self._started))
                self._sort(it, left, guard.get_paid(space, left))
        now = chain.clock.monotonic()
        for key in keys:
            at, slot = found.get(key), space.part.slots.get(key)
            if slot is not None and slot[6] > now and (at is None or slot[3] > at.version):
                at = Found(slot, chain.memory.name, slot[3])
            if at is not None:
                found[key] = Unproven(*at)
                space.stats.unproven += 1
            elif self._failed is None:
                raise error
            else:
                self._failed[key] = error
        return found

    def _owe(self, asked: list[_Asked], frames: Mapping[str, bytes]) -> None:
        """What these tiers could not say, and was then found below them, they owe (R9)."""
        name, found = self._space.name, self._found
        for tier in asked:
            for key in tier.unanswered:
                if key in frames:
                    tier.guard.owe(name, key, found[key].version)
            if skipped := [(key, found[key].version) for key in tier.owed if key in frames]:
                tier.guard.owe_again(self._space, skipped)

    def _owe_absences(self, asked: list[_Asked], absent: Mapping[str, Absence]) -> None:
        """R17: the tier may hold an old value by now. Without a mark it has accepted whatever removed the key."""
        for tier in asked:
            for key in (*tier.unanswered, *tier.owed, *tier.missed):
                it = absent.get(key)
                if it is not None and it.pending:
                    tier.guard.owe(self._space.name, key, it.version or MAX_VERSION)

    def _promote(self, generation: int, asked: list[_Asked], frames: Mapping[str, bytes]) -> None:
        """Give `frames` to the tiers that missed them; put-if-newer makes a late promotion harmless."""
        for tier in asked:
            items = [(key, frames[key]) for key in tier.missed if key in frames]
            if items:
                tier.guard.put(self._space.name, generation, items, tier.since, tell=False)


def may_serve(chain: Chain, error: StoreError) -> bool:
    """Whether what is above the record may answer instead of its `error`: not for damage, which is no outage."""
    return chain.serve_unproven and isinstance(error, StoreUnavailable) and error.reason.trips_breaker
