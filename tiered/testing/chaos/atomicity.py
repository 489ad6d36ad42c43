"""Whether the writes of one key followed each other: no update lost to another, no version given twice or backwards."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from tiered.testing.chaos.history import Event, Token
from tiered.testing.chaos.order import Floors, KeyOrder

Found = tuple[str, Event, str]
"""Check, event, text."""


def atomicity(order: KeyOrder) -> Iterator[Found]:
    """What the writes alone betray."""
    yield from _increments(order) if order.counter else _updates(order)
    yield from _versions(order)


def _increments(order: KeyOrder) -> Iterator[Found]:
    """Every acknowledged increment made another number, and the last number counts them all."""
    seen: set[Token] = set()
    for write in order.acknowledged:
        if write.value in seen:
            yield "lost update", write, f"{write.key}: two increments returned {write.value}"
        seen.add(write.value)
    least, most = len(order.acknowledged), len(order.writes)
    for read in order.reads:
        number = read.value if isinstance(read.value, int) else 0
        if read.op == "final" and number < least:
            yield "lost", read, f"{read.key}: {number} after {least} acknowledged increments"
        elif number > most:
            yield "wrong", read, f"{read.key}: {number}, but only {most} increments were tried"


def _updates(order: KeyOrder) -> Iterator[Found]:
    """No two updates replaced the same value, and nothing came between an update and what it replaced."""
    replaced: dict[Token, Event] = {}
    known = sorted(v for write in order.acknowledged if (v := order.version(write)))
    for write in order.acknowledged:
        if write.op != "update" or write.base is None:
            continue
        if write.base in replaced:
            other = replaced[write.base]
            yield "lost update", write, f"{write.key}: {write.value} and {other.value} both replaced {write.base}"
        replaced[write.base] = write
        mine, base = order.version(write), order.versions.get(write.base, 0)
        place = bisect_left(known, mine)
        if mine and base and place and known[place - 1] > base:
            yield "lost update", write, f"{write.key}: {write.value} did not see version {known[place - 1]}"


def _versions(order: KeyOrder) -> Iterator[Found]:
    """One version, one value; and a write that began after another was acknowledged has a higher one."""
    values: defaultdict[int, set[Token]] = defaultdict(set)
    for event in order.writes + order.reads:
        if event.value is not None and event.version:
            values[event.version].add(event.value)
            if not order.counter and order.versions[event.value] != event.version:
                text = f"{event.value} has the versions {event.version} and {order.versions[event.value]}"
                yield "wrong", event, f"{event.key}: {text}"
            elif len(values[event.version]) == 2:
                values[event.version].add("")  # told once
                yield "wrong", event, f"{event.key}: version {event.version} has two values, one is {event.value}"
    floors = Floors()
    for write in order.acknowledged:
        if version := order.version(write):
            floors.add(write.end or 0.0, (version, 0))
    for write in order.acknowledged:
        version, before = order.version(write), floors.at(write.start)[0]
        if version and version < before:
            yield "back", write, f"{write.key}: written as version {version} after {before} was acknowledged"
