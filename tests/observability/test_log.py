"""The log: transitions, with fields, and never a value, a key or a password."""

from __future__ import annotations

import logging

import pytest

from tests.observability.conftest import Start
from tests.servers import free_port
from tiered import MemoryTier, RedisTier, TieredBackend

SECRET = "hunter2"


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    records = [vars(it) for it in caplog.records if "tiered_event" in vars(it)]
    return [(it["tiered_event"], it["tiered_tier"]) for it in records]


def test_an_outage_is_two_transitions_and_not_a_line_per_call(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tiered")
    a = start()
    a.store.set("k", 0)
    a.cache.cut_off()
    for n in range(20):
        a.store.set(f"{SECRET}{n}", SECRET)
        a.store.get(f"{SECRET}{n}")
    a.cache.reconnect()
    a.readmit()
    assert events(caplog) == [("opened", "cache"), ("closed", "cache")]
    opened, closed = (vars(it) for it in caplog.records if "tiered_event" in vars(it))
    assert (opened["tiered_op"], opened["tiered_error"]) == ("put", "connection")
    assert closed["tiered_replayed"] == "20"
    assert SECRET not in caplog.text


def test_a_new_generation_and_lost_debts_are_told(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tiered")
    a = start()
    a.store.set("k", 0)
    a.guard.owed.limit = 2
    a.cache.cut_off()
    a.store.set_many({f"k{n}": n for n in range(5)})
    a.cache.reconnect()
    a.readmit()
    assert events(caplog) == [("debts_lost", "cache"), ("new_generation", "cache"), ("closed", "cache")]


def test_no_password_is_logged(caplog: pytest.LogCaptureFixture, tmp_path: object) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0"
    from tiered import FileTier

    with TieredBackend([MemoryTier(), RedisTier(url), FileTier(f"{tmp_path}/store")]) as store:
        for n in range(8):
            store.set(f"k{n}", n)
    assert ("opened", "redis") in events(caplog)
    assert SECRET not in caplog.text
