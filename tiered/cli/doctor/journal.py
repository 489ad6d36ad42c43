"""Checks of what a store of record knows about its cache tiers: the backlog, whose they are, which data it believes in."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tiered.chain import Chain
from tiered.cli.condition import COUNTED
from tiered.cli.doctor.finding import Finding, advice, ok, problem
from tiered.cli.quantities import size
from tiered.replication.guard import Guard
from tiered.tiers.base import Claimable, Journal
from tiered.tiers.redis import RedisTier

SAMPLE, SHOWN = 20, 3
"""So many keys that a tier lacks are looked at, and so many named."""
REPLAY = (
    "a running bot writes them when the tier is well; if none runs: tiered replay. A large one that stays: docs/redis.md,"
    " Large values"
)
UNDER_WAY, PAUSE = 2.0, 0.2
"""Seconds in which a running process confirms what it has just written, and between two looks."""


def check_backlog(chain: Chain, guard: Guard, journal: Journal) -> Finding:
    """What a tier still lacks, after a while in which what is just under way arrives. Raises `StoreError`."""
    check, until = f"{guard.name}.backlog", time.monotonic() + UNDER_WAY
    marks = journal.pending(guard.name, limit=COUNTED + 1)
    left = {(mark.namespace, mark.key) for mark in marks}
    while left and time.monotonic() < until:
        time.sleep(PAUSE)
        left = journal.still_pending(guard.name, list(left))
    if not left:
        return ok(check, f"{guard.name} lacks no write")
    number = f"more than {COUNTED:,}" if len(marks) > COUNTED else f"{len(left):,}"
    text = f"{guard.name} lacks what was written to {number} {'key' if len(left) == 1 else 'keys'}"
    return advice(check, f"{text}: {_largest(chain, sorted(left))}", REPLAY)


def _largest(chain: Chain, left: list[tuple[str, str]]) -> str:
    """Of the first ones: what a tier does not take is most likely too large for it."""
    frames = [(len(chain.record.read(*it)[1] or b""), *it) for it in left[:SAMPLE]]
    shown = [f"{key!r:.100} in namespace {name} ({size(bytes)})" for bytes, name, key in sorted(frames, reverse=True)]
    return ", ".join(shown[:SHOWN]) + (" …" if len(left) > SHOWN else "")


def check_data(guard: Guard, journal: Journal, identity: str) -> Finding:
    """Whether what the tier holds is read. Raises `StoreError`."""
    check, adopted = f"{guard.name}.data", journal.adopted(guard.name)
    if adopted is None:
        return ok(check, f"{guard.name} was not used by this store yet, or missed too much: it will start empty")
    if adopted != identity:
        text = f"{guard.name} was restarted or replaced since this store last used it: it will start empty"
        return advice(check, text, "nothing: the next use, or a running bot within seconds, begins a new generation")
    return ok(check, f"{guard.name} has the data that this store built on")


def check_claim(chain: Chain, guard: Guard, namespace: str) -> Iterator[Finding]:
    """Whether the namespace is this store's in the tier. Raises `StoreError`."""
    tier, journal = guard.tier, chain.record.journal
    if not isinstance(tier, Claimable) or not isinstance(tier, RedisTier) or journal is None:
        return
    check, owner = f"{guard.name}.claim", tier.owner(namespace)
    if owner is None:
        yield ok(check, f"namespace {namespace} is free in {guard.name}")
    elif owner == journal.identity:
        yield ok(check, f"namespace {namespace} in {guard.name} is this store's")
    else:
        text = f"namespace {namespace} in {guard.name} belongs to another store of record ({owner[:8]}…)"
        fix = (
            "two hosts with files of their own, or a directory that was made anew: give this one another namespace or"
            f" prefix; if the other store is gone: redis-cli DEL {tier.claim_key(namespace)}"
        )
        yield problem(check, text, fix)
