"""For every rule the scenario in which the protocol breaks without it."""

from __future__ import annotations

from functools import cache

from tests.model.protocol.explore import Result, explore
from tests.model.protocol.rules import Rules
from tests.model.protocol.scenarios import SCENARIOS

NEEDED = {
    "r1": "confirm",
    "r2": "two writers",
    "r2_reads": "reads and writes",
    "r2_absent": "batch",
    "r3": "clear",
    "r4": "clear",
    "r4_gap": "gap",
    "r5": "breaker open",
    "r6_retention": "late and expired",
    "r6_not_after": "late and deleted",
    "r6_from_record": "late and deleted",
    "r7": "cut off",
    "r7_generation": "clear elsewhere",
    "r7_open": "breaker open",
    "r7_trust": "staleness",
    "r7_rewritten": "cut off, writing on",
    "r8": "two generations",
    "r8_put_back": "put back",
    "r8_sessions": "put back",
    "r8_found": "put back",
    "r8_anew": "put back twice",
    "r9": "one failure",
    "r9_paid": "paid meanwhile",
    "r10": "half-open",
    "r11_trust": "staleness",
    "r11_join": "stall",
    "r12": "half-open, writing",
    "r12_close": "half-open",
    "r12_doubt": "doubt, then a failure",
    "r13": "intents",
    "r13_reads": "half-open",
    "r13_replay": "intents replayed",
    "r14": "promoted",
    "r15": "old snapshot",
    "r15_build": "old snapshot",
    "r15_recorded": "old snapshot, new process",
    "r16": "deleted",
    "r17": "deleted, read twice",
    "r18": "record first",
}
"""Rule and scenario."""

SPARE = ("r3_mark",)
"""Rules that cost nothing and without which nothing was found, because another one catches the same."""

REMAINS = "late and evicted"
"""The scenario that breaks with all rules on: an eviction while an older put is still on its way."""


@cache
def without(rule: str) -> Result:
    """The shortest schedule that breaks a promise without `rule`."""
    return explore(SCENARIOS[NEEDED[rule]], Rules().without(rule))


@cache
def remaining() -> Result:
    """What breaks although all rules are kept."""
    return explore(SCENARIOS[REMAINS])
