"""Chains and settings from text: what works, and what is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiered import ConfigError, FileTier, MemoryTier, TieredBackend
from tiered.chain_url import REDIS, redact, tiers_from_url
from tiered.config import settings_from, tiers_from_settings
from tiered.notation import Reader, count, seconds, size
from tiered.tiers.redis_url import SCHEMES


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "NAMESPACE", "DEADLINE", "STALENESS", "SHARED", "CODEC", "MAX_VALUE_BYTES"):
        monkeypatch.delenv(f"TIERED_{name}", raising=False)


def test_a_chain_is_built_in_its_order_with_its_options(tmp_path: Path) -> None:
    url = f"memory://?max_entries=10&max_bytes=2mb,redis://localhost:1/0?timeout=250ms&name=near,file:{tmp_path}/a%2Cb"
    memory, redis, file = tiers_from_url(url, shared=False)
    assert isinstance(memory, MemoryTier) and (memory.max_entries, memory.max_bytes) == (10, 2 * 2**20)
    assert redis.name == "near"
    assert isinstance(file, FileTier) and file.directory == tmp_path / "a,b"
    for tier in (memory, redis, file):
        tier.close()


@pytest.mark.parametrize(
    ("url", "seeds"),
    [
        ("redis+cluster://a:7000,b:7001,c", [("a", 7000), ("b", 7001), ("c", 6379)]),
        ("redis+cluster://:p%2Cw@a:7000%2Cb:7001", [("a", 7000), ("b", 7001)]),
        ("redis+cluster://:pw@redis:7000, redis2:7001?timeout=1s&name=redis", [("redis", 7000), ("redis2", 7001)]),
        ("rediss+cluster://[::1]:7000,[::2]:7001/0", [("::1", 7000), ("::2", 7001)]),
    ],
)
def test_the_addresses_of_a_cluster_are_separated_by_commas_too(url: str, seeds: Any, tmp_path: Path) -> None:
    _memory, redis, file = tiers_from_url(f"memory://,{url},file:{tmp_path}/x", shared=False)
    assert list(redis._link._masters._target.seeds) == seeds and isinstance(file, FileTier)
    file.close()


def test_the_addresses_of_sentinels_are_separated_by_commas_too(tmp_path: Path) -> None:
    url = "redis+sentinel://:pw@a,b:26380,[::1]/mymaster/2?sentinel_password=x"
    redis, file = tiers_from_url(f"{url},file:{tmp_path}/x", shared=False)
    sentinels = redis._link.pool._target.owner.sentinel_manager.sentinels
    places = [it.connection_pool.connection_kwargs for it in sentinels]
    assert [(it["host"], it["port"]) for it in places] == [("a", 26379), ("b", 26380), ("::1", 26379)]
    assert redis._link.pool._target.arguments["db"] == 2 and redis._link.pool._target.arguments["password"] == "pw"
    assert "pw" not in redact(url) and "=x" not in redact(url)
    file.close()


def test_every_scheme_of_the_redis_tier_can_be_in_a_chain() -> None:
    assert set(REDIS) == set(SCHEMES)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("redsi://localhost", "did you mean 'redis'"),
        ("localhost", "no scheme"),
        ("memory://?max_entires=5", "did you mean 'max_entries'"),
        ("memory://?max_entires=5", "known: max_bytes, max_entries, name"),
        ("memory://?max_bytes=lots", "max_bytes"),
        ("memory://?max_bytes=nan", "max_bytes"),
        ("memory://?max_bytes=1e999", "max_bytes"),
        ("memory://?max_entries=-1", "max_entries"),
        ("memory://?max_entries=1.5", "whole"),
        ("memory://host", "options only"),
        ("redis://localhost?timeout=soon", "timeout"),
        ("redis://localhost?max_connections=many", "max_connections"),
        ("redis://localhost:99999", "port"),
        ("redis://localhost:0", "port"),
        ("redis://localhost:http", "port"),
        ("redis://[::1", "IPv6"),
        ("redis+cluster://a:7000,redsi://b,file:./x", "did you mean 'redis'"),
        ("redis+cluster://a:7000,b:x,file:./x", "unknown tier 'b'"),
        ("redis+cluster://a:7000/0,b:7001,file:./x", "unknown tier 'b'"),
        ("redis+sentinel://a:26379,b:26380,file:./x", "name the service"),
        ("file:./x,memory://", "memory must be the first"),
        ("memory://,memory://?name=b,file:./x", "memory must be the first"),
        ("redis://a,redis://b,file:./x", "names must differ"),
        ("file://data", "file:./data"),
        ("file://data/x", "file:///data/x"),
        ("file:", "directory"),
        ("file:~\0", "NUL"),
        ("redis+cluster:,//u:p@[::\x11]", "malformed"),
    ],
)
def test_what_cannot_work_is_refused_with_advice(url: str, says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        tiers_from_url(url, shared=False)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2,hunter3@localhost,file:./x",
        "redis+cluster://:hunter2,hunter3@localhost,file:./x",
        "redis+sentinel://:hunter2@a:x,b:1/mymaster",
        "redis://:hunter2/hunter3@localhost:99999",
        "redis://user:hunter2@localhost:hunter3",
        "redsi://user:hunter2@localhost",
        "redis://user:hunter2@localhost?password=hunter3",
        "file://user:hunter2@host/x",
        "user:hunter2@localhost",
        "//user:hunter2@localhost",
    ],
)
def test_no_message_holds_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiers_from_url(url, shared=False)
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None


def test_redact_keeps_the_host_and_hides_the_rest() -> None:
    chain = "memory://?max_bytes=1mb,redis://u:p%2Cw@h:6379/0?password=x&timeout=1s,file:./data"
    assert redact(chain) == "memory://?max_bytes=1mb,redis://***@h:6379/0?password=***&timeout=1s,file:./data"
    assert redact("redis://:a,b/c@d@h") == "redis://***@h"


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (seconds, "64mb", "'64mb' is not a time, such as 90, 250ms, 10m or 7d"),
        (seconds, "", "'' is not a time"),
        (seconds, "-1", "'-1' is negative"),
        (size, "10m", "'10m' is not a size, such as 64mb or a number of bytes"),
        (size, "nan", "'nan' is not a size"),
        (size, "-1kb", "'-1kb' is negative"),
        (count, "x", "'x' is not a whole number"),
        (count, "1.5", "'1.5' is not a whole number"),
    ],
)
def test_a_text_that_is_none_is_told_what_it_should_be(read: Reader, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    told = str(caught.value)
    assert told.startswith(says) and ("size" in told) == ("size" in says), "a time is no size"


def test_durations_and_sizes() -> None:
    assert [seconds(text) for text in ("250ms", "1.5s", "2m", "1h", "7d", "3")] == [0.25, 1.5, 120, 3600, 604_800, 3]
    assert [size(text) for text in ("64mb", "1.5KB", "1gb", "7")] == [64 * 2**20, 1536, 2**30, 7]


def test_toml_with_a_url_and_the_environment_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiered.toml"
    path.write_text('[tiered]\nurl = "memory://"\nnamespace = "a"\ndeadline = "250ms"\nstaleness = 2\nshared = false\n')
    wanted = {"url": "memory://", "namespace": "a", "deadline": 0.25, "staleness": 2.0, "shared": False}
    assert settings_from(path) == wanted
    monkeypatch.setenv("TIERED_NAMESPACE", "b")
    monkeypatch.setenv("TIERED_SHARED", "yes")
    monkeypatch.setenv("TIERED_DEADLINE", "2s")
    assert settings_from(str(path)) == {**wanted, "namespace": "b", "shared": True, "deadline": 2.0}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("TIERED_STALENES", "did you mean TIERED_STALENESS?"),
        ("TIERED_ULR", "did you mean TIERED_URL?"),
        ("TIERED_KEYZ", "did you mean TIERED_KEYS?"),
        ("TIERED_KEY", "did you mean TIERED_KEYS?"),
        ("TIERED_COUCHBASE_PASSWD", "did you mean TIERED_COUCHBASE_PASSWORD?"),
        ("TIERED_FOO", "no setting; variables of something else need another name"),
        ("TIERED_", "no setting"),
        ("TIERED_PORT_NUMBER", "no setting"),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_without_its_value(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(ConfigError, match=f"{name} is no setting.*") as caught:
        settings_from({"url": "memory://"})
    assert says in str(caught.value) and "s3cret" not in str(caught.value)


def test_the_variables_that_others_set_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes gives them to every container beside a service that is called tiered."""
    service = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP_METRICS")
    port = ("PORT", "PORT_80_TCP", "PORT_80_TCP_PROTO", "PORT_80_TCP_PORT", "PORT_80_TCP_ADDR", "PORT_53_UDP_ADDR")
    ours = ("TEST_LIMIT", "COUCHBASE_USER", "COUCHBASE_PASSWORD", "COUCHBASE_CERTIFICATE")
    for name in (*service, *port, *ours):
        monkeypatch.setenv(f"TIERED_{name}", "x")
    assert settings_from({"url": "memory://"}) == {"url": "memory://"}


