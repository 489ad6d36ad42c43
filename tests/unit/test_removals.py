"""The judge of a history finds the deletes that explain an absence as fast as a soak needs it, and as a plain search would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiered.testing.chaos.order import NO_LIMIT, Place, Removals

moments = st.integers(0, 30).map(float)
places = st.tuples(st.integers(0, 12), st.integers(0, 1))
deletes = st.lists(st.tuples(moments, st.integers(1, 14) | st.just(NO_LIMIT), places), max_size=12).map(sorted)


@given(deletes, moments, places)
def test_the_same_as_a_plain_search(deletes: list[tuple[float, int, Place]], until: float, floor: Place) -> None:
    removals = Removals(deletes)
    found = [low for start, high, low in deletes if start < until and high > floor[0] + 1]
    assert removals.explain(until, floor) == bool(found)
    assert removals.lowest(until, floor) == min(found, default=None)
