"""Entries of a class, or a codec, that this process does not have: intact, unreadable here, and left for those who do."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cli.running import tiered
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, FileTier, MemoryTier, NotApplied, RedisTier, StoreUnavailable, TieredBackend
from tiered.codecs import MsgpackCodec
from tiered.errors import Reason, Unreadable
from tiered.verification.report import Example, Kind

Open = Callable[..., TieredBackend]


@dataclass
class Plan:
    name: str


class Level(enum.Enum):
    LOW = 1


class Moved:
    """Can be pickled as long as its name stays."""


KNOWN = MsgpackCodec(types=[Plan, Level])
REGISTER = "delete nothing, register it: MsgpackCodec(types=[Plan])"
OLDER = [
    make_dataclass("Plan", [("title", str)]),
    make_dataclass("Plan", [("name", str), ("price", int)]),
]


@pytest.fixture
def opened(redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens one of the stores of a deployment: of one Redis and one directory, with a codec of its own."""
    with ExitStack() as stores:

        def open_(codec: Any = None, *above: Any, **options: Any) -> TieredBackend:
            tiers = [*above, RedisTier(redis_server.url, timeout=5.0), FileTier(tmp_path)]
            return stores.enter_context(
                TieredBackend(tiers, codec=codec, staleness=0.2, deadline=0.3, name=f"{codec}", **options)
            )

        yield open_


@pytest.fixture
def in_redis(redis_server: RedisServer) -> Iterator[Callable[[], dict[bytes, bytes]]]:
    with redis.Redis.from_url(redis_server.url) as raw:
        yield lambda: {name: raw.get(name) for name in raw.scan_iter("tiered:default:*:plan")}


def unreadable(call: Callable[[], object], kind: type[Exception] = StoreUnavailable) -> str:
    """What `call` says of an entry that this process cannot read."""
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value.__cause__, Unreadable) and caught.value.reason is Reason.SERIALIZATION  # type: ignore[attr-defined]  # a StoreError
    said = str(caught.value)
    assert "cannot be read here" in said and "damaged" not in said and "restore" not in said
    return said


def test_reading_what_only_newer_processes_know_takes_nothing_from_them(opened: Open, in_redis: Any) -> None:
    new, old = opened(KNOWN), opened(None, MemoryTier())
    new.set("plan", Plan("pro"))
    new.set("other", 1)
    before = in_redis()
    assert len(before) == 1
    for _ in range(2):
        assert REGISTER in unreadable(lambda: old.get("plan"))
        assert REGISTER in unreadable(lambda: old.get_many(["plan", "other"]))
        assert REGISTER in unreadable(lambda: list(old.items()))
        unreadable(lambda: old.increment("plan"), NotApplied)
        unreadable(lambda: old.touch("plan", 60), NotApplied)
        unreadable(lambda: asyncio.run(AsyncTieredBackend.over(old).get("plan")))
    assert in_redis() == before and new.lookup("plan")[1:3] == (Plan("pro"), "redis")
    tiers = old.stats()["tiers"]
    assert (tiers["redis"]["corrupt"], tiers["file"]["corrupt"]) == (0, 0)
    assert old.get("other") == 1 and set(old.keys()) == {"plan", "other"}
    new.set("plan", "free")
    assert old.get("plan") == "free"


@pytest.mark.parametrize("older", OLDER)
def test_a_class_that_has_other_fields_here_is_no_damage_either(opened: Open, in_redis: Any, older: type) -> None:
    opened(KNOWN).set("plan", Plan("pro"))
    before = in_redis()
    said = unreadable(lambda: opened(MsgpackCodec(types=[older])).get("plan"))
    assert "its class 'Plan'" in said and "delete nothing" in said and in_redis() == before


@pytest.mark.parametrize(("wrote", "reads"), [("msgpack", "json"), ("json", "msgpack"), ("raw", "json")])
def test_another_codec_is_named(opened: Open, in_redis: Any, wrote: str, reads: str) -> None:
    opened(wrote).set("plan", b"x" if wrote == "raw" else "x")
    before = in_redis()
    said = unreadable(lambda: opened(reads).get("plan"))
    assert (
        f"written by the codec {wrote}, and this store has {reads}; delete nothing, read it with codec={wrote!r}"
        in said
    )
    assert in_redis() == before


def test_a_pickle_of_a_class_that_is_not_there_is_left(opened: Open, in_redis: Any, monkeypatch: Any) -> None:
    keys = {"k": bytes(32)}
    opened("pickle", keys=keys).set("plan", Moved())
    before = in_redis()
    monkeypatch.delattr(f"{__name__}.Moved")
    assert "AttributeError" in unreadable(lambda: opened("pickle", keys=keys).get("plan"))
    assert in_redis() == before


def test_verify_and_repair_leave_it_and_say_why(opened: Open, in_redis: Any) -> None:
    new, old = opened(KNOWN), opened(None, MemoryTier())
    new.set("plan", {"is": Plan("pro")})
    new.set("other", 1)
    before = in_redis()
    for report in (old.verify(), old.repair(dry_run=False)):
        record, cache = report.tier("file"), report.tier("redis")
        assert record.faults == {Kind.UNREADABLE: 1} and record.counts[Kind.SAME] == 1 and not report.ok
        assert record.examples == {Kind.UNREADABLE: (Example("default", "plan"),)}
        (reason,) = record.reasons
        assert "of a class 'Plan' that is not registered here" in reason
        assert cache.counts[Kind.SAME] == 2 and not cache.faults  # its bytes can be compared all the same
    assert in_redis() == before and new.verify().converged


def test_the_commands_name_the_class_and_advise_no_deletion(
    opened: Open, redis_server: RedisServer, tmp_path: Path
) -> None:
    opened(KNOWN).set("plan", Plan("pro"))
    url = f"memory://,{redis_server.url},file:{tmp_path}"
    got, explained, verified, doctor = (
        tiered(*command, url=url, COLUMNS="300")
        for command in (("get", "plan"), ("get", "plan", "--explain", "--json"), ("verify",), ("doctor", "--json"))
    )
    assert got.returncode == 3 and REGISTER in got.stderr and "damaged" not in got.stderr
    assert [it["has"] for it in json.loads(explained.stdout)["tiers"]] == ["not known", "UNREADABLE", "UNREADABLE"]
    assert verified.returncode == 1 and "UNREADABLE: 1. Give the keys" in verified.stdout
    assert "TIERED_CODEC" in verified.stdout and REGISTER in " ".join(verified.stdout.split())
    (entries,) = (it for it in json.loads(doctor.stdout)["findings"] if it["check"] == "file.entries")
    assert entries["level"] == "problem" and REGISTER in entries["text"] and "TIERED_CODEC" in entries["fix"]


BOT = """
from dataclasses import dataclass
from tiered.codecs import MsgpackCodec

@dataclass
class Plan:
    name: str

codec = MsgpackCodec(types=[Plan])
"""


def test_the_shell_is_given_the_codec_of_the_bot(opened: Open, redis_server: RedisServer, tmp_path: Path) -> None:
    opened(KNOWN).set("plan", Plan("pro"))
    (tmp_path / "bot_storage.py").write_text(BOT)
    url, at = f"memory://,{redis_server.url},file:{tmp_path}", {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    got = tiered("get", "plan", url=url, TIERED_CODEC="bot_storage:codec", **at)
    assert (got.returncode, got.stdout) == (0, "Plan(name='pro')\n")
    (tmp_path / "bot.toml").write_text(f'url = "{url}"\ncodec = "bot_storage:codec"\n')
    assert tiered("verify", "--config", str(tmp_path / "bot.toml"), **at).returncode == 0
