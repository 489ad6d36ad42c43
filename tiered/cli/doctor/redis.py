"""Checks of a Redis server: its version, what it evicts, what it keeps, its clock, what it permits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiered.cli.doctor.finding import Finding, advice, ok, problem, unknown
from tiered.cli.quantities import size, span
from tiered.entry import namespace_seed, tombstone
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.tiers.redis import RedisTier

OLDEST = (6, 2)
FITTING = ("volatile-lru", "volatile-lfu", "allkeys-lru", "allkeys-lfu")
"""Policies that do not evict what was just written."""
TOLERATED, TOO_FAR = 1.0, 30.0
"""Seconds between two clocks."""
PATIENCE = 2.0
"""Seconds in which a subscription must be confirmed."""
SCOPE = "tiered-doctor"
RIGHTS = "give the user the rights in docs/redis.md (The least a user needs)"
SYNC = "set appendfsync always, if no acknowledged write may be lost"


def check_redis(tier: RedisTier, *, record: bool) -> Iterator[Finding]:
    """Every server of it. Raises `StoreError` if one cannot be reached."""
    for name, answer in _answers(tier).items():
        facts = _facts(answer.info)
        if not facts:
            text = f"{name} does not let this user ask INFO ({answer.info})"
            yield unknown(f"{tier.name}.info", text, "permit it: +info")
            continue
        yield _check_version(name, tier.name, facts)
        yield _check_eviction(name, tier.name, facts, record=record)
        yield from _check_persistence(name, tier.name, facts, answer.sync, record=record)
        yield _check_clock(name, tier.name, answer)
    yield _check_permissions(tier, record=record)


class _Answer(NamedTuple):
    """Of one server; an error where it refused to answer."""

    info: Any
    sync: Any
    time: Any
    sent: float
    """The time here just before it was asked for its own, and just after."""
    received: float


def _answers(tier: RedisTier) -> dict[str, _Answer]:
    facts = tier.ask_servers(("INFO",), ("CONFIG", "GET", "appendfsync"))
    answers = {}
    for name, (info, sync) in facts.items():
        sent = time.time()
        (clock,) = tier.ask_servers(("TIME",))[name]
        answers[name] = _Answer(info, sync, clock, sent, time.time())
    return answers


def _facts(info: Any) -> dict[str, str]:
    lines = info.decode(errors="replace").splitlines() if isinstance(info, bytes) else []
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_version(name: str, tier: str, facts: Mapping[str, str]) -> Finding:
    valkey = facts.get("valkey_version")
    what = f"{name}: Valkey {valkey}" if valkey else f"{name}: Redis {facts.get('redis_version', 'of unknown version')}"
    version = tuple(int(part) for part in re.findall(r"\d+", facts.get("redis_version", "0"))[:2])
    if version < OLDEST:
        return problem(f"{tier}.version", what, f"use Redis {OLDEST[0]}.{OLDEST[1]} or later, or Valkey")
    return ok(f"{tier}.version", what)


def _check_eviction(name: str, tier: str, facts: Mapping[str, str], *, record: bool) -> Finding:
    check, policy = f"{tier}.eviction", facts.get("maxmemory_policy", "unknown")
    limit, used = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    text = f"{name}: {size(used)} used, " + (f"of {size(limit)}, {policy}" if limit else f"no limit, {policy}")
    if record:
        if policy != "noeviction":
            return problem(check, f"{text}: the store of record may be evicted", "set maxmemory-policy noeviction")
        if limit and used > 0.9 * limit:
            return problem(check, f"{text}: nearly full, then writes are refused", "raise maxmemory")
        return ok(check, text)
    fix = "set maxmemory and maxmemory-policy volatile-lru (docs/redis.md, Memory)"
    if not limit:
        return advice(check, f"{text}: it grows until the machine has no more", fix)
    if policy == "noeviction":
        return advice(check, f"{text}: when it is full it refuses writes, which then stay pending", fix)
    if policy not in FITTING:
        text += ": it may evict what was just written, which the protocol cannot cover (docs/redis.md, Memory)"
        return problem(check, text, "set maxmemory-policy volatile-lru")
    return ok(check, text)


def _check_persistence(name: str, tier: str, facts: Mapping[str, str], sync: Any, *, record: bool) -> Iterator[Finding]:
    check = f"{tier}.persistence"
    failed = [what for what in ("rdb_last_bgsave_status", "aof_last_write_status") if facts.get(what, "ok") != "ok"]
    if failed:
        fix = "look into its log and at its disk; with stop-writes-on-bgsave-error it refuses writes meanwhile"
        yield problem(check, f"{name} cannot save its data ({', '.join(failed)})", fix)
        return
    appends = facts.get("aof_enabled") == "1"
    if not record:
        yield ok(
            check, f"{name}: a cache tier needs none{'; its append-only file costs some speed' if appends else ''}"
        )
    elif not appends:
        fix = "set appendonly yes and appendfsync always, or end the chain with a file tier"
        yield problem(check, f"{name} is the store of record, and loses what it acknowledged when it ends", fix)
    else:
        yield _check_sync(check, name, sync)
    if record and facts.get("connected_slaves", "0") != "0":
        yield advice(
            f"{tier}.replicas",
            f"{name}: a failover may lose writes that were acknowledged",
            "set min-replicas-to-write 1, and know that it only narrows the gap",
        )


def _check_sync(check: str, name: str, sync: Any) -> Finding:
    """How soon its file is on the disk, if the user may ask."""
    if not isinstance(sync, list) or len(sync) < 2:
        return unknown(check, f"{name} appends to a file, and does not tell when that is on the disk", SYNC)
    policy = sync[1].decode(errors="replace")
    if policy == "always":
        return ok(check, f"{name} appends to a file, and answers when that is on the disk")
    return advice(check, f"{name} may lose the last moments in a power cut (appendfsync {policy})", SYNC)


def _check_clock(name: str, tier: str, answer: _Answer) -> Finding:
    check, sent, received = f"{tier}.clock", answer.sent, answer.received
    if not isinstance(answer.time, list):
        return unknown(check, f"{name} does not let this user ask TIME ({answer.time})", "permit it: +time")
    theirs = int(answer.time[0]) + int(answer.time[1]) / 1e6
    # Within the round trip nobody knows when it was asked.
    offset = max(theirs - received, sent - theirs, 0.0)
    way = "ahead of" if theirs > received else "behind"
    if offset < TOLERATED:
        return ok(check, f"{name}: its clock and this machine's agree within {span(offset + received - sent)}")
    text = f"{name}: its clock is {span(offset)} {way} this machine's, and so early or late entries may expire"
    found = problem if offset > TOO_FAR else advice
    return found(check, text, "run NTP (chrony, systemd-timesyncd) on both machines")


def _check_permissions(tier: RedisTier, *, record: bool) -> Finding:
    """By doing it: a frame that is gone at once, and, for a cache, a subscription."""
    check, now = f"{tier.name}.permissions", int(time.time() * 1000)
    frame = tombstone(namespace_seed(SCOPE), "probe", now - 3_600_000).seal(1)
    try:
        tier.get(f"{SCOPE}:0", "probe")
        tier.put_many(f"{SCOPE}:0", [("probe", frame)], tell=not record)
        tier.owner(SCOPE)
        if not record:
            _hear(tier)
    except StoreError as error:
        text, _, told = str(error).partition("; ")
        return problem(check, text, RIGHTS if error.reason is Reason.MISUSE else told or RIGHTS)
    return ok(
        check, f"{tier.name}: this user may {'read and write' if record else 'read, write, publish and subscribe'}"
    )


def _hear(tier: RedisTier) -> None:
    """Subscribe, and wait until that holds. Raises `StoreError`."""
    hearing, until = tier.subscribe(), time.monotonic() + PATIENCE
    try:
        hearing.add(SCOPE)
        while not any(told.kind == "subscribed" for told in hearing.receive()):
            if time.monotonic() > until:
                raise StoreUnavailable("a subscription is not confirmed", tier=tier.name, reason=Reason.TIMEOUT)
            time.sleep(0.005)
    finally:
        hearing.close()
