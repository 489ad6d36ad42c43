"""What an entry in memory costs: the figure of `make bench`, with fewer entries."""

from __future__ import annotations

from benchmarks.memory_size import ASKED, bytes_per_entry


def test_an_entry_in_memory_costs_no_more_than_it_is_said_to():
    assert 150 < bytes_per_entry(20_000) <= ASKED