def test_toml_with_tables_of_tiers(tmp_path: Path) -> None:
    path = tmp_path / "tiered.toml"
    path.write_text(
        '[[tiered.tiers]]\ntype = "memory"\nmax_entries = 7\n'
        '[[tiered.tiers]]\ntype = "redis"\nurl = "redis://:a,b@localhost/0"\ntimeout = "50ms"\n'
        f'[[tiered.tiers]]\ntype = "file"\ndirectory = "{tmp_path}/with, comma"\n'
    )
    tiers, settings = tiers_from_settings(path, {})
    assert [tier.name for tier in tiers] == ["memory", "redis", "file"] and settings == {}
    assert isinstance(tiers[0], MemoryTier) and tiers[0].max_entries == 7
    assert isinstance(tiers[2], FileTier) and tiers[2].directory == tmp_path / "with, comma"
    for tier in tiers:
        tier.close()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"urll": "memory://"}, "did you mean 'url'"),
        ({"url": "memory://", "namspace": "a"}, "did you mean 'namespace'"),
        ({"url": "memory://", "deadline": "soon"}, "deadline"),
        ({"url": "memory://", "deadline": True}, "deadline"),
        ({"url": "memory://", "namespace": 7}, "namespace"),
        ({"url": "memory://", "shared": "perhaps"}, "shared"),
        ({"url": "memory://", "journal": 7}, "journal"),
        ({"url": "memory://", "tiers": []}, "one of them"),
        ({"tiers": [{"max_entries": 1}]}, "type"),
        ({"tiers": "memory"}, "list of tables"),
        ({"namespace": "a"}, "no chain"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_advice(source: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiers_from_settings(source, {})
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read_or_parsed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml"):
        settings_from(tmp_path / "absent.toml")
    for content, told in (
        ("=", "not TOML"),
        ("[tired]\nurl = 'file:./data'", r"\[tired\] is no table of settings; they are in \[tiered\]"),
        ("[[tiers]]\ntype = 'file'\ndirectroy = './data'", r"'file' needs directory = '\./bot-data', not directroy"),
        ("[[tiers]]\ntype = 'file'", r"'file' needs directory = '\./bot-data'$"),
    ):
        (tmp_path / "bad.toml").write_text(content)
        with pytest.raises(ConfigError, match=told):
            settings_from(tmp_path / "bad.toml")


def test_a_journal_is_a_directory_by_url_mapping_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings_from({"url": "memory://", "journal": "~/j"})["journal"] == f"{tmp_path}/j"
    assert settings_from({"url": "memory://", "journal": tmp_path})["journal"] == str(tmp_path)
    chain = "memory://,redis://localhost:1/0,redis://localhost:1/1?name=record"
    TieredBackend.from_url(chain, journal=tmp_path / "a").close()
    monkeypatch.setenv("TIERED_JOURNAL", "~/b")
    TieredBackend.from_config({"url": chain}).close()
    assert (tmp_path / "a" / "tiered.sqlite3").exists() and (tmp_path / "b" / "tiered.sqlite3").exists()


def test_a_journal_that_makes_no_sense_leaves_no_tier_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a journal of its own"):
        TieredBackend.from_url(f"redis://localhost:1/0,file:{tmp_path}/s", journal=str(tmp_path / "j"), shared=False)
    FileTier(tmp_path / "s", shared=False).close()


def test_a_cache_tier_that_may_take_much_longer_than_the_deadline_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """timeout=100 is a hundred seconds."""
    for url, told in (("timeout=100", True), ("timeout=5s", False), ("connect_timeout=100", True)):
        caplog.clear()
        with TieredBackend.from_url(f"memory://,redis://localhost:1/0?{url}&name=near,redis://localhost:1/1"):
            assert ("near: a call may wait 100 s for it" in caplog.text) is told
    caplog.clear()
    with TieredBackend.from_url("memory://,redis://localhost:1/1?timeout=100"):
        assert "may wait" not in caplog.text, "the record has the time that it needs"
