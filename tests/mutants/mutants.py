"""The list: what is taken out, of which rule (docs/protocol.md), and the tests that must notice."""

from __future__ import annotations

from typing import NamedTuple

UNIT = (
    "tests/unit/test_staleness.py",
    "tests/unit/test_keeper.py",
    "tests/unit/test_outlook.py",
    "tests/unit/test_replay.py",
    "tests/unit/test_refusals.py",
)
PARTS = (
    "tests/unit/test_inflight.py",
    "tests/unit/test_trust.py",
    "tests/unit/test_owed.py",
    "tests/unit/test_file_journal.py",
)
FOUND = ("tests/faults/test_chaos_findings.py",)
REDIS = "tests/unit/test_redis_tier.py::test_"
NEWER = (REDIS + "only_a_newer_version_replaces",)
LATE = (REDIS + "a_put_of_what_was_committed_long_ago_is_refused_by_the_server",)
TOLD = (REDIS + "a_put_tells_its_version_whether_or_not_it_stored_anything",)
ANOTHER_RUN = (
    REDIS + "another_run_of_the_server_is_not_believed",
    REDIS + "connections_to_a_master_that_was_replaced_are_not_used_though_it_answers",
)
REPLACED = ("tests/faults/test_replaced_masters.py",)
RESTORED = ("tests/faults/test_restored_record.py",)
LOADS = ("tests/integration/test_get_or_set.py::test_an_interrupted_loader_leaves_its_thread_free_to_load_again",)
INTENTS = ("tests/unit/test_intents.py",)
AWAITED = ("tests/integration/test_redis_awaited.py",)
CONVERSATION = ("tests/unit/test_redis_conversation.py",)
ORDER = ("tests/unit/test_read_order.py",)
OWED_READS = ("tests/unit/test_owed_reads.py",)
STRESS = ("tests/unit/test_races.py",)
TOGETHER = ("tests/unit/test_updates_together.py",)
PUT_BACK = ("tests/unit/test_restored_file.py",)
ON_THE_WAY = ("tests/integration/test_writes_in_progress.py",)


COUCHBASE = "tests/unit/test_couchbase_tier.py::test_"
CLEARED = (COUCHBASE + "nobody_writes_where_a_clear_has_been",)
BUMPED = (COUCHBASE + "a_write_that_is_overtaken_by_a_bump_goes_to_the_caches_of_the_new_generation",)
HOSTS = ("tests/faults/test_couchbase_hosts.py",)
LATE_WRITE = ("tests/faults/test_couchbase_outage.py::test_a_write_that_arrives_late_is_seen_by_all_tiers",)


class Mutant(NamedTuple):
    rule: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_R = "tiered/replication/"

