"""What keepers do (keeper.py, outlook.py, replay.py): confirm, look, pay, readmit; and the subscription (coherence.py)."""

from __future__ import annotations

from tests.model.protocol import history
from tests.model.protocol.link import OK, put_if_newer, send
from tests.model.protocol.model import NAMES, Model, Steps, owe
from tests.model.protocol.state import (
    CLOSED,
    GAP,
    HALF_OPEN,
    IDLE,
    LIVE,
    MAX_VERSION,
    OFF,
    OPEN,
    Frame,
    Op,
    Process,
    Put,
    World,
)
from tests.model.protocol.writes import over

NONE = (0, 0)
ALONE = ("fails", "times out")
"""What may happen to a put while Redis takes others."""


def steps(m: Model, w: World, i: int) -> Steps:
    p = w.processes[i]
    if p.inbox:
        yield from _deliver(m, w, i)
    if p.sub != LIVE:
        yield from _reconnect(m, w, i)
    if p.confirms:
        yield from flush(m, w, i)
    if p.keeper.at == "put":
        yield from _put(m, w, i)
    elif p.keeper.at == "close":
        yield from _close(m, w, i)
    elif p.keeper.at == "collect":
        yield from _collect(w, i, m, readmit=True)
    else:
        if i in m.scenario.keepers or w.window:
            yield from _look(m, w, i)
        if m.scenario.forgets and p.breaker == CLOSED and not p.cut and history.noted(w) != history.place(w.record):
            yield f"{NAMES[i]}'s keeper notes v{w.record.top}", history.note(m, w)
        if p.breaker == OPEN:
            yield from _probe(m, w, i)
        elif p.breaker == CLOSED and (p.owes or p.looked != NONE):
            yield from _collect(w, i, m, readmit=False)


def _look(m: Model, w: World, i: int) -> Steps:
    """The generation, and the marks: what stayed pending for two looks is owed, and memory below it drops out."""
    p, mark = w.processes[i], w.pending()
    if m.rules.r7_generation:
        p = m.learn(p, w.record.gen)
    if m.rules.r7 and (m.rules.r7_open or p.breaker == CLOSED):
        if mark != NONE and (mark == p.looked or (m.rules.r7_rewritten and p.looked != NONE)):
            version = MAX_VERSION if m.scenario.intents else mark[0]
            p = m.invalidate(owe(p, version), version)
        p = p._replace(looked=mark)
    p = p._replace(looks=min(2, p.looks + 1) if w.window else p.looks, passed=max(0, p.passed - 1))
    yield f"{NAMES[i]}'s keeper looks", w.process(i, p)


def news(m: Model, w: World, p: Process) -> bool:
    """Whether a look would change anything."""
    return p.gen < w.record.gen or p.looked != NONE or w.pending() != NONE


def _probe(m: Model, w: World, i: int) -> Steps:
    """Half-open: ask for the run; another one gets a new generation, unless the record has given it one."""
    p = w.processes[i]
    if p.cut:
        return
    before = w.record.gen
    w = history.renew_if_lost(m, w)
    run, record = w.redis.run, w.record
    anew = record.gen != before
    known = record.run if m.rules.r15_recorded else p.run or run
    if run != known:
        record = record._replace(gen=record.gen + 1, run=run)
    p = p._replace(owed=0, doubt=0) if anew or run != p.run else p
    p = m.learn(p._replace(breaker=HALF_OPEN, run=run, keeper=Op("keeper", "collect")), record.gen)
    after = history.note(m, w._replace(record=record).process(i, p))
    how = f"finds that the record has lost something: generation {record.gen}" if anew else f"probes (run {run})"
    yield f"{NAMES[i]}'s keeper {how}", after


def _collect(w: World, i: int, m: Model, *, readmit: bool) -> Steps:
    """What is owed and pending, and the record's present entry for it."""
    p = w.processes[i]
    left = p.looked if p.looked in w.record.marks else NONE
    mark = w.pending() if readmit else left
    if not p.owes and mark == NONE:
        if readmit:
            yield f"{NAMES[i]}'s keeper has nothing to replay", w.process(i, p._replace(keeper=Op("keeper", "close")))
        return
    frame, debt = m.look_up(w.record), MAX_VERSION if p.doubt else max(p.owed, 0 if m.scenario.intents else mark[0])
    if not frame.value and not m.rules.r16:
        frame = Frame(debt if debt < MAX_VERSION else 0, False, frame.truth)
    op = Op("keeper", "put", gen=w.record.gen, run=p.run, frame=frame, owed=p.owed, doubt=p.doubt, mark=mark)
    op = op._replace(attempt=int(readmit))
    what = f"v{frame.version}" if frame.value else f"a tombstone v{frame.version}"
    yield f"{NAMES[i]}'s keeper is about to replay {what}", w.process(i, p._replace(keeper=op))


