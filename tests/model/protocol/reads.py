"""Reads, as in reading.py: join or lead a flight, ask Redis, read the record, promote, finish under the lock."""

from __future__ import annotations

from tests.model.protocol.link import OK, give, send
from tests.model.protocol.model import NAMES, Model, Steps, become, begin, owe, words
from tests.model.protocol.state import CLOSED, HALF_OPEN, OPEN, Frame, Op, Process, World

RETRIES = 2
"""After so many overtaken reads the record's answer is returned without entering memory (one less than in the code)."""


def read(m: Model, w: World, i: int, call: str) -> Steps:
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
    skip = {OPEN: "open", HALF_OPEN: "half-open"}.get(p.breaker, "owed" if p.owes else "")
    if op.call == "direct":
        skip = "slower"
    elif p.passed and m.rules.r18:
        skip = skip or "unproven"
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
            new, how = op._replace(at="finish", frame=held, gen=0, run=0), f"gets {words(held)} from Redis"
        yield f"{who} {how}", after.process(i, become(p, op, new))


def _record(m: Model, w: World, i: int, op: Op) -> Steps:
    """The record's snapshot of entry and generation; owe what the tier did not say; promote what it missed.

    A debt that was paid meanwhile is not simply made anew: the tier is asked for what was read.
    """
    frame = m.look_up(w.record)
    p = w.processes[i]
    gen = w.record.gen if m.rules.r8 else p.gen
    new = op._replace(at="finish", frame=frame, skip="")
    if op.skip == "missed" and frame.value:
        new = new._replace(at="promote", gen=gen, run=w.record.run if m.rules.r15_recorded else p.run)
    paid = op.skip == "owed" and bool(frame.value) and not p.owes and m.rules.r9
    if paid and m.rules.r9_paid:
        new = new._replace(at="check", gen=gen, run=p.run)
    p = become(p, op, new)
    p = m.learn(p, w.record.gen)
    if op.skip == "slower":
        p = p._replace(passed=2)
    if frame.value:
        owed = _owes(m, op.skip)
    else:  # without a mark, whatever removed the key has been accepted, so nothing older can be there
        owed = bool(w.record.marks) and (m.rules.r17 if op.skip == "missed" else _owes(m, op.skip))
    if owed and not paid:
        p = owe(p, frame.version or 1)
    yield f"{NAMES[i]}.{op.call} reads {words(frame)} from the record", w.process(i, p)


def _check(m: Model, w: World, i: int, op: Op) -> Steps:
    """Owe what was read unless the tier holds it, or something newer (`Guard.owe_again`)."""
    who, version = f"{NAMES[i]}.{op.call}", op.frame.version
    new = op._replace(at="finish", gen=0, run=0)
    p = w.processes[i]
    if p.breaker != CLOSED:
        yield f"{who} cannot ask Redis for v{version}", w.process(i, owe(become(p, op, new), version))
        return
    for outcome, after in send(m, w, i, op.run):
        p, held = become(after.processes[i], op, new), after.redis.slot(op.gen)
        if outcome != OK:
            yield f"{who} asks Redis for v{version}: {outcome}", after.process(i, owe(p, version))
        elif held is None or held.version < version:
            yield f"{who} finds that Redis lacks v{version}", after.process(i, owe(p, version))
        else:
            yield f"{who} finds v{held.version} in Redis", after.process(i, p)


def _owes(m: Model, skip: str) -> bool:
    rules = m.rules
    rule = {"missed": False, "slower": False, "half-open": rules.r10, "open": rules.r13_reads}
    return rule.get(skip, rules.r9)


def _promote(m: Model, w: World, i: int, op: Op) -> Steps:
    for how, after in give(m, w, i, op, publish=False):
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
        final = op.attempt + 1 == RETRIES or op.call != "get"
        lead = not final and not any(it.leader for it in p.ops if it is not op)
        again = Op(op.call, "record", op.seen, op.due, leader=lead, attempt=op.attempt + 1, skip="retry")
        again = again._replace(skip="slower") if op.call == "direct" else again
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
    yield f"{who} returns {words(frame)}", _returned(w, i, p, op.seen, op.due, frame)


def _returned(w: World, i: int, p: Process, seen: int, due: int, frame: Frame) -> World:
    """The caller has it; was it too old?"""
    broken = ""
    if frame.truth < seen:
        broken = f"promise 3: {NAMES[i]} returned {words(frame)} after v{seen}"
    elif frame.truth < due:
        broken = f"promise 4: {NAMES[i]} returned {words(frame)}, but v{due} was acknowledged more than δ before"
    return w.process(i, p._replace(seen=max(p.seen, frame.truth)))._replace(broken=broken)


STEPS = {"ask": _ask, "record": _record, "check": _check, "promote": _promote, "finish": _finish}
