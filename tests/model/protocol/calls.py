"""What callers do: reads (reading.py), writes (writing.py) and clear() (backend.py), one interleaving point per step."""

from __future__ import annotations

from tests.model.protocol.link import OK, put_if_newer, send
from tests.model.protocol.model import NAMES, Model, Steps, become, begin, owe, paid
from tests.model.protocol.state import CLOSED, HALF_OPEN, MAX_VERSION, OPEN, Frame, Op, Process, Put, World

READS, WRITES = ("get", "batch"), ("set", "delete")
RETRIES = 2


def steps(m: Model, w: World, i: int) -> Steps:
    if len(w.processes[i].ops) < m.scenario.threads:
        yield from _starts(m, w, i)
    for op in dict.fromkeys(w.processes[i].ops):
        yield from _STEPS[op.at](m, w, i, op)


def _starts(m: Model, w: World, i: int) -> Steps:
    early = m.scenario.after and w.due <= 1
    for call in READS:
        if m.may(w, f"{NAMES[i]}.{call}") and not early:
            yield from _read(m, m.spend(w, f"{NAMES[i]}.{call}"), i, call)
    for call in WRITES:
        if m.may(w, f"{NAMES[i]}.{call}"):
            yield from _write(m, m.spend(w, f"{NAMES[i]}.{call}"), i, call)
    if m.may(w, f"{NAMES[i]}.clear"):
        yield from _clear(m, m.spend(w, f"{NAMES[i]}.clear"), i)


# Reads


def _read(m: Model, w: World, i: int, call: str) -> Steps:
    """Memory, or a flight that is under way, or one's own."""
    p = w.processes[i]
    who = f"{NAMES[i]}.{call}"
    if m.served(p):
        yield f"{who} finds v{p.memory} in memory", _returned(w, i, p, p.seen, w.due, Frame(p.memory, True, p.memory))
        return
    lead = next((op for op in p.ops if op.leader), None)
    if call == "get" and lead is not None and (lead.age < 2 or not m.rules.r11_join):
        joined = lead._replace(seen=max(lead.seen, p.seen), due=max(lead.due, w.due))
        yield f"{who} joins the read under way", w.process(i, become(p, lead, joined))
        return
    due = w.due if w.due > p.seen else 0
    yield from _begin(m, w, i, Op(call, "", seen=p.seen, due=due, leader=call == "get"))


def _begin(m: Model, w: World, i: int, op: Op) -> Steps:
    """Build the command, unless the guard skips the tier."""
    p = w.processes[i]
    who = f"{NAMES[i]}.{op.call}"
    op = op._replace(gen=p.gen, run=p.run)
    skip = {OPEN: "open", HALF_OPEN: "half-open"}.get(p.breaker, "owed" if p.owed else "")
    if skip:
        op = op._replace(gen=0, run=0)
    at, how = ("record", f"skips Redis ({skip})") if skip else ("ask", "starts")
    yield f"{who} {how}", w.process(i, begin(p, op._replace(at=at, skip=skip)))


def _ask(m: Model, w: World, i: int, op: Op) -> Steps:
    who = f"{NAMES[i]}.{op.call}"
    for outcome, after in send(m, w, i, op.run):
        p = after.processes[i]
        held = after.redis.slot(op.gen)
        if outcome != OK:
            new, how = op._replace(at="record", skip="failed", gen=0, run=0), f"of Redis {outcome}"
        elif held is None:
            new, how = op._replace(at="record", skip="missed", gen=0, run=0), "misses in Redis"
        else:
            new, how = op._replace(at="finish", frame=held, gen=0, run=0), f"gets {_words(held)} from Redis"
        yield f"{who} {how}", after.process(i, become(p, op, new))


def _record(m: Model, w: World, i: int, op: Op) -> Steps:
    """The record's snapshot of entry and generation; owe what the tier did not say; promote what it missed."""
    frame = m.look_up(w.record)
    p = w.processes[i]
    gen = w.record.gen if m.rules.r8 else p.gen
    new = op._replace(at="finish", frame=frame, skip="")
    if op.skip == "missed" and frame.value:
        new = new._replace(at="promote", gen=gen, run=w.record.run if m.rules.r15_recorded else p.run)
    p = become(p, op, new)
    p = m.learn(p, w.record.gen)
    unsaid = m.rules.r17 and op.skip == "missed" and not frame.value and w.record.marks
    if unsaid or _owes(m, op.skip):
        p = owe(p, frame.version or 1)
    yield f"{NAMES[i]}.{op.call} reads {_words(frame)} from the record", w.process(i, p)


