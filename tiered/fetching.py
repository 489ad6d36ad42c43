"""Asking tier after tier: the cache tiers that may be asked, then the store of record, then promotion upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any

from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION
from tiered.errors import CodecError, Reason, StoreError, StoreUnavailable, Unreadable, Untrusted
from tiered.found import Found, Said, Unproven
from tiered.replication.guard import OWED, Answer, Guard
from tiered.tiers.base import Absence

NO_VERSION = Absence(0, pending=True)
_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class _Asked:
    """What one cache tier said in one read."""

    def __init__(self, guard: Guard, since: float, until: float) -> None:
        """`until` when its answers may be served, known before it is asked: a later look would lend them more (R7)."""
        self.guard, self.since, self.until = guard, since, until
        self.missed: list[str] = []
        self.unanswered: list[str] = []
        self.owed: list[str] = []

    def note(self, key: str, answer: Answer) -> None:
        """`answer` is no frame."""
        (self.missed if answer is None else self.owed if answer is OWED else self.unanswered).append(key)


class Fetcher:
    """Reads below memory, without coordination between them. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._now = chain, chain.clock.monotonic
        self._reads = chain.record_stats.durations["read"]

    def fetch_one(self, space: Space, key: str, started: float, events: int) -> Found:
        """`fetch` of one key; as a rule it is one question, to the first cache tier or, where none is asked, to the record."""
        chain, (asked, until) = self._chain, self.first(started)
        if until:
            answer = asked[0].get(space, key)
            found = self.made_of(space, key, asked, answer, started, until, events)
            if isinstance(found, Found):
                return found
            return self.fetch(space, (key,), started, events, said={} if found is None else {key: found})[key]
        if asked:
            return self.fetch(space, (key,), started, events)[key]
        try:
            generation, frame = self._read_one(space, key, started)
            if generation != space.generation:
                chain.learn(space, generation)
            held = self._absences(space, (key,))[0] if frame is None else frame
        except StoreUnavailable as error:
            if not self._may_serve(error):
                raise
            found_above: dict[str, Found] = {}
            self._without_record(space, [key], started, events, found_above, None, error)
            return found_above[key]
        found = self._of_record(space, key, held, started)
        if chain.order.measured:
            self._passed_by(space, key, asked)
        return found

    def first(self, started: float) -> tuple[list[Guard], float]:
        """The cache tiers that a read asks, and until when the answer of the first may be served; 0.0: it must not be asked."""
        asked = self._chain.order.asked
        return asked, self._chain.trust.first_until(started, asked[0].passed_at) if asked else 0.0

    def made_of(
        self, space: Space, key: str, asked: list[Guard], answer: Answer, started: float, until: float, events: int
    ) -> Found | Said | None:
        """What the `answer` of the first of `asked` is worth, which may be served `until` then (`_Asked`); None if it is for
        `fetch` to look at it."""
        guard = asked[0]
        if not isinstance(answer, bytes):
            if answer is None:
                guard.stats.misses += 1
            return Said(guard, answer)
        try:
            found = self._open(space, key, answer, guard.name, started, until)
            self._refuse_replayed(space, key, found, started, events)
        except CodecError:
            return None
        guard.stats.hits += 1
        if self._chain.order.measured:
            self._passed_by(space, key, asked)
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
        said: Mapping[str, Said] = MappingProxyType({}),
    ) -> dict[str, Found]:
        """What the tiers say of each of `keys`, asked one after the other for what is still unknown.

        With `failed`, the record's errors are put there, each for the keys that it concerns, and not raised. What a tier
        has `said` already it is not asked again. `events` are those of the namespace when the read `started`.
        """
        chain, found, guards = self._chain, dict[str, Found](), self._chain.order.asked
        asked = self._ask(
            guards, space, keys, started, events, found, said, caches=caches and chain.trust.caches(started)
        )
        left = [key for key in keys if key not in found]
        if left:
            try:
                self._from_record(space, left, started, found, asked, failed)
            except StoreError as error:
                if caches and self._may_serve(error):  # without caches: what they say was overtaken just now
                    self._without_record(space, left, started, events, found, failed, error)
                elif failed is None:
                    raise
                else:
                    failed.update(dict.fromkeys(left, error))
        if chain.order.measured:
            self._passed_by(space, keys[0], guards)
        return found

    def _may_serve(self, error: StoreError) -> bool:
        """Whether what is above the record may answer instead of `error`: not for damage, which is no outage."""
        return self._chain.serve_unproven and isinstance(error, StoreUnavailable) and error.reason.trips_breaker

    def _without_record(
        self,
        space: Space,
        keys: list[str],
        started: float,
        events: int,
        found: dict[str, Found],
        failed: dict[str, StoreError] | None,
        error: StoreError,
    ) -> None:
        """What caches in service say, or memory, if it is newer; else the record's `error`.

        A debt is believed in: a write of this process, or one whose mark it has seen, is never passed over. But a tier that has
        what it is owed may say so, although nobody could settle it.
        """
        chain = self._chain
        for guard in chain.guards:
            left = [key for key in keys if key not in found]
            if left and chain.trust.proven(guard.passed_at):
                it = _Asked(guard, started, chain.trust.cache_until(started))
                self._sort(space, it, left, guard.get_paid(space, left), started, events, found)
        now = chain.clock.monotonic()
        for key in keys:
            at, slot = found.get(key), space.part.slots.get(key)
            if slot is not None and slot[6] > now and (at is None or slot[3] > at.version):
                at = Found(slot, chain.memory.name, slot[3])
            if at is not None:
                found[key] = Unproven(*at)
                space.stats.unproven += 1
            elif failed is None:
                raise error
            else:
                failed[key] = error

    def _ask(
        self,
        guards: list[Guard],
        space: Space,
        keys: Sequence[str],
        started: float,
        events: int,
        found: dict[str, Found],
        said: Mapping[str, Said],
        *,
        caches: bool,
    ) -> list[_Asked]:
        """Ask the cache tiers in their order, and promote what one has to those that missed it."""
        chain, asked, since = self._chain, list[_Asked](), monotonic()
        for guard in guards:
            left = [key for key in keys if key not in found]
            if not left:
                break
            it = _Asked(guard, since, chain.trust.cache_until(started))
            if said:
                left = self._take(it, left, said)
            if (
                not caches
                or not chain.trust.proven(guard.passed_at)
                or chain.clock.monotonic() - started > chain.deadline
            ):
                it.unanswered += left
            elif left:
                generation = space.generation
                answers: list[Answer] = guard.get_many(space, left) if len(left) > 1 else [guard.get(space, left[0])]
                good = self._sort(space, it, left, answers, started, events, found)
                if asked and good:
                    self._owe(space, asked, {key: found[key].version for key in good})
                    self._promote(space, generation, asked, good)
            asked.append(it)
        return asked

    def _take(self, it: _Asked, keys: list[str], said: Mapping[str, Said]) -> list[str]:
        """Note what the tier has said already; what it is still to be asked for."""
        left = []
        for key in keys:
            before = said.get(key)
            if before is None or before.guard is not it.guard:
                left.append(key)
            else:
                it.note(key, before.answer)
        return left

    def _sort(
        self,
        space: Space,
        it: _Asked,
        keys: list[str],
        answers: list[Answer],
        started: float,
        events: int,
        found: dict[str, Found],
    ) -> dict[str, bytes]:
        """Turn a cache tier's answers into findings, misses, or none; the frames that are good enough to promote.

        Damaged bytes are a counted miss. What is only unreadable here stays for those who can read it.
        """
        good, stats, name = dict[str, bytes](), it.guard.stats, it.guard.name
        until, open_ = it.until, self._open
        for key, answer in zip(keys, answers, strict=True):
            if not isinstance(answer, bytes):
                it.note(key, answer)
            else:
                try:
                    opened = open_(space, key, answer, name, started, until)
                    self._refuse_replayed(space, key, opened, started, events)
                except Unreadable:
                    stats.unanswered += 1
                    it.unanswered.append(key)
                except CodecError:
                    stats.corrupt += 1
                    # Damage may have left the version intact, and then no put would replace it.
                    (it.missed if it.guard.discard(space, key, answer) else it.unanswered).append(key)
                else:
                    found[key], good[key] = opened, answer
        count = answers.count(None)
        stats.misses += count
        count = len(good)
        stats.hits += count
        return good

    def _from_record(
        self,
        space: Space,
        keys: list[str],
        started: float,
        found: dict[str, Found],
        asked: list[_Asked],
        failed: dict[str, StoreError] | None,
    ) -> None:
        """Ask the record; what a cache tier could not say it owes (R9), what it missed is promoted to it."""
        generation, held = (self._fall_through if asked else self._read_record)(space, keys)
        self._chain.learn(space, generation)
        answers = dict(zip(keys, held, strict=True))
        for key in keys:
            try:
                found[key] = self._of_record(space, key, answers[key], started)
            except StoreUnavailable as error:
                if failed is None:
                    raise
                failed[key] = error
                del answers[key]
        frames = {key: answer for key, answer in answers.items() if isinstance(answer, bytes)}
        absent = {key: it for key, it in answers.items() if isinstance(it, Absence)}
        self._owe(space, asked, {key: found[key].version for key in frames})
        for tier in asked:
            for key in (*tier.unanswered, *tier.owed, *tier.missed):
                it = absent.get(key)
                # R17: it may hold an old value by now. Without a mark it has accepted whatever removed the key.
                if it is not None and it.pending:
                    tier.guard.owe(space.name, key, it.version or MAX_VERSION)
        self._promote(space, generation, asked, frames)

    def _fall_through(self, space: Space, keys: list[str]) -> tuple[int, list[bytes | Absence]]:
        """`_read_record` for a read that comes from cache tiers, which as a rule keep most away from there; so many at once."""
        chain = self._chain
        if (place := chain.record_calls.acquire(timeout=chain.deadline)) is None:
            message = "too many calls wait for the store of record already; this one was not asked"
            raise StoreUnavailable(message, tier=chain.record.name, reason=Reason.BUSY)
        try:
            return self._read_record(space, keys)
        finally:
            chain.record_calls.release(place)

    def _read_record(self, space: Space, keys: list[str]) -> tuple[int, list[bytes | Absence]]:
        """The record's generation and answers."""
        frames: list[bytes | None]
        if len(keys) == 1:
            generation, frame = self._read_one(space, keys[0], self._chain.clock.monotonic())
            frames, missing = [frame], keys if frame is None else []
        else:
            generation, frames = self._read_several(space, keys)
            missing = list(key for key, frame in zip(keys, frames, strict=True) if frame is None)
        absences = iter(self._absences(space, missing) if missing else ())
        return generation, [next(absences) if frame is None else frame for frame in frames]

    def _read_one(self, space: Space, key: str, began: float) -> tuple[int, bytes | None]:
        try:
            answer = self._chain.record.read(space.name, key)
        except StoreError as error:
            self._chain.record_stats.failed("read", error.reason, self._now() - began, reads=1)
            raise
        self._reads.observe(self._now() - began)
        return answer

    def _read_several(self, space: Space, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        chain, began = self._chain, self._chain.clock.monotonic()
        try:
            answer = chain.record.read_many(space.name, keys)
        except StoreError as error:
            chain.record_stats.failed("read_many", error.reason, chain.clock.monotonic() - began, reads=len(keys))
            raise
        chain.record_stats.timed("read_many", chain.clock.monotonic() - began)
        return answer

    def _absences(self, space: Space, keys: Sequence[str]) -> Sequence[bytes | Absence]:
        """Since which version the record has none of `keys` (R16); what was written meanwhile is there now."""
        journal = self._chain.record.journal
        if journal is None:
            return [NO_VERSION] * len(keys)
        generation, held = journal.absences(space.name, keys)
        self._chain.learn(space, generation)  # of this snapshot: marks that it lacks may have been given up (R8)
        return held

    def _of_record(self, space: Space, key: str, held: bytes | Absence, started: float) -> Found:
        """What the record's answer means; damage there is an error, never a miss."""
        name, stats = self._chain.record.name, self._chain.record_stats
        if type(held) is not bytes:
            stats.misses += 1
            return Found(None, name, held.version)  # type: ignore[union-attr]  # an Absence
        count = len(held)
        stats.read_bytes += count
        try:
            found = self._open(space, key, held, name, started, started + self._chain.trust.staleness)
        except CodecError as error:
            raise self._chain.unusable(error) from error
        if found[0] is None:
            stats.misses += 1
        else:
            stats.hits += 1
        return found

    def _open(self, space: Space, key: str, frame: bytes, tier: str, started: float, until: float) -> Found:
        chain = self._chain
        flags, codec, version, expires_at, _, payload = entry = space.frames.open(frame, key)
        if (flags or expires_at) and entry.absent(chain.clock.now()):
            slot = None
        elif codec == chain.codec.id:
            slot = chain.slot(key, chain.codec.decode(payload), payload, version, expires_at, started, until)
        else:
            raise chain.foreign(codec)
        return _new(Found, (slot, tier, version))  # type: ignore[no-any-return]  # Found

    def _passed_by(self, space: Space, key: str, asked: list[Guard]) -> None:
        """Before an answer is returned: it may be newer than what the tiers have that were not `asked`.

        The order may have changed since the read began.
        """
        chain, now = self._chain, self._chain.clock.monotonic()
        chain.order.sample = space, key
        for guard in chain.guards:
            if guard not in asked:
                guard.passed_at = now

    def _refuse_replayed(self, space: Space, key: str, opened: Found, started: float, events: int) -> None:
        """A frame that was right once, put back by somebody: memory held something newer before this read began.

        What it got since may be of a write that began before.
        """
        held = space.part.slots.get(key)
        if held is not None and held[3] > opened[2] and held[5] <= started and not space.flights.floor(key, events):
            raise Untrusted("older than what this process has seen")

    def _owe(self, space: Space, asked: list[_Asked], versions: Mapping[str, int]) -> None:
        """What these tiers could not say, and was then found below them in these `versions`, they owe (R9)."""
        for tier in asked:
            for key in tier.unanswered:
                if key in versions:
                    tier.guard.owe(space.name, key, versions[key])
            if skipped := [(key, versions[key]) for key in tier.owed if key in versions]:
                tier.guard.owe_again(space, skipped)

    def _promote(self, space: Space, generation: int, asked: list[_Asked], frames: dict[str, bytes]) -> None:
        """Give `frames` to the tiers that missed them; put-if-newer makes a late promotion harmless."""
        for tier in asked:
            items = [(key, frames[key]) for key in tier.missed if key in frames]
            if items:
                tier.guard.put(space.name, generation, items, tier.since, tell=False)
