"""The chain that Will's settings ask for, without Will."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from tiered.chain_url import COUCHBASE_LOGIN, tiers_from_url
from tiered.errors import ConfigError
from tiered.integrations.will.chain import chain_of, redis_url, settings_of
from tiered.integrations.will.couchbase_url import couchbase_address, couchbase_url
from tiered.integrations.will.required import COUCHBASE_URL, FILE_DIR, REDIS_URL, URL, required_settings
from tiered.integrations.will.required import OPTIONS as OPTIONAL
from tiered.integrations.will.stores import Stores
from tiered.options import OPTIONS
from tiered.tiers.redis import RedisTier


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", *OPTIONS, *(f"couchbase_{part}" for part in COUCHBASE_LOGIN)):
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


COUCHBASE_OPTIONS = "timeout=2.0s&connect_timeout=2.0s"


@pytest.mark.parametrize(
    ("setting", "url"),
    [  # the first four are those that Will documents
        ("couchbase:///bucket", f"couchbase://localhost/bucket?user=bucket&{COUCHBASE_OPTIONS}"),
        ("couchbase://hostname/bucket", f"couchbase://hostname/bucket?user=bucket&{COUCHBASE_OPTIONS}"),
        ("couchbase://host1,host2/bucket", f"couchbase://host1%2Chost2/bucket?user=bucket&{COUCHBASE_OPTIONS}"),
        (
            "couchbase://hostname/bucket?password=123abc&timeout=5",
            "couchbase://hostname/bucket?password=123abc&user=bucket&timeout=5.0s&connect_timeout=5.0s",
        ),
        ("couchbase://a:8091,b:8091/bucket/?", f"couchbase://a%2Cb/bucket?user=bucket&{COUCHBASE_OPTIONS}"),
        ("couchbase://[::1]:11999/bucket", f"couchbase://[::1]:11999/bucket?user=bucket&{COUCHBASE_OPTIONS}"),
        (
            "couchbases://h/b/main/bots?username=bot&password=a%40=,@?#",
            f"couchbases://h/b/main/bots?user=bot&password=a%2540%3D%2C%40%3F%23&{COUCHBASE_OPTIONS}",
        ),
        ("couchbase://bot:p%2Fw@h/b?username=x", f"couchbase://h/b?user=bot&password=p%2Fw&{COUCHBASE_OPTIONS}"),
        ("couchbase://:pw@h/a%b", f"couchbase://h/a%25b?password=pw&user=a%25b&{COUCHBASE_OPTIONS}"),
    ],
)
def test_couchbase_url_is_read_as_will_reads_it(setting: str, url: str) -> None:
    assert couchbase_url(setting) == url == chain_of({"COUCHBASE_URL": setting, "REDIS_URL": "redis://localhost/7"})
    (tier,) = tiers_from_url(url)
    tier.close()
    address = couchbase_address(setting)
    options = dict(parse_qsl(url.partition("?")[2]))
    assert (address.user, address.password) == (options["user"], options.get("password", ""))
    assert "/".join((address.connection, address.bucket)) in unquote(url)


def test_the_login_of_the_environment_stands_in_for_one_that_the_url_does_not_say(monkeypatch: Any) -> None:
    monkeypatch.setenv("TIERED_COUCHBASE_USER", "bot")
    monkeypatch.setenv("TIERED_COUCHBASE_PASSWORD", "hush")
    assert couchbase_url("couchbase://h/b") == f"couchbase://h/b?{COUCHBASE_OPTIONS}", "the tier asks the environment"
    alone, said = couchbase_address("couchbase://h/b"), couchbase_address("couchbase://h/b?username=u&password=p")
    assert (alone.user, alone.password, said.user, said.password) == ("bot", "hush", "u", "p")


@pytest.mark.parametrize(
    "setting",
    [
        *("", "couchbase://secret", "h/b?password=secret", "http://h/b?password=secret", 7),
        *("couchbase://h/b?password=se&cret=x", "couchbase://h/b?timeout=secret", "couchbase://u:secret@[h/b"),
    ],
)
def test_a_couchbase_url_that_cannot_be_read_shows_no_secret(setting: Any) -> None:
    for read in (couchbase_address, lambda it: tiers_from_url(couchbase_url(it))):
        with pytest.raises(ConfigError) as refused:
            read(setting)
        assert "cret" not in str(refused.value)


def test_the_chain_is_made_of_what_will_has(tmp_path: Any) -> None:
    directory = str(tmp_path / "a, b?%")
    alone = chain_of({"REDIS_URL": "redis://localhost/7"})
    assert alone == "redis://localhost:6379/7?timeout=2s&connect_timeout=2s"
    both = Stores().open(settings_of(SimpleNamespace(REDIS_URL="redis://localhost/7", FILE_DIR=directory)))
    assert list(both.stats()["tiers"]) == ["file"], "Will sets REDIS_URL itself"
    both.close()
    assert (tmp_path / "a, b?%" / "tiered" / "tiered.sqlite3").exists()
    assert chain_of({}) == "" and chain_of({"REDIS_URL": "", "FILE_DIR": None}) == ""
    with pytest.raises(ConfigError, match="both set: take one of them out, or write the chain as TIERED_URL"):
        chain_of({"COUCHBASE_URL": "couchbase://host/bucket", "FILE_DIR": directory})


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
    assert required_settings({"url": "…"}, {"REDIS_URL": "…", "COUCHBASE_URL": "…"}) == [COUCHBASE_URL]
    assert required_settings({"url": "…"}, {}) == []
    for setting in (URL, REDIS_URL, FILE_DIR, COUCHBASE_URL, *OPTIONAL):
        assert set(setting) == {"name", "obtain_at"} and len(setting["obtain_at"]) > 40
    assert {setting["name"].removeprefix("TIERED_").lower() for setting in OPTIONAL} <= set(OPTIONS)


def test_the_import_needs_no_will_and_never_fails() -> None:
    code = (
        "import sys; sys.modules['will'] = None; import tiered.integrations.will as it\n"
        "assert sys.modules['will.backends.storage.tiered_backend'] is it and callable(it.bootstrap)\n"
        "assert 'redis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
