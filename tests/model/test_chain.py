"""Two processes on memory → Redis → File against a dict with expiry; and what the model finds when a rule is taken out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import PROFILE
from tests.model.chain_machine import ChainMachine
from tests.servers import RedisServer
from tiered.replication.owed import Owed
from tiered.replication.trust import Trust
from tiered.tiers import redis_link
from tiered.tiers.file_session import Session

EXAMPLES = settings(max_examples=60 if PROFILE == "default" else 2000, stateful_step_count=40, deadline=None)
UNTIL_FOUND = settings(
    max_examples=3000,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # what is found is expected, so it need not be small
    print_blob=False,
)
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    ChainMachine.server = RedisServer()
    yield
    ChainMachine.server.stop()


def test_the_chain_is_a_dict_with_expiry_however_redis_fails() -> None:
    run_state_machine_as_test(ChainMachine, settings=EXAMPLES)


def put_always(patch: Patch) -> None:
    script = redis_link.Script("put_if_newer.lua")
    condition = "if hi > held_hi or (hi == held_hi and lo > held_lo) then"
    assert condition in script.text
    script.text = script.text.replace(condition, "if true then")
    script.sha = "0" * 40  # which no server knows, so it is sent the text
    patch.setattr(redis_link, "PUT", script)


def owe_nothing(patch: Patch) -> None:
    patch.setattr(Owed, "__contains__", lambda *_: False)


def believe_caches_for_ever(patch: Patch) -> None:
    patch.setattr(Trust, "caches", lambda *_: True)


def serve_memory_for_ever(patch: Patch) -> None:
    patch.setattr(Trust, "record_until", lambda *_: math.inf)


def keep_the_generation(patch: Patch) -> None:
    patch.setattr(Session, "bump", lambda _: None)


def late(machine: ChainMachine) -> None:
    machine.a_write_overtakes_one_that_is_late(number=0, place=PLACE, older="late", newer="new")
    machine.memory_forgets(number=1)
    machine.get(number=1, place=PLACE)


def lost(machine: ChainMachine) -> None:
    machine.a_write_does_not_reach_redis(number=0, place=PLACE, value="new")
    machine.memory_forgets(number=0)
    machine.get(number=0, place=PLACE)


def elsewhere(machine: ChainMachine) -> None:
    machine.set(number=1, place=PLACE, value="new", ttl=None)
    machine.time_passes_unobserved(seconds=4)
    machine.get(number=0, place=PLACE)


def elsewhere_and_lost(machine: ChainMachine) -> None:
    machine.a_write_does_not_reach_redis(number=1, place=PLACE, value="new")
    machine.time_passes_unobserved(seconds=4)
    machine.get(number=0, place=PLACE)


def restarted(machine: ChainMachine) -> None:
    machine.redis_restarts_with_old_data(number=0, place=PLACE, value="new")
    machine.all_is_well_for_a_while()
    machine.moments_pass(eighths=1, looks=2)
    machine.memory_forgets(number=0)
    machine.get(number=0, place=PLACE)


PLACE = ("default", "a")
RULES: dict[str, tuple[Callable[[Patch], None], Callable[[ChainMachine], None]]] = {
    "put-if-newer": (put_always, late),
    "what a cache lacks is owed": (owe_nothing, lost),
    "memory is believed for less than the staleness bound": (serve_memory_for_ever, elsewhere),
    "caches are believed for less than the staleness bound": (believe_caches_for_ever, elsewhere_and_lost),
    "another run of the server is another generation": (keep_the_generation, restarted),
}


def follow(schedule: Callable[[ChainMachine], None]) -> None:
    machine = ChainMachine()
    try:
        machine.set(number=0, place=PLACE, value="old", ttl=None)
        schedule(machine)
    finally:
        machine.teardown()


def breaks(schedule: Callable[[ChainMachine], None]) -> bool:
    """Whether the schedule shows somebody an old value."""
    try:
        follow(schedule)
    except AssertionError as error:
        assert re.search(r"was shown '(old|late)'", str(error))
        return True
    return False


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_a_schedule_that_needs_it(rule: str) -> None:
    take_out, schedule = RULES[rule]
    follow(schedule)
    with pytest.MonkeyPatch.context() as patch:
        take_out(patch)
        assert any(breaks(schedule) for _ in range(5))  # a busy machine may let Redis miss the old value, too


@pytest.mark.nightly  # seconds or minutes each, until the schedule is found
@pytest.mark.parametrize("rule", RULES)
def test_the_search_finds_a_schedule_when_a_rule_is_taken_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RULES[rule][0](monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(ChainMachine, settings=UNTIL_FOUND)
