"""What the world does: time passes, Redis forgets and restarts, links break, processes die."""

from __future__ import annotations

from tests.model.protocol import history
from tests.model.protocol.link import disconnect, put_if_newer
from tests.model.protocol.model import NAMES, Model, Steps, ordered
from tests.model.protocol.state import CLOSED, GAP, LIVE, OFF, OPEN, Frame, Op, Process, World


def steps(m: Model, w: World) -> Steps:
    yield from _late(m, w)
    yield from _delta(m, w)
    yield from history.steps(m, w)
    for name in ("empty", "old"):
        if m.may(w, name):
            yield _restart(m, m.spend(w, name), name)
    if m.may(w, "evict"):
        for gen, frame in w.redis.slots:
            after = m.spend(w, "evict")
            yield f"Redis evicts v{frame.version}", after._replace(redis=after.redis.hold(gen, None))
    if m.may(w, "expire") and w.record.frame.value:
        yield _expire(m, m.spend(w, "expire"))
    if m.may(w, "retire"):
        yield _retire(m, m.spend(w, "retire"))
    for i, p in enumerate(w.processes):
        yield from _process(m, w, i, p)


def _late(m: Model, w: World) -> Steps:
    for command in dict.fromkeys(w.redis.late):
        late = list(w.redis.late)
        late.remove(command)
        after = w._replace(redis=w.redis._replace(late=tuple(late)))
        yield f"{NAMES[command.writer]}'s late put of v{command.frame.version} arrives", put_if_newer(m, after, command)


def _delta(m: Model, w: World) -> Steps:
    """A window of δ begins, and ends when every keeper has looked twice in it and every message was seen.

    What was read before its end is not trusted beyond it: trust and the time of two looks together are at most δ.
    Without that (R7 trust), only what was read before its beginning is not.
    """
    if not w.window and m.may(w, "delta"):
        after = m.spend(w, "delta")._replace(aging=w.acked, window=True)
        yield "a window of δ begins", after if m.rules.r7_trust else _older(after, 0, 1)
    if w.window and all(p.looks == 2 and not p.inbox and p.sub != GAP for p in w.processes):
        after = w._replace(processes=tuple(p._replace(looks=0) for p in w.processes))
        after = after._replace(due=max(w.due, w.aging), aging=0, window=False)
        yield "δ has passed", _older(after, 0 if m.rules.r7_trust else 1, 2)


def _older(w: World, least: int, age: int) -> World:
    """What memory holds and what is under way becomes `age`, if it is `least` at least."""
    them = list[Process]()
    for p in w.processes:
        ops = ordered(op._replace(age=age) if op.age >= least else op for op in p.ops)
        them.append(p._replace(ops=ops, age=age if p.memory and p.age >= least else p.age))
    return w._replace(processes=tuple(them))


def expired(w: World) -> World:
    """The world when all trust has ended."""
    return _older(w, 0, 2)


def _restart(m: Model, w: World, how: str) -> tuple[str, World]:
    """Connections break, and what was on them is lost."""
    slots = w.redis.old if how == "old" else ()
    redis = w.redis._replace(slots=slots, run=w.redis.run + 1, late=())
    them = tuple(disconnect(m, p) for p in w.processes)
    return f"Redis restarts {'empty' if how == 'empty' else 'with an old snapshot'}", w._replace(
        redis=redis, processes=them
    )


def _expire(m: Model, w: World) -> tuple[str, World]:
    """The record's entry has had its time, in every tier at once: the expiry is in the frame."""
    version = w.record.frame.version
    gone = Frame(version, False, version)
    redis = w.redis
    for gen, frame in redis.slots:
        if frame.version == version:
            redis = redis.hold(gen, gone if m.rules.r6_retention else None)
    late = tuple(it._replace(frame=gone) if it.frame.version == version else it for it in redis.late)
    them = tuple(_without(p, gone) for p in w.processes)
    record = w.record._replace(frame=gone)
    return f"v{version} expires", w._replace(record=record, redis=redis._replace(late=late), processes=them)


def _without(p: Process, gone: Frame) -> Process:
    """Wherever this process has the frame, it reads as absent from now on."""
    ops = ordered(_expired(op, gone) for op in p.ops)
    p = p._replace(ops=ops, keeper=_expired(p.keeper, gone))
    return p._replace(memory=0, age=0) if p.memory == gone.version else p


def _expired(op: Op, gone: Frame) -> Op:
    return op._replace(frame=gone) if op.frame.version == gone.version else op


def _retire(m: Model, w: World) -> tuple[str, World]:
    """A minute passes: tombstones and expired frames leave Redis; puts of before are past their *not after*."""
    redis = w.redis
    for gen, frame in redis.slots:
        if not frame.value:
            redis = redis.hold(gen, None)
    them = w.processes
    if m.rules.r6_not_after:
        redis = redis._replace(late=())
        them = tuple(p._replace(ops=ordered(_stale(op) for op in p.ops), keeper=_stale(p.keeper)) for p in w.processes)
    return "a minute passes", w._replace(redis=redis, processes=them)


def _stale(op: Op) -> Op:
    return op._replace(fresh=False) if op.frame.version else op


def _process(m: Model, w: World, i: int, p: Process) -> Steps:
    name = NAMES[i]
    if m.may(w, f"{name}.cut") and not p.cut:
        yield f"{name} is cut off from Redis", m.spend(w, f"{name}.cut").process(i, disconnect(m, p)._replace(cut=True))
    if m.may(w, f"{name}.trip") and p.breaker == CLOSED:
        yield f"{name}'s breaker opens (other keys)", m.spend(w, f"{name}.trip").process(i, p._replace(breaker=OPEN))
    if m.may(w, f"{name}.heal") and p.cut:
        yield f"{name} reaches Redis again", m.spend(w, f"{name}.heal").process(i, p._replace(cut=False))
    if m.may(w, f"{name}.gap") and p.sub == LIVE:
        yield f"{name}'s subscription breaks", m.spend(w, f"{name}.gap").process(i, disconnect(m, p))
    if m.may(w, f"{name}.forget") and p.memory:
        after = m.spend(w, f"{name}.forget")
        yield f"{name}'s memory evicts v{p.memory}", after.process(i, p._replace(memory=0, age=0))
    if m.may(w, f"{name}.kill"):
        yield f"{name} is killed and starts anew", _kill(m, m.spend(w, f"{name}.kill"), i)


def _kill(m: Model, w: World, i: int) -> World:
    """A new process, which knows what the record says and has promised nothing to anyone."""
    marks = tuple((number, -1 if writer == i else writer) for number, writer in w.record.marks)
    record = w.record._replace(marks=marks) if m.scenario.intents else w.record
    run = record.run if m.rules.r15_recorded else 0
    p = w.processes[i]
    fresh = Process(gen=record.gen, run=run, cut=p.cut, sub=OFF if p.cut else LIVE)
    return w._replace(record=record).process(i, fresh)
