"""The background thread of a chain: looks, pays debts, probes tiers that are out of service, repairs and readmits them.

A *look* at the record's generations and pending marks, some times within the staleness bound, is how what another
process could not publish is noticed here (PROTOCOL R7), and how the writes of a process that died are replayed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from threading import Event, Lock, Thread

from tiered.chain import Chain, Space
from tiered.errors import ConfigError, Reason, StoreError, without_tier
from tiered.forks import Forking, register
from tiered.observability.events import transition
from tiered.replication.guard import Guard
from tiered.replication.notes import Notes
from tiered.replication.outlook import Outlook
from tiered.replication.replay import Replay
from tiered.tiers.base import Claimable, Telling, generations_of

logger = logging.getLogger(__name__)

PAUSE = 0.4
"""Seconds between two looks, at most: a key that was pending in two of them is owed, well within the staleness bound."""
BUMPS = {
    "marks_lost": "debts could not be counted",
    "server_changed": "the server was restarted or replaced",
    "journal_full": "more writes were pending than the journal takes",
    "record_restored": "the store of record was put back to an older state",
}
CLAIMS = 120.0
"""Seconds after which claims are renewed in the cache tiers, where they expire."""


class Keeper(Forking):
    """Looks after the remote cache tiers of a chain. Starts on first use; `stop` ends it. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._replay = Replay(chain)
        self._pause = min(PAUSE, chain.trust.staleness / 4)
        self._believed: dict[str, str] = {}
        self.after_fork_in_child()
        register(self)

    def after_fork_in_child(self) -> None:
        """Nothing is started and nothing is known; so it is at first, too."""
        self._outlooks = {guard.name: Outlook(self._chain, guard) for guard in self._chain.guards}
        self._stop = Event()
        self._lock = Lock()  # guards the beginning, and the start and the end of the thread
        self._thread: Thread | None = None
        self._met, self._attempts = False, 0
        self._failure: StoreError | None = None
        """Of the last of so many attempts to begin."""
        self._built_on: set[str] = set()
        self._claims_until: dict[tuple[str, str], float] = {}
        self._tickets: dict[str, int] = {}
        self._told = set[str]()
        """What the record keeps from being done at present, and was told."""
        self._notes = Notes(self._chain)

    def enter(self, space: Space) -> None:
        """Before the first use of a namespace: whose it is in each cache tier, and since which generation.

        Raises `ConfigError` if a cache tier keeps this namespace for another store of record.
        """
        if not self._chain.guards:
            space.ready = True
            return
        attempts = self._attempts
        with self._lock:
            if not self._met:
                self._try_to_begin(attempts)
            running = self._spawn()
        self._chain.learn(space, self._chain.record.generation(space.name))
        for guard in self._chain.guards:
            if guard.breaker.closed:
                self._claim(guard, space)
        space.ready = running

    def stop(self) -> None:
        """End the thread and write out confirmations that still wait."""
        with self._lock:
            thread, self._thread, self._met = self._thread, None, True
        self._stop.set()
        if thread is not None:
            thread.join(timeout=5.0)
            self._notes.write_last()
        self._flush()

    def look(self) -> None:
        """One round; public so that tests can go round by hand."""
        self._flush()
        self._watch()
        for guard in self._chain.guards:
            if not guard.breaker.closed:
                if guard.breaker.probe_due():
                    self._readmit(guard)
            else:
                self._pay(guard)
                self._renew_claims(guard)
                self._notes.write(guard)
        self._chain.order.measure()

    def replay(self, guard: Guard) -> int:
        """Give a tier now what it lacks, and what it did not take before; how many entries. Raises `StoreError`."""
        guard.refusals.hurry()
        return self._replay.run(guard)

    # Private

    def _try_to_begin(self, attempts: int) -> None:
        """For who has come after so many `attempts`. One more since was under way then, and his, too: to wait is enough."""
        if self._failure is not None and self._attempts != attempts:
            raise copy(self._failure) from self._failure.__cause__
        try:
            self._begin()
        except StoreError as error:
            self._failure = error
            self._attempts += 1
            raise

    def _begin(self) -> None:
        """The first look, before anything is believed; a tier that cannot be met is out of service from the start."""
        for guard in self._chain.guards:
            try:
                guard.identity = guard.tier.probe()
                self._adopt(guard)
            except StoreError as error:
                if error.tier == self._chain.record.name:
                    raise
                guard.stats.failed("probe", error.reason)
                guard.trip(told := without_tier(error, guard.name))
                message, facts = "%s: out of service from the start: %s", {"op": "probe", "error": error.reason}
                logger.warning(message, guard.name, told, extra=transition("opened", guard.name, **facts))
        self._watch()
        self._met = True

    def _spawn(self) -> bool:
        """Whether the thread runs; without it no tier is believed for longer than the staleness bound, and none comes back."""
        if self._thread is None:
            thread = Thread(target=self._run, name="tiered-keeper", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the process may have no more; the next call tries again
                logger.warning("the thread that looks after cache tiers cannot start: %s", error)
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        blind = False
        while not self._stop.wait(self._pause):
            try:
                self.look()
                if blind:
                    name = self._chain.record.name
                    logger.warning(
                        "the keeper can look at the store of record again", extra=transition("record_back", name)
                    )
                blind = False
            except StoreError as error:
                if not blind:
                    message = "the keeper cannot look at the store of record: %s"
                    logger.warning(message, error, extra=transition("record_lost", error.tier, error=error.reason))
                blind = True
            except Exception:  # whatever a third party's tier raises: without a keeper no tier would ever come back
                logger.exception("the keeper met an unexpected error and goes on")

    def _flush(self) -> None:
        journal = self._chain.record.journal
        if journal is not None:
            with self._telling_once("the journal could not be brought up to date"):
                journal.flush()

    @contextmanager
    def _telling_once(self, trouble: str) -> Iterator[None]:
        """What the record does not do in one look it mostly does not in the next, some times a second: that is no news."""
        try:
            yield
        except StoreError as error:
            if trouble not in self._told:
                logger.warning("%s: %s", trouble, error)
            self._told.add(trouble)
        else:
            self._told.discard(trouble)

    def _watch(self) -> None:
        """Look at the record: generations, marks, and whether each tier is still the one that is believed in."""
        started = self._chain.clock.monotonic()
        adopted = self._adopted()  # before the generations, which adoption changes
        for outlook in self._outlooks.values():
            outlook.look()
        self._learn_generations()  # after the marks: those that a new generation has ended are not missed
        self._chain.trust.look(started, adopted=adopted)

    def _learn_generations(self) -> None:
        """Of every namespace that is in use here."""
        spaces = [space for space in self._chain.spaces() if space.generation]
        generations = generations_of(self._chain.record, [space.name for space in spaces])
        for space, generation in zip(spaces, generations, strict=True):
            if generation > space.generation:
                self._chain.learn(space, generation)

    def _adopted(self) -> bool:
        """Whether every cache tier is adopted: else a writer whose own chain lacks it leaves no mark.

        Of the one that tells, the data that this process believes in: messages of another say nothing of what is written.
        """
        journal, guards = self._chain.record.journal, self._chain.guards
        if journal is None:
            return False
        adopted = [journal.adopted(guard.name) for guard in guards]
        teller = next((n for n, guard in enumerate(guards) if isinstance(guard.tier, Telling)), None)
        heard = teller is None or adopted[teller] == guards[teller].identity
        return heard and None not in adopted

    def _pay(self, guard: Guard) -> None:
        """A tier in service: what it has been owed since the last look, so no write that is just under way."""
        since, self._tickets[guard.name] = self._tickets.get(guard.name, 0), guard.owed.ticket
        with self._telling_once(f"{guard.name}: stays owed"):
            try:
                self._replay.pay(guard, since)
                guard.denied = ""
            except StoreError as error:
                if error.tier != guard.name:
                    raise
                guard.failed("replay", error)
                guard.denied = without_tier(error, guard.name) if error.reason is Reason.MISUSE else ""

    def _readmit(self, guard: Guard) -> None:
        """Probe → new generation if its data changed → replay → in service again (R10: nobody reads it before)."""
        guard.belief += 1  # before another run can be reached: what is on its way now was built for the old one
        try:
            guard.identity = guard.tier.probe()
            self._adopt(guard)
            for space in self._in_use():
                self._claim(guard, space)
            replayed = self._replay.run(guard)
        except (StoreError, ConfigError) as error:
            guard.breaker.probe_failed()
            self._tell_why(guard, error)
            return
        except BaseException:  # of a third party's tier, or a bug: half-open, it would never be probed again
            guard.breaker.probe_failed()
            raise
        guard.breaker.close()
        guard.why = ""
        message = "%s: in service again, %d writes replayed"
        logger.warning(message, guard.name, replayed, extra=transition("closed", guard.name, replayed=replayed))

    def _tell_why(self, guard: Guard, error: Exception) -> None:
        """A probe that ends as the one before is no news."""
        told = without_tier(error, guard.name)
        if told != guard.why:
            guard.why = told
            level = logging.ERROR if isinstance(error, ConfigError) else logging.INFO
            logger.log(level, "%s: still out of service: %s", guard.name, told)

    def _adopt(self, guard: Guard) -> None:
        """Build on the data that the tier has now; under a new generation if it is another, or debts were uncounted."""
        assert guard.identity is not None
        record, debts, lost = self._chain.record, guard.owed.debts(), guard.owed.lost
        restored = self._notes.renew_if_lost(guard)
        known = record.journal is None or record.journal.adopted(guard.name) is not None
        guard.owed.recount()  # what is owed from here on counts again; nobody reads the tier yet
        try:
            changed = self._replaced(guard, guard.identity)
            if lost:
                record.bump()
        except BaseException:
            guard.owed.lost = lost
            raise
        self._learn_generations()  # also if another process was faster, and it did not change here
        if changed or lost:  # a record that starts anew has adopted nobody, and so it changed
            for debt in debts:
                guard.owed.settle(debt)
            if restored:
                self._tell_bump(guard, "record_restored")
            elif known or lost or guard.name in self._built_on:  # else nobody has met it before
                self._tell_bump(guard, "marks_lost" if lost else "server_changed" if known else "journal_full")
        self._built_on.add(guard.name)
        self._notes.write(guard, always=True)

    def _tell_bump(self, guard: Guard, reason: str) -> None:
        guard.stats.bumps[reason] += 1
        message = "%s: %s, so what it held is not read any more (new generation)"
        logger.info(message, guard.name, BUMPS[reason], extra=transition("new_generation", guard.name, reason=reason))

    def _replaced(self, guard: Guard, identity: str) -> bool:
        """Whether the record believed in other data of this tier, or none; now it believes in these."""
        journal = self._chain.record.journal
        if journal is not None:
            return journal.adopt(guard.name, identity)
        changed = self._believed.get(guard.name, identity) != identity
        if changed:
            self._chain.record.bump()
        self._believed[guard.name] = identity
        return changed

    def _renew_claims(self, guard: Guard) -> None:
        """Each some time after it was made or renewed: so they are not all due in one look."""
        now, until, name = self._chain.clock.monotonic(), self._claims_until, guard.name
        try:
            for space in self._in_use():
                if now >= until.get((name, space.name), 0.0):
                    self._claim(guard, space)
        except ConfigError as error:
            guard.trip(told := without_tier(error, guard.name))
            logger.error("%s: out of service: %s", guard.name, told, extra=transition("opened", guard.name, op="claim"))

    def _in_use(self) -> list[Space]:
        """Of others it is only heard, and one is a record's own, which every store has under the same name."""
        return [space for space in self._chain.spaces() if space.ready]

    def _claim(self, guard: Guard, space: Space) -> None:
        """One namespace in one cache tier is one store's: two records there would give the same versions twice."""
        tier, journal = guard.tier, self._chain.record.journal
        if not isinstance(tier, Claimable) or journal is None:
            return
        identity = journal.identity
        self._claims_until[guard.name, space.name] = self._chain.clock.monotonic() + CLAIMS
        try:
            owner = tier.claim(space.name, identity)
        except StoreError as error:
            guard.failed("claim", error)
            return
        guard.refused = ""
        if owner != identity:
            guard.refused = (
                f"{guard.name}: namespace {space.name!r} belongs to another store of record ({owner[:8]}…, this one is"
                f" {identity[:8]}…): two hosts with their own files, or a directory that was made anew. Give this one another"
                " namespace or prefix (several hosts: docs/configuration.md). If the other store is gone, its claim ends some"
                f" minutes after its last use, or when you delete the key {tier.claim_key(space.name)}"
            )
            raise ConfigError(guard.refused)
