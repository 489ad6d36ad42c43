"""Will's `expire` in every form, and the keys whose load failed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiered.arguments import MAX_TTL
from tiered.errors import InvalidTtl, NotApplied
from tiered.integrations.will.expire import seconds_left
from tiered.integrations.will.failed_loads import MAX_KEYS, FailedLoads

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("expire", "seconds"),
    [
        (None, None),
        (5, 5.0),
        ("5", 5.0),
        (" 1.5 ", 1.5),
        (b"5", 5.0),
        (timedelta(minutes=1), 60.0),
        (datetime.fromtimestamp(NOW + 30, UTC), 30.0),
        (datetime.fromtimestamp(NOW + 30), 30.0),
        (0, 0.0),
        (-1, 0.0),
        (timedelta(days=-1), 0.0),
        (datetime.min, 0.0),
        (datetime.max, None),
        (MAX_TTL * 2, None),
        ("inf", None),
        (10**400, None),
        (-(10**400), 0.0),
    ],
)
def test_expire_in_every_form(expire: Any, seconds: float | None) -> None:
    assert seconds_left(expire, NOW) == seconds


@pytest.mark.parametrize("expire", ["soon", "", True, [5], "nan", float("nan"), object()])
def test_what_is_no_time_is_refused(expire: Any) -> None:
    with pytest.raises(InvalidTtl):
        seconds_left(expire, NOW)


def test_a_failed_load_counts_in_its_thread_until_one_succeeds() -> None:
    loads = FailedLoads()
    loads.failed("k", OSError("secret"))
    with pytest.raises(NotApplied, match="OSError") as refused:
        loads.check("k")
    assert "secret" not in str(refused.value)
    loads.check("another")
    elsewhere = threading.Thread(target=loads.check, args=("k",))
    elsewhere.start()
    elsewhere.join()
    loads.succeeded("k")
    loads.check("k")


def test_an_unproven_load_counts_like_a_failed_one() -> None:
    loads = FailedLoads()
    loads.unproven("k", "redis")
    with pytest.raises(NotApplied, match="from redis alone"):
        loads.check("k")
    loads.succeeded("k")
    loads.check("k")


def test_failed_loads_are_bounded() -> None:
    loads = FailedLoads()
    for number in range(MAX_KEYS + 10):
        loads.failed(str(number), OSError())
    loads.check("0")
    with pytest.raises(NotApplied):
        loads.check("10")
    loads.forget()
    loads.check("10")
