"""Writes, as in writing.py, and clear(), as in backend.py: the record, then memory, then Redis, then the caller."""

from __future__ import annotations

from tests.model.protocol.history import enter
from tests.model.protocol.link import give
from tests.model.protocol.model import NAMES, Model, Steps, become, begin, owe
from tests.model.protocol.state import MAX_VERSION, Frame, Op, World


def write(m: Model, w: World, i: int, call: str) -> Steps:
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
    w = enter(m, w, i)
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
    for how, after in give(m, w, i, op, publish=True):
        p = become(after.processes[i], op, None)
        if how == "accepted":
            p = p._replace(confirms=tuple(dict.fromkeys([*p.confirms, op.mark])))
        elif m.scenario.intents:
            after = over(after, op.mark)
        p = p._replace(seen=max(p.seen, op.frame.version))
        after = after.process(i, p)._replace(acked=max(after.acked, op.frame.version))
        yield f"{NAMES[i]}.{op.call} puts v{op.frame.version}: {how}; acknowledged", after


def over(w: World, intent: tuple[int, int]) -> World:
    """The writer of `intent` is done or dead: whoever replays it may clear it."""
    marks = tuple((it[0], -1) if it == intent else it for it in w.record.marks)
    return w._replace(record=w.record._replace(marks=marks))


def clear(m: Model, w: World, i: int) -> Steps:
    """A new generation, in which the record has no entries. A deletion, for whoever counts versions."""
    record = w.record
    version = record.top + 1
    record = record._replace(frame=Frame(version, False, version), top=version, gen=record.gen + 1)
    if not m.scenario.intents:
        record = record._replace(marks=())  # of the generation before
    p = w.processes[i]
    op = Op("clear", "learn", gen=record.gen, frame=record.frame)
    p = begin(p, op)
    yield f"{NAMES[i]}.clear makes generation {record.gen} (v{version})", w._replace(record=record).process(i, p)


def _learn(m: Model, w: World, i: int, op: Op) -> Steps:
    p = m.empty(m.learn(become(w.processes[i], op, None), op.gen))
    version = op.frame.version
    p = p._replace(seen=max(p.seen, version))
    yield f"{NAMES[i]}.clear empties memory; acknowledged", w.process(i, p)._replace(acked=max(w.acked, version))


STEPS = {"commit": _commit, "mark": _mark, "memory": _memory, "put": _put, "learn": _learn}
