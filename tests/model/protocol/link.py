"""A process's commands to Redis: what the server does with them, and what the client learns of it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.protocol.model import Model, Steps, owe, paid
from tests.model.protocol.state import CLOSED, GAP, LIVE, OPEN, Op, Process, Put, World

OK, FAILED = "", "fails"


def send(m: Model, w: World, i: int, run: int, command: Put | None = None) -> Iterator[tuple[str, World]]:
    """The fates of a command built for server run `run`: its outcome and the world after it.

    On `OK` the caller applies the command. A failed one has been counted by the breaker, and may be `command` late.
    """
    p = w.processes[i]
    if p.cut:
        yield from _failed(m, w, i, "is cut off")
        return
    here = w.redis.run
    # A process without a run in mind (run 0, no R15 recorded) accepts any.
    if m.rules.r15 and ((p.run and p.run != here) or (m.rules.r15_build and run and run != here)):
        yield "finds another run", _trip(w, i) if p.run and p.run != here else w
        return
    if p.run and p.run != here:
        yield OK, _trip(w, i)
    else:
        yield OK, w
    if m.may(w, "fail"):
        yield from _failed(m, m.spend(w, "fail"), i, "fails")
    if command is not None and m.may(w, "late"):
        late = m.spend(w, "late")
        late = late._replace(redis=late.redis._replace(late=tuple(sorted([*late.redis.late, command]))))
        yield from _failed(m, late, i, "times out")


def _failed(m: Model, w: World, i: int, how: str) -> Iterator[tuple[str, World]]:
    yield how, w
    if m.scenario.trips and w.processes[i].breaker == CLOSED:
        yield f"{how}; the breaker opens", _trip(w, i)


def _trip(w: World, i: int) -> World:
    p = w.processes[i]
    return w.process(i, p._replace(breaker=OPEN)) if p.breaker == CLOSED else w


def give(m: Model, w: World, i: int, op: Op, *, publish: bool) -> Steps:
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


def put_if_newer(m: Model, w: World, command: Put) -> World:
    """The script: store what is newer, and tell every subscriber."""
    held = w.redis.slot(command.gen)
    applied = held is None or command.frame.version > held.version
    if applied:
        w = w._replace(redis=w.redis.hold(command.gen, command.frame))
    if m.scenario.pubsub and command.publish and (applied or m.rules.r14):
        w = w._replace(processes=tuple(_told(p, command) for p in w.processes))
    return w


def _told(p: Process, command: Put) -> Process:
    message = (command.frame.version, command.writer)
    if p.sub != LIVE or message in p.inbox:
        return p
    return p._replace(inbox=(*p.inbox, message))


def disconnect(m: Model, p: Process) -> Process:
    """The subscription breaks and nobody notices yet; messages on their way are lost."""
    if not m.scenario.pubsub:
        return p
    return p._replace(sub=GAP if p.sub == LIVE else p.sub, inbox=())