def _owes(m: Model, skip: str) -> bool:
    rules = m.rules
    rule = {"missed": False, "half-open": rules.r10, "open": rules.r13_reads}
    return rule.get(skip, rules.r9)


def _promote(m: Model, w: World, i: int, op: Op) -> Steps:
    for how, after in _give(m, w, i, op, publish=False):
        p = after.processes[i]
        yield (
            f"{NAMES[i]}.{op.call} promotes v{op.frame.version}: {how}",
            after.process(i, become(p, op, op._replace(at="finish", gen=0, run=0, fresh=True))),
        )


def _finish(m: Model, w: World, i: int, op: Op) -> Steps:
    """Under the lock: return it, or find that it was overtaken and read again, from the record."""
    p, frame = w.processes[i], op.frame
    who = f"{NAMES[i]}.{op.call}"
    overtaken = m.rules.r2_reads and frame.version < p.floor
    if overtaken and op.attempt < RETRIES:
        final = op.attempt + 1 == RETRIES or op.call == "batch"
        lead = not final and not any(it.leader for it in p.ops if it is not op)
        again = Op(op.call, "record", op.seen, op.due, leader=lead, attempt=op.attempt + 1, skip="retry")
        if final:
            again = again._replace(attempt=RETRIES)
        yield f"{who} was overtaken and reads again", w.process(i, become(p, op, again))
        return
    if not overtaken:
        raises = m.rules.r2_absent or op.call == "get"
        p = p._replace(floor=max(p.floor, frame.version)) if raises and m.rules.r2_reads else p
        if frame.value and (op.epoch or not m.rules.r4):
            p = m.admit(p, frame, op.age if m.rules.r11_trust else 0)
        elif m.rules.r2_absent and p.memory < frame.version:
            p = p._replace(memory=0, age=0)
    p = become(p, op, None)
    yield f"{who} returns {_words(frame)}", _returned(w, i, p, op.seen, op.due, frame)


def _returned(w: World, i: int, p: Process, seen: int, due: int, frame: Frame) -> World:
    """The caller has it; was it too old?"""
    broken = ""
    if frame.truth < seen:
        broken = f"promise 3: {NAMES[i]} returned {_words(frame)} after v{seen}"
    elif frame.truth < due:
        broken = f"promise 4: {NAMES[i]} returned {_words(frame)}, but v{due} was acknowledged more than δ before"
    return w.process(i, p._replace(seen=max(p.seen, frame.truth)))._replace(broken=broken)


# Writes


def _write(m: Model, w: World, i: int, call: str) -> Steps:
    """Register the call; with intents, make one durable first (R13)."""
    p = w.processes[i]
    op, record = Op(call, "commit", gen=p.gen), w.record
    if not m.scenario.intents or not m.rules.r13:
        yield from _commit(m, w.process(i, begin(p, op)), i, op)
        return
    mark = record.top + 1, i
    record = record._replace(top=mark[0], marks=(*record.marks, mark))
    begun = w._replace(record=record).process(i, begin(p, op._replace(mark=mark)))
    yield f"{NAMES[i]}.{call} makes its intent durable", begun


def _commit(m: Model, w: World, i: int, op: Op) -> Steps:
    """The acknowledged point: value, version and mark in one transaction."""
    version = w.record.top + 1
    frame = Frame(version, op.call == "set", version)
    gen = w.record.gen
    marks = w.record.marks if m.scenario.intents else ((version, gen),)
    after = w._replace(record=w.record._replace(frame=frame, top=version, marks=marks))
    used = gen if m.rules.r8 else op.gen
    mark = op.mark if m.scenario.intents else (version, gen)
    at = "mark" if m.scenario.intents and not m.rules.r13 else "memory"
    run = w.record.run if m.rules.r15_recorded else w.processes[i].run
    new = op._replace(at=at, frame=frame, gen=used, run=run, mark=mark)
    p = become(after.processes[i], op, new)
    if m.rules.r8:
        p = m.learn(p, gen)
    yield f"{NAMES[i]}.{op.call} commits v{version}", after.process(i, p)
    if m.may(w, "doubt"):
        for what, world in (("happened", after), ("did not", w)):
            world = m.spend(world, "doubt")
            p = m.invalidate(world.processes[i], MAX_VERSION)
            p = become(owe(p, MAX_VERSION), op, None)
            yield f"{NAMES[i]}.{op.call} is Ambiguous ({what})", world.process(i, p)