def _put(m: Model, w: World, i: int) -> Steps:
    op = w.processes[i].keeper
    who = f"{NAMES[i]}'s keeper"
    if not op.frame.version:  # without R16: an absence of which nobody knows the version
        yield f"{who} has nothing to put", _settle(m, w, i, op)
        return
    command = Put(op.gen, op.frame, i, True)
    too_late = m.rules.r6_not_after and m.rules.r6_from_record and not op.fresh
    for outcome, after in send(m, w, i, op.run, None if too_late else command):
        if outcome == OK and too_late:
            outcome = "is refused as too late"
        if outcome != OK:
            p = after.processes[i]
            p = p._replace(keeper=IDLE, doubt=min(1, p.doubt))
            if m.scenario.refuses and op.attempt and outcome in ALONE:
                aside = owe(p, op.frame.version)._replace(keeper=Op("keeper", "close"))
                yield f"{who}'s put {outcome} and is set aside", after.process(i, aside)
            p = p._replace(breaker=OPEN) if op.attempt else p
            yield f"{who}'s put {outcome}", after.process(i, p)
        else:
            yield f"{who} puts v{op.frame.version}", _settle(m, put_if_newer(m, after, command), i, op)


def _settle(m: Model, w: World, i: int, op: Op) -> World:
    """The debt is paid if it is still the one that was seen; the mark may be cleared."""
    p = w.processes[i]
    known = p.owed == op.owed or (op.doubt > 0 and not m.rules.r12_doubt)
    again = p.doubt > 1 and m.rules.r12_doubt
    p = p._replace(
        keeper=Op("keeper", "close") if op.attempt else IDLE,
        owed=0 if known else p.owed,
        doubt=int(again or (p.doubt > 0 and not op.doubt)),
    )
    if op.mark != NONE:
        mark = op.mark
        if not m.scenario.intents or mark[1] < 0 or not m.rules.r13_replay:
            p = p._replace(confirms=tuple(dict.fromkeys([*p.confirms, mark])))
    return w.process(i, p)


def _close(m: Model, w: World, i: int) -> Steps:
    p = w.processes[i]._replace(keeper=IDLE, breaker=CLOSED)
    if not m.rules.r12_close:
        p = p._replace(owed=0, doubt=0)
    yield f"{NAMES[i]}'s breaker closes", w.process(i, p)


def flush(m: Model, w: World, i: int) -> Steps:
    """Confirmations reach the record: each clears the mark only if it is the one that was put (R1)."""
    p = w.processes[i]
    marks = w.record.marks
    numbers = {mark[0] for mark in p.confirms}
    if m.scenario.intents:
        marks = tuple(mark for mark in marks if mark[0] not in numbers)
    else:
        marks = tuple(mark for mark in marks if m.rules.r1 and mark not in p.confirms)
    after = w._replace(record=w.record._replace(marks=marks))
    confirmed = ", ".join(f"v{number}" for number in sorted(numbers))
    yield f"{NAMES[i]} confirms {confirmed}", after.process(i, p._replace(confirms=()))


def _deliver(m: Model, w: World, i: int) -> Steps:
    p = w.processes[i]
    version, writer = p.inbox[0]
    p = p._replace(inbox=p.inbox[1:])
    if m.rules.r5 or writer != i:
        p = m.invalidate(p, version)
    yield f"{NAMES[i]} is told of v{version}", w.process(i, p)


def _reconnect(m: Model, w: World, i: int) -> Steps:
    """A gap is noticed: memory is emptied; and again when the subscription is back."""
    p = m.empty(w.processes[i]) if m.rules.r4_gap else w.processes[i]
    if not p.cut:
        yield f"{NAMES[i]} subscribes again", w.process(i, p._replace(sub=LIVE))
    elif p.sub == GAP:
        yield f"{NAMES[i]} misses a PONG", w.process(i, p._replace(sub=OFF))


__all__ = ["Process", "over", "steps"]