MUTANTS = [
    Mutant("R7", "other hosts are not told what a cache lacks", "tiered/writing.py",
           "self._chain.tell_hosts(guard, space, [key for key, _ in items])", "pass", HOSTS),
    Mutant("R7", "a tier that is lost for all hosts is believed", "tiered/tiers/intent_journal.py",
           "self.hosts.lost(tier)", "False", HOSTS),
    Mutant("R8", "a change of the generation waits for nobody", "tiered/tiers/couchbase_generations.py",
           "WAIT = 1.2 * LEASE", "WAIT = 0.0", CLEARED),
    Mutant("R8", "an announced change lets others believe", "tiered/tiers/couchbase_generations.py",
           "until=started if state.changing else started + LEASE", "until=started + LEASE", CLEARED),
    Mutant("R8", "a commit keeps the generation that it began with", "tiered/tiers/couchbase_record.py",
           "still = after if after.space(namespace) == state.space(namespace) else state", "still = state", BUMPED),
    Mutant("R13", "a doubt ends while the record does not answer", "tiered/tiers/intent_tidying.py",
           "if doubts and not self._answers():", "if False:", LATE_WRITE),
    Mutant("R8", "a record that came back old is believed", "tiered/tiers/intent_journal.py",
           "if not run or run == known:", "if True:", RESTORED),
    Mutant("R13", "an adoption goes on although the tier was given up meanwhile", "tiered/tiers/intent_tables.py",
           "WHERE tier = ? AND identity IN (?, ?)\"", "WHERE tier = ? AND ? || ? <> ''\"", ("tests/unit/test_intents.py",)),
    Mutant("R8", "generations are counted, and so come twice", "tiered/tiers/renew.lua",
           "math.max(clock, tonumber", "math.max(0, tonumber", RESTORED),
    Mutant("R8", "a directory that was put back is believed", _R + "notes.py",
           "while not all(map(record.knows,", "while not all(map(lambda _: True,", PUT_BACK),
    Mutant("R8", "where a record is is noted nowhere", _R + "notes.py", "tier.note(line, place)", "None", PUT_BACK),
    Mutant("R8", "a copy that is in use with the store is believed", _R + "notes.py",
           "if found is not None and not record.knows(found):", "if False:", PUT_BACK),
    Mutant("R8", "a copy does not hear that the store has left", _R + "notes.py",
           "        tier.note(line, LEFT)\n", "", PUT_BACK),
    Mutant("R8", "who writes nothing does not look for copies", _R + "notes.py",
           "found = tier.noted(line)", "found = None", PUT_BACK),
    Mutant("R8", "where a record is is noted at looks only", _R + "keeper.py",
           "        self._notes.write(guard, always=True)\n", "", PUT_BACK),
    Mutant("R8", "of two that find it, both start a store anew", "tiered/tiers/file_session.py",
           "if line_of(self.connection) != line:", "if False:", PUT_BACK),
    Mutant("R8", "a store that wrote more than it lost is believed", "tiered/tiers/file_history.py",
           "number > :number AND found < :version", "number > :number AND found < 0", PUT_BACK),
    Mutant("R8", "another session in the place of one that was lost is believed", "tiered/tiers/file_history.py",
           "WHERE number = :number) = :id)", "WHERE number = :number) = :id OR 1)", PUT_BACK),
    Mutant("R8", "a process that sees its store go back goes on", _R + "notes.py",
           "and not record.knows(self._seen[guard.name]):", "and False:", PUT_BACK),
    Mutant("R8", "a line that was left is believed again", "tiered/tiers/file_history.py",
           "return current > line", "return True", PUT_BACK),
    Mutant("R8", "a session that saw its store go back is in its books", "tiered/tiers/file_session.py",
           "if last < self._stored:", "if False:", PUT_BACK),
    Mutant("R8", "a store that starts anew comes to a line that another was on", _R + "notes.py",
           "restored = record.start_anew(line) or restored", "return record.start_anew(line)", PUT_BACK),
    Mutant("R8", "who adopts a cache after another learns nothing", _R + "keeper.py",
           "        self._learn_generations()  # also if", "        changed and self._learn_generations()  # also if", UNIT),
    Mutant("R8", "a clear that may have been made leaves memory", "tiered/core.py",
           "            self._forget_all()\n            raise", "            raise", STRESS),
    Mutant("place", "a file without a name takes writes", "tiered/tiers/file_writer.py",
           "if self._database.replaced():", "if False:", ("tests/faults/test_file_damage.py",)),
    Mutant("signals", "an interrupted load stays in the table", "tiered/loading.py",
           "                while stay.load is not None:", "                while stay.load is not None and (stay.load.copy or stay.load.error):", LOADS),
    Mutant("replay", "who stands still with the right to replay keeps it", _R + "replay.py",
           "if mine or self._overdue(guard.name) else 0", "if mine else 0", UNIT),
    Mutant("replay", "a probe that ends in an unknown error stays half-open", _R + "keeper.py",
           "            guard.breaker.probe_failed()\n            raise", "            raise", UNIT),
    Mutant(
        "R1", "a confirm clears a mark whatever its version", "tiered/tiers/file_session.py",
        "AND key = ? AND version = ? AND generation = ?", "AND key = ? AND ? AND ?", PARTS,
    ),
    Mutant(
        "R1", "a debt is paid by any version", _R + "owed.py",
        "if held is not None and held[0] <= version and not held[1]:", "if held is not None:", PARTS,
    ),
    Mutant(
        "R2", "a write below the floor enters memory", "tiered/writing.py",
        "elif not quiet and version < flights.floor(key, events):", "elif False:", STRESS,
    ),
    Mutant(
        "R2", "a read below the floor is returned", "tiered/reading.py",
        "overtaken = not quiet and version < flights.floor(key, events)", "overtaken = False", STRESS,
    ),
    Mutant(
        "R2", "an absence leaves the older entry in memory", "tiered/reading.py",
        "if held is not None and (held[3] <= version or (not version and held[5] <= started)):", "if False:", FOUND,
    ),
    Mutant(
        "R2", "memory takes an older version", "tiered/tiers/partitions.py",
        "if held[3] > slot[3]:", "if False:", ("tests/unit/test_memory_tier.py", *STRESS),
    ),
    Mutant(
        "R3", "a read is joined after a newer version was reached", _R + "inflight.py",
        "        if key in self.leaders:\n            del self.leaders[key]\n        held", "        held", (*PARTS, *FOUND),
    ),
    Mutant("R3", "emptying memory leaves reads to be joined", _R + "inflight.py",
           "        self.leaders.clear()\n        self._floors.clear()", "        self._floors.clear()", PARTS),
    Mutant(
        "R4", "what was under way when memory was emptied enters it", _R + "inflight.py",
        "        self.events += 1\n        self._horizon = self.events", "        self.events += 1", (*PARTS, *UNIT),
    ),
    Mutant(
        "R4", "no flush on reconnect", _R + "coherence.py",
        "                self._start_anew(space)\n                space.subscribed = False", "                pass", UNIT,
    ),
    Mutant(
        "R5", "messages drop nothing", _R + "coherence.py",
        "older = memory.drop_older(space.part, key, version)", "older = False", UNIT,
    ),
    Mutant("R5", "a message does not mark what is under way", _R + "coherence.py",
           "                flights.change(key, version)\n", "", UNIT),
    Mutant("R6", "a late put is taken", "tiered/tiers/put_if_newer.lua",
           "> not_after then return -1 end", "> not_after then end", LATE),
    Mutant("R6", "what is expired or deleted leaves no version behind", "tiered/tiers/base.py",
           "RETENTION_MS = 60_000", "RETENTION_MS = 1", ("tests/contract", "tests/unit/test_redis_tier.py")),
    Mutant(
        "R6", "the time of a put counts from its sending", "tiered/tiers/redis_link.py",
        "(time.monotonic() if since is None else since)", "time.monotonic()", LATE,
    ),
    Mutant("R6", "a put may take longer than what would refuse it stays", "tiered/tiers/redis.py",
           "return min(10 * timeout, RETENTION_MS / 2000, max_ttl / 2)", "return 10 * timeout", ON_THE_WAY),
    Mutant("R5", "the keys of messages are cut off by characters", "tiered/tiers/redis_subscription.py",
           'len(f"{self._prefix}:{namespace}:".encode())', 'len(f"{self._prefix}:{namespace}:")', ON_THE_WAY),
    Mutant("R7", "pending keys are not owed", _R + "outlook.py",
           "            self._guard.owe(mark.namespace, mark.key, mark.version)", "            pass", UNIT),
    Mutant("R7", "a first look owes nothing", _R + "outlook.py",
           "if before is None or (mark", "if before is not None and (mark", (*UNIT, *FOUND)),
    Mutant("R7", "pending keys stay in memory", _R + "outlook.py",
           "            self._chain.memory.drop_older(space.part, mark.key, mark.version)\n", "", UNIT),
    Mutant("R7", "the generation is not polled", _R + "keeper.py",
           "        self._learn_generations()  # after the marks", "        # after the marks", UNIT),
    Mutant("R7", "a look meets the generation before the marks", _R + "keeper.py",
           "        for outlook in self._outlooks.values():\n            outlook.look()\n        self._learn_generations()  # after",
           "        self._learn_generations()\n        for outlook in self._outlooks.values():\n            outlook.look()\n        # after", UNIT),
    Mutant("R7", "trust in what a cache gave ignores the looks", _R + "trust.py",
           "min(since, self.settled) + self.staleness", "since + self.staleness", (*PARTS, *UNIT)),
    Mutant("R8", "a put goes into the generation known before the commit", "tiered/writing.py",
           "            if commit.generation != space.generation:\n                chain.learn(space, commit.generation)\n",
           "            commit = commit._replace(generation=space.generation)\n", (*UNIT, *STRESS)),
    Mutant("R9", "what a cache tier could not say is not owed", "tiered/search.py",
           "                if key in frames:\n                    tier", "                if False:\n                    tier",
           ("tests/unit/test_read_together.py",)),
    Mutant("R9", "what was read past a debt that was paid meanwhile is not owed", _R + "guard.py",
           "if held.get(key, 0) < version]", "if (space.name, key) in self.owed]", OWED_READS),
    Mutant("R9", "a debt that was paid meanwhile is made again in any case", _R + "guard.py",
           "if held.get(key, 0) < version]", "]", OWED_READS),
    Mutant("R9", "what a cache tier below had is not owed above", "tiered/search.py",
           "            self._owe(above, good)\n", "", OWED_READS),
    Mutant("R7", "a look after the answer lends it more trust", "tiered/fetching.py",
           "found = self.made_of(space, key, asked, answer, started, until, events)",
           "found = self.made_of(space, key, asked, answer, started, chain.trust.cache_until(started), events)", OWED_READS),
    Mutant("R10", "the breaker closes before the replay", _R + "keeper.py",
           "            replayed = self._replay.run(guard)\n        except",
           "            guard.breaker.close()\n            replayed = 0\n        except", UNIT),
    Mutant("R11", "trust counts from the end of a read", _R + "trust.py",
           "        return since + self.staleness\n", "        return since + 2 * self.staleness\n", (*PARTS, *UNIT)),
    Mutant("R11", "a read is joined however old", "tiered/reading.py",
           "if started - flight.started > self._joinable:", "if False:", STRESS),
    Mutant("R11", "an entry has the deadline of a later one", "tiered/chain.py",
           "        if last <= until < last + self._grain:\n", "        if until < last + self._grain:\n", ("tests/unit/test_memory_tier.py",)),
    Mutant("R12", "a skipped put owes nothing", _R + "guard.py",
           "        self.owe_many(namespace, [(key, version_of(frame)) for key, frame in items])\n        if tell",
           "        self.owed.paid(namespace, [(key, version_of(frame)) for key, frame in items])\n        if tell", (*UNIT, *FOUND)),
    Mutant("R12", "settling an old sight of a debt settles it all", _R + "owed.py",
           "if held is not None and held[2] == debt.ticket:", "if held is not None:", PARTS),
    Mutant("R12", "confirmed whether or not Redis has answered", "tiered/writing.py",
           "if items and guard.put(space.name, commit.generation, items, since, tell=True):",
           "if items and (guard.put(space.name, commit.generation, items, since, tell=True) or True):", UNIT),
    Mutant("R13", "a read that passes an open tier owes nothing", _R + "guard.py",
           "            self.stats.skipped += 1\n            return OWED if self.breaker.closed else UNANSWERED\n        began", "            return None\n        began", (*UNIT, *FOUND)),
    Mutant("R13", "a write is seen before the caches owe it", "tiered/writing.py",
           "            self._owe(space, writes, commit)\n", "", STRESS),
    Mutant("R14", "a put that stored nothing tells nobody", "tiered/tiers/put_if_newer.lua",
           "if channel ~= '' then", "if channel ~= '' and results[1] == 1 then", TOLD),
    Mutant("R15", "a connection to another run is used", "tiered/tiers/redis_pool.py",
           "            if wire.run is self.run_id or self.run_id is None:", "            if True:", ANOTHER_RUN),
    Mutant("R15", "a connection is believed for as long as it lives", "tiered/tiers/redis_pool.py",
           "if time.monotonic() > wire.believed_until and", "if False and", REPLACED),
    Mutant("R15", "messages count, whichever server they are from", _R + "keeper.py",
           "adopted[teller] == guards[teller].identity", "True", REPLACED),
    Mutant("R15", "another run is believed as soon as it is met", "tiered/tiers/redis_pool.py",
           "self.run_id is not None:\n                raise Restarted", "self.run_id is not None:\n                self.run_id = wire.run", ANOTHER_RUN),
    Mutant("R15", "a loop believes its connection for ever", "tiered/tiers/redis_awaited.py",
           "if not it.over and self._believed(it.wire, now):", "if not it.over:", AWAITED),
    Mutant("R13", "a task asks a tier for what it owes", _R + "guard.py",
           "not self.breaker.closed or (self.owed and (space.name, key) in self.owed):\n            return None",
           "not self.breaker.closed:\n            return None", AWAITED),
    Mutant("R7", "an answer is trusted from the read, whatever was settled", _R + "trust.py",
           "return until if started > settled else started + self.staleness", "return started + self.staleness", PARTS),
    Mutant("R7", "a tier that reads passed by is asked at once", _R + "trust.py",
           "if started >= until or passed_at >= settled:", "if started >= until:", PARTS),
    Mutant("R9", "what a cache tier did not answer a task is a miss", "tiered/search.py",
           "self.missed if answer is None else self.owed if answer is OWED else self.unanswered", "self.missed", AWAITED),
    Mutant("R2", "what a task is given was overtaken while it asked", "tiered/reading.py",
           "return found if good else None", "return found", AWAITED),
    Mutant("R15", "what a loop was kept from asking in time is asked late", "tiered/tiers/redis_conversation.py",
           "if now > self.wire.believed_until + KEPT:", "if False:", CONVERSATION),
    Mutant("R15", "a reply that a signal broke off is missed in the order of those who wait", "tiered/tiers/redis_conversation.py",
           "                self.end(CLOSED)\n                raise", "                raise", CONVERSATION),
    Mutant("R18", "what a task gets of a later tier passes nobody by", "tiered/fetching.py",
           "guard.stats.hits += 1\n        if self._chain.order.measured:", "guard.stats.hits += 1\n        if False:", AWAITED),
    Mutant("R15", "an answer to an older belief counts", _R + "guard.py",
           "return frame if self.belief == belief else UNANSWERED", "return frame", UNIT),
    Mutant("R15", "belief is raised after another run was reached", _R + "keeper.py",
           "        guard.belief += 1  #", "        #", UNIT),
    Mutant("R15", "any run is believed by a process that starts", "tiered/tiers/file_session.py",
           'sql = "SELECT 1 FROM caches WHERE tier = ? AND identity = ?"', 'sql = "SELECT 1 WHERE ? = ? OR 1"', (*PARTS, *FOUND)),
    Mutant("R16", "a tombstone has a version of its own", _R + "replay.py",
           "self._grave(namespace, key).seal(it.version)", "self._grave(namespace, key).seal(1)", (*UNIT, *FOUND)),
    Mutant("R17", "an absence that is pending is not owed after a miss", "tiered/search.py",
           "if it is not None and it.pending:", "if False:", UNIT),
    Mutant("R18", "what was passed by is asked before it is proven", _R + "trust.py",
           "return self.staleness == math.inf or moment < self.settled", "return True", ORDER),
    Mutant("R18", "nobody notes that a tier was passed by", _R + "order.py",
           "                guard.passed_at = now\n", "                pass\n", ORDER),
    Mutant("order", "no version check in Redis", "tiered/tiers/put_if_newer.lua",
           "if hi > held_hi or (hi == held_hi and lo > held_lo) then", "if true then", NEWER),
    Mutant("order", "a replay that puts nothing confirms", _R + "replay.py",
           "results = guard.tier.put_many(f\"{namespace}:{generation}\", items, since=since, tell=True)\n", "results = [True]\n", UNIT),
    Mutant("order", "marks are left only for the chain's own tiers", "tiered/tiers/file_session.py",
           "[*marks, *(tier for tier in self._adopted if tier not in marks)]", "[*marks]", (*PARTS, *UNIT)),
    Mutant("order", "the journal has no limit", "tiered/tiers/file.py",
           "        self.journal.limit(self.max_pending)\n", "", PARTS),
    Mutant("order", "silence of the subscription is not noticed", _R + "coherence.py",
           "if now - answered > trust.staleness:", "if False:", UNIT),
    Mutant("R3", "a new generation leaves memory as it is", "tiered/chain.py",
           "                    self.memory.empty(space.part)\n                    space.flights.renew()", "                    pass", (*STRESS, *UNIT)),
    Mutant("R8", "a read does not learn its generation", "tiered/search.py",
           "        self._chain.learn(space, generation)\n        frames", "        frames", STRESS),
    Mutant("R7", "a commit leaves no marks", "tiered/tiers/file_session.py",
           "[*marks, *(tier for tier in self._adopted if tier not in marks)]", "[]", PARTS),
    Mutant("R7", "caches are believed before the first look", _R + "trust.py",
           "self.staleness == math.inf or now < self.settled + self.staleness", "True", PARTS),
    Mutant("R10", "half-open is closed", _R + "breaker.py",
           "            self._enter(State.HALF_OPEN)\n", "            self.state, self.closed = State.HALF_OPEN, True\n",
           ("tests/unit/test_breaker.py", *UNIT)),
    Mutant("R11", "memory of before the last proof is prolonged", _R + "trust.py",
           "proven + self.staleness if since <= proven else since", "proven + self.staleness", PARTS),
    Mutant("R12", "debts that were not counted leave the tier in service", _R + "guard.py",
           "if self.owed.lost and self.breaker.closed:", "if False:", UNIT),
    Mutant("R12", "what is set aside is not owed", _R + "guard.py",
           "        self.owe(namespace, key, version_of(frame))\n        self.stats.failed(OTHER", "        self.stats.failed(OTHER", UNIT),
    Mutant("R12", "a debt whose mark is pending is settled", _R + "replay.py",
           "if (debt.namespace, debt.key) not in pending:", "if True:", UNIT),
    Mutant("R13", "the record is asked before the intent is durable", "tiered/tiers/journaled.py",
           "        intents = self._intents.begin(namespace, [write.key for write in writes])\n        try:\n"
           "            commit = self._record.commit(namespace, writes, now=now)\n",
           "        try:\n            commit = self._record.commit(namespace, writes, now=now)\n"
           "            intents = self._intents.begin(namespace, [write.key for write in writes])\n", INTENTS),
    Mutant("R13", "intents of others are not noticed", _R + "outlook.py",
           "        self._notice_intents(pending, before)\n", "", INTENTS),
    Mutant("R13", "intents of others are noticed once", _R + "outlook.py",
           "        self._notice_intents(pending, before)\n", "        self._notice_intents(pending - (before or set()), before)\n",
           INTENTS),
    Mutant("R13", "the floor of an intent, above everything, stays", _R + "outlook.py",
           "                self._chain.space(namespace).flights.renew()", "                pass", INTENTS),
    Mutant("R13", "one's own intents are noticed", "tiered/tiers/intent_journal.py",
           "mine = self._store.writers.number if self._ready else _NO_WRITER", "mine = _NO_WRITER", INTENTS),
    Mutant("R13", "an intent whose writer lives is taken for a doubt", "tiered/tiers/intent_tidying.py",
           "                    if dead:", "                    if True:", INTENTS),
    Mutant("R13", "an intent of a dead writer stays for ever", "tiered/tiers/intent_tidying.py",
           "                    if dead:", "                    if False:", INTENTS),
    Mutant("R13", "a doubt ends at once", "tiered/tiers/intent_tidying.py", "now - since >= self._grace", "True", INTENTS),
    Mutant("R13", "an ambiguous write leaves nothing", "tiered/tiers/journaled.py",
           "            self._intents.doubt(intents)", "            self._intents.withdraw(intents)", INTENTS),
    Mutant("R13", "a dead writer's number is taken with its intents", "tiered/tiers/intent_journal.py",
           "        self._store.write(lambda db: tables.abandon_writer(db, writer), lazy=True)\n", "", INTENTS),
    Mutant("R1", "a doubt is confirmed with what came beside it", "tiered/tiers/intent_tables.py",
           '_CONFIRM_AT = "DELETE FROM marks WHERE place = ?"', '_CONFIRM_AT = "DELETE FROM marks WHERE ?"', INTENTS),
    Mutant("R13", "a full journal gives marks up under the same generation", "tiered/tiers/intent_tidying.py",
           "        self._record.bump()\n", "", INTENTS),
    Mutant("R14", "a write tells nobody", "tiered/writing.py", "items, since, tell=True):", "items, since, tell=False):", STRESS),
    Mutant("R14", "a replay tells nobody", _R + "replay.py", "since=since, tell=True)", "since=since, tell=False)", STRESS),
    Mutant("R15", "another run is not adopted", _R + "keeper.py", "return journal.adopt(guard.name, identity)", "return False", UNIT),
    Mutant("R15", "another run that others have adopted is not noticed", _R + "outlook.py",
           "guard.identity is not None and journal.adopted(guard.name) != guard.identity", "False", UNIT),
    Mutant("R16", "an absence that nobody dates gets a tombstone", _R + "replay.py",
           "if not keys:\n            return []", "if True:\n            return []", UNIT),
    Mutant("R16", "an absence that nobody dates overtakes nothing", "tiered/reading.py",
           "flights.reach(key, version or MAX_VERSION)", "flights.reach(key, version)", UNIT),
    Mutant("order", "memory has a write before the record", "tiered/writing.py",
           "        try:\n            commit = self._commit(",
           "        for write, value in zip(writes, values, strict=True):\n"
           "            slot = chain.slot(write.key, value, write.draft.payload, 1, 0, started, started + 60)\n"
           "            with chain.memory.lock:\n"
           "                chain.memory.admit(space.part, write.key, slot)\n"
           "        try:\n            commit = self._commit(", STRESS),
    Mutant("order", "the caches have a write before the record", "tiered/writing.py",
           "        try:\n            commit = self._commit(",
           "        for guard in chain.guards:\n"
           "            frames = [(it.key, it.draft.seal(1)) for it in writes]\n"
           "            guard.put(space.name, space.generation, frames, since, tell=True)\n"
           "        try:\n            commit = self._commit(", STRESS),
    Mutant("order", "a write that may have happened is not doubted", "tiered/writing.py",
           "            self._doubt(space, writes)\n            raise", "            raise", (*STRESS, *UNIT)),
    Mutant("order", "a lease is not kept alive", _R + "heartbeat.py", "                it.beat()", "                pass", ("tests/unit/test_leases.py",)),
    Mutant("order", "a version that came to nothing may be built on", "tiered/tiers/file_session.py",
           "            given.version = NOTHING_HAS\n", "            pass\n", ("tests/unit/test_file_tier.py",)),
    Mutant("order", "what was told is taken back by the next transaction", "tiered/tiers/file_session.py",
           "        self._given.clear()\n        self._stored", "        self._stored", ("tests/unit/test_file_tier.py",)),
    Mutant("order", "an update builds on what was never written", "tiered/tiers/file_session.py",
           "            expect = after.version\n", "            expect = self._last\n", TOGETHER),
    Mutant("order", "whoever comes builds on what cannot be written", "tiered/updating.py",
           "if line.broken or 0 <", "if 0 <", TOGETHER),
    Mutant("order", "updates share what they change", "tiered/updating.py",
           "self._chain.codec.decode(draft.payload)", "turn.base.value", TOGETHER),
    Mutant("order", "a function's error about what may never be is raised", "tiered/updating.py",
           "if held.after is None:", "if True:", TOGETHER),
]  # fmt: skip
