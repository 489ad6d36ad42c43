"""The chain that Will's settings ask for, without Will."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tiered.config import OPTIONS
from tiered.errors import ConfigError
from tiered.integrations.will.chain import chain_of, redis_url, settings_of
from tiered.integrations.will.required import FILE_DIR, REDIS_URL, URL, required_settings
from tiered.integrations.will.required import OPTIONS as OPTIONAL
from tiered.integrations.will.stores import Stores
from tiered.tiers.redis import RedisTier


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", *OPTIONS):
        monkeypatch.delenv(f"TIERED_{name.upper()}", raising=False)


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("redis://localhost:6379/7", "redis://localhost:6379/7"),
        ("localhost:6379/7", "redis://localhost:6379/7"),
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://rediscloud:se%cr,e/t@host:1/2", None),
        ("redis://rediscloud:se%cret@host:1/2", "redis://:se%25cret@host:1/2"),
        ("redis://h:a,b@host:1/2?x=y", "redis://:a%2Cb@host:1/2"),
        ("redis://[::1]:6379/7", "redis://[::1]:6379/7"),
        ("rediss://bot:secret@host:1/2", "rediss://bot:secret@host:1/2"),
        ("redis://rediss://bot:secret@host:1/2", "rediss://bot:secret@host:1/2"),
        ("redis://unix:///run/redis.sock?db=7", "unix:///run/redis.sock?db=7"),
        ("redis://redis+sentinel://a:1,b:2/mymaster/0", "redis+sentinel://a:1,b:2/mymaster/0"),
    ],
)
def test_redis_url_is_read_as_will_reads_it_and_unmangled(setting: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(ConfigError) as refused:
            redis_url(setting)
        assert "se%cr" not in str(refused.value)
    else:
        assert redis_url(setting) == url
        RedisTier(url).close()


def test_the_chain_is_made_of_what_will_has(tmp_path: Any) -> None:
    directory = str(tmp_path / "a, b?%")
    alone = chain_of({"REDIS_URL": "redis://localhost/7"})
    assert alone == "redis://localhost:6379/7?timeout=2s&connect_timeout=2s"
    both = Stores().open(settings_of(SimpleNamespace(REDIS_URL="redis://localhost/7", FILE_DIR=directory)))
    assert list(both.stats()["tiers"]) == ["file"], "Will sets REDIS_URL itself"
    both.close()
    assert (tmp_path / "a, b?%" / "tiered" / "tiered.sqlite3").exists()
    assert chain_of({}) == "" and chain_of({"REDIS_URL": "", "FILE_DIR": None}) == ""
    with pytest.raises(ConfigError, match="TIERED_URL"):
        chain_of({"COUCHBASE_URL": "couchbase://host/bucket", "REDIS_URL": "redis://localhost/7"})


def test_settings_of_will_and_what_overrides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    will = SimpleNamespace(REDIS_URL="redis://localhost/7", TIERED_STALENESS="250ms", TIERED_URL="", SECRET_KEY="s")
    assert settings_of(will) == {
        "namespace": "will",
        "staleness": 0.25,
        "url": "redis://localhost:6379/7?timeout=2s&connect_timeout=2s",
    }
    monkeypatch.setenv("TIERED_URL", "file:./data")
    monkeypatch.setenv("TIERED_NAMESPACE", "mine")
    assert settings_of(will) == {"namespace": "mine", "staleness": 0.25, "url": "file:./data"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"TIERED_STALENES": 1}, "did you mean 'staleness'"),
        ({"TIERED_SHARED": False}, "Will's processes"),
        ({"TIERED_FEED": "journal"}, "a moment ago"),
        ({"TIERED_STALENESS": "soon"}, "staleness"),
        ({"TIERED_URL": "memory://"}, "forgets with every process"),
        ({"TIERED_URL": "file:"}, "directory"),
        ({"REDIS_URL": 7}, "REDIS_URL must be a str"),
        ({"FILE_DIR": 7}, "FILE_DIR must be"),
        ({"TIERED_NAMESPACE": "a b", "TIERED_URL": "file:./data"}, "namespace"),
    ],
)
def test_wrong_settings_say_what_is_wrong(settings: dict[str, Any], says: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=says):
        Stores().open(settings_of(SimpleNamespace(**settings)))


def test_memory_is_left_out_and_one_store_serves_all(tmp_path: Any) -> None:
    stores, settings = Stores(), settings_of(SimpleNamespace(TIERED_URL=f"memory://,file:{tmp_path}/data"))
    store = stores.open(settings)
    assert list(store.stats()["tiers"]) == ["file"] and stores.open(dict(settings)) is store
    stores.close()
    assert stores.open(settings) is not store
    stores.close()


def test_each_setting_says_how_to_obtain_it() -> None:
    assert required_settings({}, {}) == [URL]
    assert required_settings({"url": "…"}, {"TIERED_URL": "…"}) == [URL]
    assert required_settings({"url": "…"}, {"REDIS_URL": "…", "FILE_DIR": "…"}) == [FILE_DIR]
    assert required_settings({"url": "…"}, {"REDIS_URL": "…"}) == [REDIS_URL]
    assert required_settings({"url": "…"}, {}) == []
    for setting in (URL, REDIS_URL, FILE_DIR, *OPTIONAL):
        assert set(setting) == {"name", "obtain_at"} and len(setting["obtain_at"]) > 40
    assert {setting["name"].removeprefix("TIERED_").lower() for setting in OPTIONAL} <= set(OPTIONS)


def test_the_import_needs_no_will_and_never_fails() -> None:
    code = (
        "import sys; sys.modules['will'] = None; import tiered.integrations.will as it\n"
        "assert sys.modules['will.backends.storage.tiered_backend'] is it and callable(it.bootstrap)\n"
        "assert 'redis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
