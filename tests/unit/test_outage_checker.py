"""The judge of benchmarks/outage: what it must find in answers that are wrong, and must not find in right ones."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest

from benchmarks.outage.ledger import text
from benchmarks.outage.load import Call, Load, Outcome, Seen
from benchmarks.outage.outcome import Outcome as Seen_by_callers
from benchmarks.outage.outcome import over_rounds
from benchmarks.outage.plan import PHASES
from benchmarks.outage.recovery import Recovery
from benchmarks.outage.verdicts import judge

KEY = "user:0"
FINE = Seen_by_callers(
    system="tiered",
    fault="hang",
    before=100.0,
    during=200.0,
    after=100.0,
    longest_ms=10.0,
    errors={},
    false_misses=0,
    stale_reads=0,
    oldest_ms=0.0,
    acknowledged=50,
    written_keys=9,
    lost=0,
    old=0,
    converged=True,
)
RECOVERED = Recovery(fault="hang", writes=10, outage=3.0, seconds=1.0, equal=True, verified=True)

Calls = Generator[Call, Outcome, None]


def load_of(key_count: int = 1, workers: int = 1) -> Load:
    return Load(keys=key_count, seed=1, workers=workers)


def until(calls: Calls, call: Call, *, write: bool) -> Call:
    """Answer every call rightly, as version 1 or as an acknowledgement, until one of the wanted kind comes."""
    for _ in range(1_000):
        if (call[1] is not None) == write:
            return call
        call = calls.send(text(1) if call[1] is None else None)
    raise AssertionError("no such call came")


def whole(load: Load) -> Seen:
    return load.seen(*PHASES)


def test_reads_of_the_last_acknowledged_write_are_right() -> None:
    load = load_of()
    calls = load.calls(0)
    call, last = next(calls), text(1)
    for _ in range(200):
        if call[1] is not None:
            last = call[1]
            call = calls.send(None)
        else:
            call = calls.send(last)
    seen = whole(load)
    assert seen.acknowledged > 0 and seen.answered == 200
    assert (seen.stale_reads, seen.false_misses, seen.errors) == (0, 0, {})


def test_a_value_older_than_the_last_acknowledged_write_is_a_stale_read_with_an_age() -> None:
    load = load_of()
    calls = load.calls(0)
    until(calls, next(calls), write=True)
    until(calls, calls.send(None), write=False)
    calls.send(text(1))
    seen = whole(load)
    assert seen.stale_reads == 1 and seen.oldest >= 0.0


def test_the_age_counts_from_the_first_write_that_was_missed() -> None:
    ledger = load_of().ledger
    for number in (2, 3):
        assert ledger.begin(0) == number
        ledger.end(0, number, acknowledged=True)
    (_, second), (_, third) = ledger._history[0]
    assert ledger.age(0, 1, third + 5.0) == third + 5.0 - second
    assert ledger.age(0, 2, third + 5.0) == pytest.approx(5.0)


def test_an_acknowledgement_that_comes_while_a_read_is_under_way_does_not_bind_it() -> None:
    load = load_of(workers=2)
    reader, writer = load.calls(0), load.calls(1)
    until(reader, next(reader), write=False)
    number = load.ledger.begin(0)
    assert number is not None
    load.ledger.end(0, number, acknowledged=True)
    reader.send(text(number - 1))
    assert whole(load).stale_reads == 0
    writer.close()


def test_absence_is_a_false_miss_and_an_exception_an_error_and_neither_counts_as_answered() -> None:
    load = load_of()
    calls = load.calls(0)
    until(calls, next(calls), write=False)
    answered = whole(load).answered
    until(calls, calls.send(None), write=False)
    between = whole(load).answered
    calls.send(TimeoutError())
    seen = whole(load)
    assert seen.false_misses == 1 and seen.errors == {"TimeoutError": 1}
    assert answered <= between == seen.answered


def test_a_write_that_failed_binds_nobody_but_its_value_may_appear() -> None:
    load = load_of()
    calls = load.calls(0)
    _, value = until(calls, next(calls), write=True)
    assert value is not None
    before = load.ledger.acknowledged[0]
    until(calls, calls.send(TimeoutError()), write=False)
    assert load.ledger.acknowledged[0] == before
    calls.send(value)
    assert whole(load).stale_reads == 0 and whole(load).errors == {"TimeoutError": 1}


def test_a_value_that_nobody_wrote_ends_the_benchmark() -> None:
    load = load_of()
    calls = load.calls(0)
    until(calls, next(calls), write=False)
    with pytest.raises(RuntimeError, match=KEY):
        calls.send(text(99))


def test_a_key_has_one_writer_at_a_time() -> None:
    ledger = load_of().ledger
    assert ledger.begin(0) == 2
    assert ledger.begin(0) is None
    ledger.end(0, 2, acknowledged=False)
    assert ledger.begin(0) == 3


def test_the_seed_repeats_the_calls() -> None:
    first, again, other = (Load(keys=50, seed=seed, workers=2).calls(1) for seed in (1, 1, 2))
    drawn = [[next(calls)] + [calls.send(text(1)) for _ in range(50)] for calls in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_fine_meets_every_verdict() -> None:
    assert all(it.met for it in judge([FINE], [RECOVERED]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"errors": {"TimeoutError": 1}},
        {"false_misses": 1},
        {"stale_reads": 1},
        {"oldest_ms": 1_501.0},
        {"lost": 1},
        {"old": 1},
        {"converged": False},
        {"longest_ms": 1_051.0},
        {"during": 99.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_each_wrong_figure_of_one_fault_misses_one_verdict(wrong: dict[str, object]) -> None:
    verdicts = judge([FINE, replace(FINE, fault="empty", **wrong)], [RECOVERED])  # type: ignore[arg-type]  # any field
    assert [it.met for it in verdicts].count(False) == 1


@pytest.mark.parametrize("wrong", [{"seconds": 5.1}, {"equal": False}, {"verified": False}])
def test_a_slow_or_incomplete_recovery_misses_its_verdict(wrong: dict[str, object]) -> None:
    verdicts = judge([FINE], [RECOVERED, replace(RECOVERED, **wrong)])  # type: ignore[arg-type]  # any field
    assert [it.met for it in verdicts].count(False) == 1


def test_rounds_are_summed_where_one_failure_counts_and_typical_where_rates_do() -> None:
    slow, bad = replace(FINE, during=50.0), replace(FINE, during=300.0, stale_reads=2, longest_ms=70.0, converged=False)
    merged = over_rounds([slow, FINE, bad])
    assert (merged.ratio, merged.stale_reads, merged.longest_ms) == (FINE.ratio, 2, 70.0)
    assert merged.acknowledged == 150 and merged.converged is False
