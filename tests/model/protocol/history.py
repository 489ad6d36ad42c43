"""A record that is put back to an older copy of itself (file_history.py, notes.py)."""

from __future__ import annotations

from tests.model.protocol.model import Model, Steps
from tests.model.protocol.state import LIVE, OFF, OPEN, Frame, Place, Process, Record, World

LEAP = 10
"""Versions of a line; in the code 2^32."""
COPY, PUT_BACK = "copy", "put back"


def enter(m: Model, w: World, i: int) -> World:
    """A process that writes for the first time enters itself, in the transaction of that write."""
    if not m.scenario.forgets or w.processes[i].entered:
        return w
    record, id_ = w.record, w.drawn + 1
    record = record._replace(sessions=(*record.sessions, (id_, record.top)))
    return w._replace(record=record, drawn=id_).process(i, w.processes[i]._replace(entered=True))


def note(m: Model, w: World) -> World:
    """Redis hears where the record is."""
    if not m.scenario.forgets:
        return w
    here = place(w.record)
    others = (it for it in w.redis.notes if it.line != here.line)
    return w._replace(redis=w.redis._replace(notes=tuple(sorted((*others, here)))))


def noted(w: World) -> Place | None:
    """Where the record was when Redis last heard of its present line."""
    return next((it for it in w.redis.notes if it.line == w.record.top // LEAP), None)


def renew_if_lost(m: Model, w: World) -> World:
    """Before Redis is believed: a record that has forgotten what was noted starts anew, until it has not."""
    if not m.scenario.forgets or not m.rules.r8_put_back:
        return w
    while (there := noted(w)) is not None and not _knows(m, w.record, there):
        w = _start_anew(m, w)
        if not m.rules.r8_anew:
            break
    return w


def steps(m: Model, w: World) -> Steps:
    if m.may(w, COPY):
        yield f"the record's files are copied (v{w.record.top})", m.spend(w, COPY)._replace(copy=w.record)
    if m.may(w, PUT_BACK) and w.copy is not None and _covered(w) and all(not p.ops for p in w.processes):
        after = _put_back(m.spend(w, PUT_BACK), w.copy)
        yield f"everybody stops; the record's files are put back (v{w.copy.top})", after


def place(record: Record) -> Place:
    number = len(record.sessions)
    return Place(record.top // LEAP, number, record.sessions[-1][0] if number else 0, record.top)


def _knows(m: Model, record: Record, it: Place) -> bool:
    if record.top < it.version:
        return False
    if not m.rules.r8_sessions:
        return True
    if it.session and (len(record.sessions) < it.session or record.sessions[it.session - 1][0] != it.id):
        return False
    return not m.rules.r8_found or all(found >= it.version for _, found in record.sessions[it.session :])


def _start_anew(m: Model, w: World) -> World:
    """Versions of the next line, a generation that was never given, no marks."""
    record, drawn = w.record, w.drawn + 1
    generation = max(record.gen + 1, 100 + drawn) if m.rules.r8_anew else record.gen + 1
    record = record._replace(top=record.top + LEAP, gen=generation, marks=())
    return w._replace(record=record, drawn=drawn)


def _covered(w: World) -> bool:
    """Whether what Redis holds of this line was noted: it is at every look, and at the end of a process that is closed."""
    there = noted(w)
    known = there.version if there else 0
    return all(frame.version <= known or frame.version // LEAP != w.record.top // LEAP for _, frame in w.redis.slots)


def _put_back(w: World, copy: Record) -> World:
    """What was written since is lost wherever it is; who begins now meets Redis before it reads from it."""
    newest = copy.frame.version
    slots = tuple((gen, _lost(frame) if frame.version > newest else frame) for gen, frame in w.redis.slots)
    fresh = tuple(
        Process(gen=copy.gen, run=copy.run, breaker=OPEN, cut=p.cut, sub=OFF if p.cut else LIVE) for p in w.processes
    )
    redis = w.redis._replace(slots=tuple(sorted(slots)))
    return w._replace(record=copy, redis=redis, processes=fresh, acked=newest, due=newest)


def _lost(frame: Frame) -> Frame:
    return frame._replace(truth=0)
