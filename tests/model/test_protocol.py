"""The protocol keeps its promises in every schedule of the model, and without any one of its rules it does not.

Run with `-s` to read the counter-examples; docs/protocol.md holds the same ones.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import pytest

from tests.model.protocol.explore import explore
from tests.model.protocol.necessity import NEEDED, REMAINS, SPARE, remaining, without
from tests.model.protocol.rules import Rules
from tests.model.protocol.scenarios import NIGHTLY, SCENARIOS
from tiered.chain import Chain, Space
from tiered.codecs.rules import PLAIN
from tiered.replication.breaker import State
from tiered.replication.coherence import Coherence
from tiered.replication.guard import Guard
from tiered.replication.inflight import Flight, InFlightTable
from tiered.replication.keeper import Keeper
from tiered.replication.outlook import Outlook
from tiered.replication.owed import Debt, Owed
from tiered.replication.replay import Replay
from tiered.replication.trust import Trust
from tiered.tiers.base import RETENTION_MS, Absence, Journal, Mark, Record
from tiered.tiers.memory import MemoryTier
from tiered.tiers.redis import TIME_LIMITS, RedisTier, life_of_a_put

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
nightly = pytest.mark.nightly


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != REMAINS])
def test_no_schedule_breaks_a_promise(name: str) -> None:
    result = explore(SCENARIOS[name])
    assert not result.broken, f"\n{result}"


@pytest.mark.parametrize("rule", NEEDED)
def test_without_the_rule_a_promise_breaks(rule: str) -> None:
    result = without(rule)
    print(f"\nwithout {rule}, in “{NEEDED[rule]}”:\n{result}")
    assert result.broken.startswith("promise ")
    assert result.trace


@pytest.mark.parametrize("rule", NEEDED)
def test_the_page_shows_the_shortest_counterexample(rule: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{rule}` |")]
    assert row.endswith(f"| {without(rule).sentence} |")


def test_what_remains_is_an_eviction_while_an_older_put_is_on_its_way() -> None:
    """Not a wish: if this stops failing, R6 has become complete, and the page has to say so."""
    assert "Redis evicts" in str(remaining())
    assert remaining().sentence in PAGE


def test_every_rule_has_a_scenario_or_is_known_to_be_spare() -> None:
    assert {*NEEDED, *SPARE} == set(Rules._fields)
    assert not set(NEEDED) & set(SPARE)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (Flight(0.0), ("started", "answer")),
        (InFlightTable(), ("events", "leaders", "floor", "reach", "renew")),
        (Owed, ("add", "paid", "debts", "settle", "recount")),
        (Debt, ("version", "doubt")),
        (Guard, ("get", "put", "owe", "owe_again")),
        (Guard(MemoryTier()), ("belief", "identity", "breaker", "owed")),
        (State, ("CLOSED", "HALF_OPEN", "OPEN")),
        (Outlook, ("look",)),
        (Trust(1.0), ("settled", "looked", "heard")),
        (Replay, ("run",)),
        (Keeper, ("look", "_readmit", "_pay", "_flush")),
        (Coherence, ("_hear", "_lose", "_start_anew")),
        (Chain, ("learn", "confirm", "prolong")),
        (Space("n", MemoryTier(), PLAIN), ("generation", "scope", "flights")),
        (MemoryTier, ("admit", "drop", "drop_older", "empty")),
        (Mark, ("version", "generation")),
        (Absence, ("version", "pending")),
        (Record, ("commit", "read", "clear", "bump", "generation")),
        (Journal, ("pending", "still_pending", "confirm", "absences", "adopt", "adopted", "replaying")),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
def test_the_names_of_the_page_and_the_model_are_those_of_the_code(owner: object, names: tuple[str, ...]) -> None:
    assert [name for name in names if not hasattr(owner, name)] == []


def test_what_refuses_an_older_put_stays_for_longer_than_any_put_may_take() -> None:
    given = signature(RedisTier).parameters
    assert life_of_a_put(given["timeout"].default, given["max_ttl"].default) == 1.0
    for timeout in (*TIME_LIMITS, 0.1, 5.0, 10.0):
        for max_ttl in (1.0, 5.0, 60.0, 86_400.0):
            assert 0 < life_of_a_put(timeout, max_ttl) <= min(RETENTION_MS / 1000, max_ttl) / 2


@nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", NIGHTLY)
def test_no_schedule_of_a_larger_scenario_breaks_a_promise(name: str) -> None:
    result = explore(NIGHTLY[name])
    assert not result.broken, f"\n{result}"


@nightly
@pytest.mark.slow
@pytest.mark.parametrize("rule", SPARE)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != REMAINS])
def test_a_spare_rule_is_not_needed(rule: str, name: str) -> None:
    result = explore(SCENARIOS[name], Rules().without(rule))
    assert not result.broken, f"{rule} is needed after all:\n{result}"