def _mark(m: Model, w: World, i: int, op: Op) -> Steps:
    """Without R13 the mark comes after the write."""
    number = w.record.top + 1
    record = w.record._replace(top=number, marks=(*w.record.marks, (number, i)))
    p = become(w.processes[i], op, op._replace(at="memory", mark=(number, i)))
    yield f"{NAMES[i]}.{op.call} marks v{op.frame.version}", w._replace(record=record).process(i, p)


def _memory(m: Model, w: World, i: int, op: Op) -> Steps:
    """Overtake what is under way, then admit or drop, in one step under the lock."""
    p, frame = w.processes[i], op.frame
    newest = frame.version >= p.floor or not m.rules.r2
    p = m.mark(p, frame.version)
    if newest and frame.value and (op.epoch or not m.rules.r4):
        p = m.admit(p, frame, op.age if m.rules.r11_trust else 0)
    elif newest:
        p = p._replace(memory=0, age=0)
    p = become(p, op, op._replace(at="put", epoch=True, age=0))
    yield f"{NAMES[i]}.{op.call} of v{frame.version} reaches memory", w.process(i, p)


def _put(m: Model, w: World, i: int, op: Op) -> Steps:
    """Give it to Redis or owe it; then the caller hears of it."""
    for how, after in _give(m, w, i, op, publish=True):
        p = become(after.processes[i], op, None)
        if how == "accepted":
            p = p._replace(confirms=tuple(dict.fromkeys([*p.confirms, op.mark])))
        elif m.scenario.intents:
            after = over(after, op.mark)
        p = p._replace(seen=max(p.seen, op.frame.version))
        after = after.process(i, p)._replace(acked=max(after.acked, op.frame.version))
        yield f"{NAMES[i]}.{op.call} puts v{op.frame.version}: {how}; acknowledged", after


def _give(m: Model, w: World, i: int, op: Op, *, publish: bool) -> Steps:
    """A guarded put: accepted, or owed."""
    p, version = w.processes[i], op.frame.version
    if p.breaker != CLOSED:
        yield "skipped", w.process(i, owe(p, version)) if m.rules.r12 else w
        return
    command = Put(op.gen, op.frame, i, publish)
    too_late = m.rules.r6_not_after and m.rules.r6_from_record and not op.fresh
    for outcome, after in send(m, w, i, op.run, None if too_late else command):
        p = after.processes[i]
        if outcome != OK:
            yield outcome, after.process(i, owe(p, version))
        elif too_late:
            yield "refused as too late", after.process(i, owe(p, version))
        else:
            yield "accepted", put_if_newer(m, after.process(i, paid(p, version)), command)


def over(w: World, intent: tuple[int, int]) -> World:
    """The writer of `intent` is done or dead: whoever replays it may clear it."""
    marks = tuple((it[0], -1) if it == intent else it for it in w.record.marks)
    return w._replace(record=w.record._replace(marks=marks))


def _clear(m: Model, w: World, i: int) -> Steps:
    """A new generation, in which the record has no entries. A deletion, for whoever counts versions."""
    record = w.record
    version = record.top + 1
    record = record._replace(frame=Frame(version, False, version), top=version, gen=record.gen + 1)
    p = w.processes[i]
    op = Op("clear", "learn", gen=record.gen, frame=record.frame)
    p = begin(p, op)
    yield f"{NAMES[i]}.clear makes generation {record.gen} (v{version})", w._replace(record=record).process(i, p)


def _learn(m: Model, w: World, i: int, op: Op) -> Steps:
    p = m.empty(m.learn(become(w.processes[i], op, None), op.gen))
    version = op.frame.version
    p = p._replace(seen=max(p.seen, version))
    yield f"{NAMES[i]}.clear empties memory; acknowledged", w.process(i, p)._replace(acked=max(w.acked, version))


def _words(frame: Frame) -> str:
    return f"v{frame.version}" if frame.value else f"absence (v{frame.truth})"


_STEPS = {
    "ask": _ask,
    "record": _record,
    "promote": _promote,
    "finish": _finish,
    "commit": _commit,
    "mark": _mark,
    "memory": _memory,
    "put": _put,
    "learn": _learn,
}
