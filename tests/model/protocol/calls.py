"""What callers do, one interleaving point per step."""

from __future__ import annotations

from tests.model.protocol import reads, writes
from tests.model.protocol.model import NAMES, Model, Steps
from tests.model.protocol.state import World

READS, WRITES = ("get", "batch", "direct"), ("set", "delete")
_STEPS = {**reads.STEPS, **writes.STEPS}


def steps(m: Model, w: World, i: int) -> Steps:
    if len(w.processes[i].ops) < m.scenario.threads:
        yield from _starts(m, w, i)
    for op in dict.fromkeys(w.processes[i].ops):
        yield from _STEPS[op.at](m, w, i, op)


def _starts(m: Model, w: World, i: int) -> Steps:
    early = m.scenario.after and w.due <= 1
    for call in READS:
        if m.may(w, f"{NAMES[i]}.{call}") and not early:
            yield from reads.read(m, m.spend(w, f"{NAMES[i]}.{call}"), i, call)
    for call in WRITES:
        if m.may(w, f"{NAMES[i]}.{call}"):
            yield from writes.write(m, m.spend(w, f"{NAMES[i]}.{call}"), i, call)
    if m.may(w, f"{NAMES[i]}.clear"):
        yield from writes.clear(m, m.spend(w, f"{NAMES[i]}.clear"), i)
