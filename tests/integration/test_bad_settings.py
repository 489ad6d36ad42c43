"""A chain or an option that cannot work is a typed error in words that help, before a directory is made or a port asked.

Many more URLs, one by one, are in tests/unit/test_config.py.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tiered import AsyncTieredBackend, ConfigError, FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.arguments import MAX_TTL
from tiered.options import OPTIONS

BAD_CHAINS: list[tuple[Any, str]] = [
    (None, "a chain is a str"),
    (b"memory://", "a chain is a str"),
    ("", "the chain is empty"),
    ("memory", "no scheme"),
    ("memroy://,file:data", "did you mean 'memory'"),
    ("memory://?max_entires=5,file:data", "did you mean 'max_entries'"),
    ("memory://?max_entries=5&max_entries=6,file:data", "more than once"),
    ("redis:localhost,file:data", "two slashes are missing"),
    ("redis://local host,file:data", "a blank"),
    ("redis://localhost:99999,file:data", "port"),
    ("redis://localhost:port,file:data", "port"),
    ("redis://localhost?db=x,file:data", "database"),
    ("redis://localhost?timeout=0,file:data", "timeout must be a number from 0.001 to 3600 seconds"),
    ("redis://localhost?timeout=1e-9,file:data", "timeout must be"),
    ("redis://localhost?max_ttl=1e300,file:data", "max_ttl must be"),
    ("redis://localhost?name=,file:data", "name"),
    ("redis://localhost?prefix=,file:data", "prefix"),
    ("unix://,file:data", "absolute path of a socket"),
    ("memory://,file:data?sync=fast", "sync must be"),
    ("memory://,file:data?max_pending=0", "max_pending"),
    ("redis://localhost?max_reply_bytes=7,file:data", "max_reply_bytes"),
    ("memory://,file:data?snyc=full", "did you mean 'sync'"),
    ("memory://,file:data#2", "%23"),
    ("file:data,redis://localhost?timeout=0", "timeout must be"),
]
BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"namspace": "a"}, "did you mean 'namespace'"),
    *(({"namespace": name}, "namespace") for name in ("", "a/b", 7, "x" * 65, "\ud800")),
    *(({"deadline": limit}, "deadline") for limit in (0, -1, math.nan, math.inf, "soon", None, True)),
    *(({"staleness": limit}, "staleness") for limit in (0, -1, math.nan, math.inf, 1e12, "soon", None)),
    ({"codec": "pickel"}, "codec"),
    *(({"max_value_bytes": limit}, "max_value_bytes") for limit in (0, -1, 1.5, 10**400, "much", None)),
    *(({"max_key_bytes": limit}, "max_key_bytes") for limit in (0, -1, 1.5, "much", None)),
    *(({"max_depth": limit}, "max_depth") for limit in (0, 201, 1.5, "much", None)),
    *(({"compress_above": limit}, "compress_above") for limit in (-1, 1.5, "much")),
    *(
        ({"keys": keys}, "keys: ")
        for keys in ("", "hunter2", "env:NOT_SET_AT_ALL", "file:/nowhere", 7, {}, {"k": b"x"})
    ),
    *(({"protect": it, "keys": {"k": bytes(32)}}, "protect") for it in ("rot13", "none", 7, [])),
    *(({"migrate": it, "keys": {"k": bytes(32)}}, "migrate") for it in ("perhaps", None, 2)),
    *((options, "needs keys") for options in ({"codec": "pickle"}, {"protect": "sign"}, {"migrate": True})),
    *(({"shared": answer}, "shared") for answer in ("perhaps", None, 2)),
    *(({"serve_unproven": answer}, "serve_unproven") for answer in ("perhaps", 2)),
    *(({"trace": answer}, "trace") for answer in ("perhaps", None, 2)),
    *(({"lease_ttl": limit}, "lease_ttl") for limit in (0, -1, math.nan, math.inf, 1e12, "soon", None)),
    *(({"load_patience": limit}, "load_patience") for limit in (0, -1, math.nan, math.inf, 1e12, "soon", None)),
    *(({"metric_namespaces": limit}, "metric_namespaces") for limit in (-1, 1.5, 2**63, "much", None)),
    *(({"read_order": it}, "read_order") for it in ("fastest", None, 2)),
    *(({"feed": it}, "feed") for it in ("never", None, 2)),
    *(({"journal": it}, "journal") for it in ("", "a\0b", 7)),
    *(({"name": it}, "name") for it in ("", " ", "a\nb", 7)),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("url", "says"), BAD_CHAINS)
def test_a_chain_that_cannot_work_is_refused_and_no_directory_is_made(url: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredBackend.from_url(url)
    with pytest.raises(ConfigError, match=says if url is not None else "no chain"):
        TieredBackend.from_config({} if url is None else {"url": url})
    assert os.listdir() == []


@pytest.mark.parametrize(("options", "says"), BAD_OPTIONS)
def test_an_option_that_cannot_work_is_refused_and_no_directory_is_made(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredBackend.from_config({"url": "memory://,file:data"}, **options)
    assert os.listdir() == []


@pytest.mark.parametrize(("options", "says"), [it for it in BAD_OPTIONS if "shared" not in it[0]])
def test_from_url_refuses_an_option_before_a_directory_is_made(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredBackend.from_url("memory://,file:data", **options)
    assert os.listdir() == []


def test_every_option_is_among_them() -> None:
    assert {name for options, _ in BAD_OPTIONS[1:] for name in options} == set(OPTIONS)


@pytest.mark.parametrize(("options", "says"), BAD_OPTIONS[1:])
def test_the_constructors_refuse_it_too(options: dict[str, Any], says: str) -> None:
    for kind in (TieredBackend, AsyncTieredBackend):
        with pytest.raises(ConfigError, match=says):
            kind([MemoryTier()], **options)


@pytest.mark.parametrize("answer", ["no", "false", "", 0, 1, b"no"])
@pytest.mark.parametrize("name", ["shared", "serve_unproven", "trace", "migrate"])
def test_what_looks_like_an_answer_is_none_without_being_read(name: str, answer: Any) -> None:
    options: dict[str, Any] = {name: answer}
    with pytest.raises(ConfigError, match=f"{name} must be True or False"):
        TieredBackend([MemoryTier()], **options)


def test_a_limit_is_a_number_that_the_tiers_can_count_to(tmp_path: Path) -> None:
    for build in (partial(FileTier, tmp_path / "data", max_pending=2**63), partial(MemoryTier, max_bytes=10**400)):
        with pytest.raises(
            ConfigError, match=r"max_(pending|bytes) must be a whole number of at least \d, below 2\^63"
        ):
            build()
    with closing(FileTier(tmp_path / "data", max_pending=2**63 - 1)) as tier:
        tier._tidy()


def test_the_longest_time_that_may_be_given_works(redis_url: str, tmp_path: Path) -> None:
    most = dict.fromkeys(("deadline", "staleness", "lease_ttl", "load_patience"), MAX_TTL)
    tiers = [MemoryTier(), RedisTier(redis_url), FileTier(tmp_path / "data")]
    with TieredBackend(tiers, **most) as store:  # type: ignore[arg-type]  # all of these are seconds
        assert store.get_or_set("k", lambda: 1) == 1
        with ThreadPoolExecutor() as threads:
            assert set(threads.map(lambda _: store.get_or_set("other", lambda: 2), range(8))) == {2}
        assert store.stats()["namespace"]["unleased"] == 0 and store.health()["redis"]["breaker"] == "closed"


@pytest.mark.parametrize("answer", ["no", None, 0, 1])
def test_so_it_is_with_the_answers_to_tiers(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(ConfigError, match="shared must be True or False"):
        FileTier(tmp_path / "data", shared=answer)
    with pytest.raises(ConfigError, match="insecure_tls must be True or False"):
        RedisTier("rediss://localhost?ssl_cert_reqs=none", insecure_tls=answer)
    assert not (tmp_path / "data").exists()


class Wrapper:
    """All that a tier has, but none of it where `isinstance` looks since Python 3.12."""

    def __init__(self, tier: MemoryTier) -> None:
        self._tier = tier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tier, name)


@pytest.mark.parametrize(
    ("tiers", "says"),
    [
        ("memory://", "a list of at least one tier"),
        (5, "a list of at least one tier"),
        ([], "a list of at least one tier"),
        (["memory://"], "TieredBackend.from_url takes URLs"),
        ([MemoryTier], "give an instance"),
        ([None], "it has no name, probe, health, close"),
    ],
)
def test_what_is_no_tier_is_refused(tiers: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TieredBackend(tiers)


def test_what_getattr_gives_makes_no_tier_since_isinstance_does_not_ask_it() -> None:
    wrapper: Any = Wrapper(MemoryTier())
    if sys.version_info < (3, 12):
        TieredBackend([wrapper]).close()
        return
    with pytest.raises(ConfigError, match="__getattr__ gives does not count"):
        TieredBackend([wrapper])


def test_a_store_that_is_sent_to_another_process_says_where_to_build_one() -> None:
    with TieredBackend([MemoryTier()]) as store, pytest.raises(TypeError, match="build one there"):
        pickle.dumps(store)
