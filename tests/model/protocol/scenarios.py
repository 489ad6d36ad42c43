"""Small scenarios, each large enough for the rules named beside it to matter."""

from __future__ import annotations

from tests.model.protocol.model import Scenario

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("confirm", ({"set": 1}, {"set": 1}), {"fail": 1, "B.kill": 1}, lazy=True),
        Scenario("two writers", ({"set": 1, "delete": 1, "get": 1},)),
        Scenario("reads and writes", ({"set": 1, "get": 2},), {"A.forget": 1}),
        Scenario("batch", ({"batch": 1, "get": 2}, {"delete": 1})),
        Scenario("clear", ({"clear": 1, "get": 2},)),
        Scenario("clear elsewhere", ({"get": 2}, {"clear": 1}), {"delta": 1}, keepers=(0,)),
        Scenario(
            "late and expired",
            ({"set": 1, "get": 1}, {"set": 1}),
            {"late": 1, "expire": 1, "retire": 1},
        ),
        Scenario("stalled and expired", ({"get": 1}, {"set": 1, "get": 1}), {"expire": 1, "retire": 1}, slot=False),
        Scenario("late and deleted", ({"set": 1}, {"delete": 1, "get": 1}), {"late": 1, "retire": 1}, threads=1),
        Scenario("late and evicted", ({"set": 1, "get": 1}, {"set": 1}), {"late": 1, "evict": 1}),
        Scenario("cut off", ({"set": 1}, {"get": 1}), {"delta": 1}, memory=(0, 1), cut=(True, False), promises=(3, 4)),
        Scenario(
            "cut off, writing on", ({"set": 2}, {"get": 1}), {"delta": 1}, threads=1, cut=(True, False), after=True
        ),
        Scenario(
            "breaker open",
            ({"set": 1}, {"get": 1}),
            {"delta": 1, "B.trip": 1},
            memory=(0, 1),
            cut=(True, False),
            live=True,
            pubsub=True,
            after=True,
        ),
        Scenario("staleness", ({"set": 1}, {"get": 2}), {"fail": 1, "delta": 1}, threads=1),
        Scenario("two generations", ({"clear": 1, "set": 1, "get": 1}, {"set": 1}), {"A.forget": 1}),
        Scenario("one failure", ({"get": 2}, {"set": 1}), {"fail": 1, "A.forget": 1}, threads=1),
        Scenario("paid meanwhile", ({"get": 3}, {"set": 1}), {"fail": 1, "A.forget": 2}, keepers=(0,), threads=1),
        Scenario("half-open", ({"get": 2}, {"set": 1}), {"A.trip": 1, "A.forget": 1}, threads=1),
        Scenario("breaker", ({"get": 2}, {"set": 1}), {"fail": 2, "A.forget": 1}, trips=True),
        Scenario(
            "set aside",
            ({"get": 2}, {"set": 1}),
            {"fail": 1, "late": 1, "A.trip": 1, "A.forget": 1},
            threads=1,
            refuses=True,
        ),
        Scenario("half-open, writing", ({"set": 1, "get": 1},), {"A.trip": 1, "A.forget": 1}),
        Scenario("stall", ({"get": 2}, {"set": 1}), {"delta": 1}),
        Scenario("intents", ({"set": 1}, {"get": 1}), {"fail": 1, "A.kill": 1}, intents=True),
        Scenario("intents replayed", ({"set": 1}, {}), {"fail": 1, "A.kill": 1}, intents=True, keepers=(1,)),
        Scenario(
            "intents, breaker open",
            ({"get": 2}, {"set": 1}),
            {"fail": 1, "A.trip": 1, "A.forget": 1},
            intents=True,
            threads=1,
        ),
        Scenario("promoted", ({"set": 1, "get": 1}, {}), {}, memory=(0, 1), slot=False, live=True, pubsub=True),
        Scenario("old snapshot", ({"set": 1, "get": 2},), {"old": 1, "A.forget": 1}, promises=(3, 4)),
        Scenario(
            "old snapshot, new process",
            ({"set": 1}, {"get": 1}),
            {"old": 1, "B.kill": 1, "delta": 1},
            threads=1,
            after=True,
            promises=(3, 4),
        ),
        Scenario("deleted", ({"get": 2}, {"delete": 1}), {"fail": 2, "A.forget": 1}, keepers=(0,), threads=1),
        Scenario("deleted, read twice", ({"batch": 1, "get": 2}, {"delete": 1}), slot=False),
        Scenario(
            "record first", ({"direct": 1, "get": 2}, {"set": 1}), {"fail": 1, "A.forget": 1}, keepers=(0,), threads=1
        ),
        Scenario("gap", ({"set": 1}, {"get": 2}), {"B.gap": 1}, live=True, pubsub=True, threads=1),
        Scenario("doubt, then a failure", ({"set": 2, "get": 1},), {"doubt": 1, "fail": 1, "A.forget": 1}, threads=1),
        Scenario(
            "put back", ({"set": 4, "get": 1},), {"copy": 1, "put back": 1, "A.forget": 1}, threads=1, forgets=True
        ),
        Scenario(
            "put back twice",
            ({"set": 3, "get": 1},),
            {"copy": 1, "put back": 2, "A.forget": 1},
            threads=1,
            forgets=True,
        ),
        Scenario("doubt", ({"delete": 1, "get": 1},), {"doubt": 1}),
    )
}

NIGHTLY = {
    scenario.name: scenario
    for scenario in (
        Scenario("failures", ({"set": 1, "get": 1}, {"set": 1, "get": 1}), {"fail": 2}, trips=True, lazy=True),
        Scenario("late", ({"set": 1, "get": 1}, {"delete": 1, "get": 1}), {"late": 2}, keepers=(0, 1), threads=1),
        Scenario("restarts", ({"set": 1, "get": 1}, {"get": 1}), {"old": 1, "empty": 1, "A.forget": 1}),
        Scenario(
            "kills", ({"set": 1, "get": 1}, {"set": 1}), {"fail": 1, "A.kill": 1, "B.kill": 1}, trips=True, lazy=True
        ),
        Scenario("δ", ({"set": 1, "get": 1}, {"get": 1}), {"fail": 1, "delta": 1}, keepers=(1,)),
        Scenario("clears", ({"clear": 1, "get": 1}, {"set": 1, "get": 1}), {"fail": 1, "A.forget": 1}, keepers=(0,)),
        Scenario(
            "messages",
            ({"set": 1}, {"get": 1}),
            {"fail": 1, "B.gap": 1, "delta": 1},
            memory=(0, 1),
            live=True,
            pubsub=True,
            threads=1,
        ),
        Scenario("three", ({"set": 1}, {"delete": 1}, {"get": 2}), {"fail": 1}, threads=1),
        Scenario(
            "three, cut off",
            ({"set": 1}, {"set": 1}, {"get": 1}),
            {"delta": 1},
            cut=(True, False, False),
            threads=1,
            after=True,
        ),
        Scenario(
            "record first, two at a time",
            ({"direct": 2, "get": 1}, {"set": 1}),
            {"fail": 1, "A.forget": 1},
            keepers=(0,),
        ),
        Scenario(
            "put back under two",
            ({"set": 1, "get": 1}, {"set": 1, "get": 1}),
            {"copy": 1, "put back": 1, "A.forget": 1},
            threads=1,
            forgets=True,
        ),
        Scenario(
            "intents of two",
            ({"set": 1, "get": 1}, {"set": 1}),
            {"fail": 1, "A.forget": 1},
            intents=True,
            keepers=(0,),
            threads=1,
        ),
    )
}
