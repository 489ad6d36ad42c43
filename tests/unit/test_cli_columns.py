"""Tables that fit, and numbers that are short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered.cli.columns import Column, table
from tiered.cli.quantities import count, percent, size, span

COLUMNS = (Column("tier", left=True), Column("role", rank=2), Column("reads/s", rank=1, least=9))


def test_columns_are_left_out_by_their_rank() -> None:
    rows = [["redis", "cache", "1,234"]]
    assert table(COLUMNS, rows, 80) == ["tier    role    reads/s", "redis  cache      1,234"]
    assert table(COLUMNS, rows, 20) == ["tier     reads/s", "redis      1,234"]
    assert table(COLUMNS, rows, 8) == ["tier", "redis"]


@given(st.lists(st.tuples(*[st.text("xy", max_size=30)] * 3), max_size=4), st.integers(1, 120))
def test_no_line_is_longer_than_the_width(rows: list[tuple[str, str, str]], width: int) -> None:
    assert all(len(line) <= width for line in table(COLUMNS, rows, width))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(0), "0"), (count(0.04), "<0.1"), (count(9.94), "9.9"), (count(3.0), "3"), (count(9999), "9,999"),
        (count(12_345), "12.3k"), (count(999_960), "1.0M"), (count(3e9), "3.0G"), (count(None), "–"),
        (percent(1), "100%"), (percent(0.99999), "99.9%"), (percent(0), "0.0%"), (percent(None), "–"),
        (span(2e-7), "0.2µs"), (span(0.0035), "3.5ms"), (span(0.9999), "1.0s"), (span(61), "1min"), (span(7200), "2h"),
        (span(172_800), "2d"), (size(0), "0B"), (size(1023), "1023B"), (size(64 << 20), "64.0MB"), (size(1 << 40), "1,024.0GB"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats(0, 1e12))
def test_numbers_stay_short(number: float) -> None:
    assert len(count(number)) <= 8 and len(span(number % 1e7)) <= 6
