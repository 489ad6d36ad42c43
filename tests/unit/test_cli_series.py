"""What `tiered stat` and `top` make of expositions: rates, quantiles, restarts, several processes."""

from __future__ import annotations

import math

import pytest

from tiered.cli.activity import activities
from tiered.cli.series import Change, Series

HITS = 'tiered_reads_total{cache="bot",result="hit",tier="memory"}'


def look(at: float, **texts: str) -> Series:
    return Series(texts, at=at)


def counters(number: float, more: str = "") -> str:
    return f"# TYPE tiered_reads_total counter\n{HITS} {number}\n{more}"


def test_a_rate_is_the_growth_per_second() -> None:
    change = Change(look(10.0, a=counters(100)), look(12.0, a=counters(150)))
    assert change.rate("tiered_reads_total", cache="bot") == 25.0
    assert change.rate("tiered_reads_total", cache="another") == 0.0


def test_a_process_that_started_anew_counts_from_zero() -> None:
    change = Change(look(0.0, a=counters(1000)), look(1.0, a=counters(7)))
    assert change.rate("tiered_reads_total") == 7.0


def test_a_process_that_is_seen_for_the_first_time_did_not_do_all_its_work_just_now() -> None:
    change = Change(look(0.0, a=counters(10)), look(1.0, a=counters(13), b=counters(1_000_000)))
    assert change.rate("tiered_reads_total") == 3.0


def test_a_series_that_is_new_in_a_known_process_began_at_zero() -> None:
    miss = 'tiered_reads_total{cache="bot",result="miss",tier="file"} 5\n'
    change = Change(look(0.0, a=counters(10)), look(1.0, a=counters(10, miss)))
    assert change.rate("tiered_reads_total", result="miss") == 5.0


def test_lines_of_others_are_not_even_read() -> None:
    foreign = 'bot_messages_total{text="tiered_reads_total"} 9\n# HELP bot_x tiered_\nthis is no exposition\n'
    assert look(0.0, a=counters(3, foreign)).total("tiered_reads_total") == 3.0


def test_what_is_no_exposition_is_refused() -> None:
    with pytest.raises(ValueError):
        look(0.0, a="tiered_reads_total{cache=\n")


def histogram(*counts: int) -> str:
    bounds = ("0.1", "0.2", "0.4", "+Inf")
    lines = [f'tiered_x_bucket{{le="{bound}"}} {count}' for bound, count in zip(bounds, counts, strict=True)]
    return "# TYPE tiered_x histogram\n" + "\n".join(lines) + f"\ntiered_x_count {counts[-1]}\ntiered_x_sum 1\n"


@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [
        (0.5, (0, 10, 10, 10), 0.15),  # in the middle of a bucket
        (0.5, (10, 10, 10, 10), 0.05),
        (1.0, (0, 0, 4, 4), 0.4),
        (0.99, (1, 1, 1, 100), 0.4),  # beyond the last bound nobody knows more
        (0.5, (0, 0, 0, 0), None),
    ],
)
def test_quantiles_are_those_of_prometheus(q: float, counts: tuple[int, ...], expected: float | None) -> None:
    change = Change(look(0.0, a=histogram(0, 0, 0, 0)), look(1.0, a=histogram(*counts)))
    found = change.quantile(q, "tiered_x")
    assert found == expected or (found and expected and math.isclose(found, expected))


def test_a_quantile_is_of_what_happened_meanwhile() -> None:
    change = Change(look(0.0, a=histogram(1000, 1000, 1000, 1000)), look(1.0, a=histogram(1000, 1000, 1010, 1010)))
    assert change.quantile(0.5, "tiered_x") == pytest.approx(0.3)


def tier(state: str, pending: int) -> str:
    return (
        'tiered_tier_info{cache="bot",tier="redis",type="redis",role="cache",position="1"} 1\n'
        'tiered_tier_info{cache="bot",tier="memory",type="memory",role="memory",position="0"} 1\n'
        + "".join(
            f'tiered_breaker_state{{cache="bot",tier="redis",state="{it}"}} {int(it == state)}\n'
            for it in ("closed", "open", "half_open")
        )
        + f'tiered_replay_pending{{cache="bot",tier="redis"}} {pending}\n'
    )


def test_of_several_processes_the_worst_breaker_and_the_longest_backlog() -> None:
    before = look(0.0, a=tier("closed", 0), b=tier("closed", 0), c=tier("closed", 0))
    now = look(1.0, a=tier("closed", 3), b=tier("open", 9), c=tier("half_open", 2))
    (cache,) = activities(Change(before, now))
    memory, redis = cache.tiers
    assert (cache.processes, memory.tier, memory.state) == (3, "memory", "")
    assert (redis.state, redis.away, redis.pending, redis.hits) == ("open", 2, 9, None)


def test_an_exposition_of_another_release_shows_what_it_has() -> None:
    (cache,) = activities(Change(look(0.0, a=counters(0)), look(1.0, a=counters(10))))
    assert (cache.cache, cache.reads, cache.hits, cache.tiers) == ("bot", 10.0, 1.0, [])
    assert activities(Change(look(0.0, a=counters(0)), look(1.0, a=counters(10))), "other") == []
