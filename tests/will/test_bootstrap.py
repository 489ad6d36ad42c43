"""How Will finds the backend, and what it is told of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.will.minds import Mind, Refused

pytestmark = pytest.mark.will
NO_REDIS = "PUBSUB_BACKEND = 'zeromq'\n"
"""Else Will itself sets REDIS_URL."""


def test_the_settings_of_before_are_enough(redis_server: RedisServer, tmp_path: Path) -> None:
    with Mind(tmp_path / "bot", f"FILE_DIR = {str(tmp_path / 'will')!r}\n", WILL_REDIS_URL=redis_server.url) as mind:
        mind("mind.save('k', 1)")
        assert mind("list(mind.storage._store.stats()['tiers'])") == ["file"]
        assert mind("mind.storage.verify_settings()") is True
        assert mind("[it['name'] for it in mind.storage.required_settings]") == ["FILE_DIR"]
    assert (tmp_path / "will" / "tiered" / "tiered.sqlite3").exists()


def test_everything_from_the_environment(tmp_path: Path) -> None:
    more = {
        "WILL_TIERED_URL": f"file:{tmp_path}/data",
        "WILL_TIERED_NAMESPACE": "mine",
        "WILL_TIERED_DEADLINE": "500ms",
    }
    with Mind(tmp_path / "bot", **more) as mind:
        mind("mind.save('k', 1)")
        assert "'mine'" in mind("repr(mind.storage._store)")


def test_the_chain_may_be_that_of_the_command_line(tmp_path: Path) -> None:
    with Mind(tmp_path / "bot", NO_REDIS, TIERED_URL=f"file:{tmp_path}/data") as mind:
        mind("mind.save('k', 1)")
        assert mind.log == "" and mind("mind.load('k'), mind.storage.verify_settings()") == (1, True)


def test_a_missing_setting_is_told_with_how_to_obtain_it(tmp_path: Path) -> None:
    with Mind(tmp_path / "bot", NO_REDIS) as mind:
        mind("exec('from will.backends.storage import tiered_backend')")
        with pytest.raises(Refused, match="OSError: Missing required settings when starting up TieredStorage"):
            mind("tiered_backend.bootstrap(settings)")
        assert "TIERED_URL is missing. It's required by the TieredStorage backend" in mind.said()
        assert "To obtain a TIERED_URL: Choose where Will's memory lives" in mind.said()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("TIERED_URL = 'file:./data'\nTIERED_STALENES = 1\n", "did you mean 'staleness'"),
        ("TIERED_URL = 'fil:./data'\n", "did you mean 'file'"),
        ("COUCHBASE_URL = 'couchbase://host'\n", "COUCHBASE_URL cannot be read"),
        ("COUCHBASE_URL = 'couchbase://host/bucket'\nFILE_DIR = 'memory'\n", "are both set"),
    ],
)
def test_a_wrong_setting_is_wills_own_kind_of_error(tmp_path: Path, config: str, says: str) -> None:
    with Mind(tmp_path / "bot", config) as mind:
        mind("exec('from will.backends.storage import tiered_backend')")
        with pytest.raises(Refused, match=f"OSError: .*{says}"):
            mind("tiered_backend.bootstrap(settings)")
        assert says in mind.said()


def test_without_a_line_in_config_py_if_the_module_is_in_wills_package(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "tiered_backend.py").write_text("from tiered.integrations.will import bootstrap\n")
    head = f"STORAGE_BACKEND = 'tiered'\nTIERED_URL = 'file:{tmp_path}/data'\n"
    with Mind(tmp_path / "bot", head=head) as mind:
        mind("exec('import will.backends.storage as package')")
        mind(
            'exec(\'del sys.modules["will.backends.storage.tiered_backend"], sys.modules["tiered.integrations.will"]\')'
        )
        with pytest.raises(Refused, match="ModuleNotFoundError"):
            mind("mind.save('k', 1)")
        mind(f"package.__path__.append({str(tmp_path / 'package')!r})")
        mind("mind.save('k', 1)")
        assert mind.log == "" and mind("mind.load('k')") == 1


def test_code_that_reaches_for_storage_redis_gets_a_client_of_wills_redis(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with Mind(tmp_path / "bot", f"TIERED_URL = 'file:{tmp_path}/data'\n", WILL_REDIS_URL=redis_server.url) as mind:
        mind("mind.bootstrap_storage()")
        assert mind("mind.storage.redis.set('k', 1), mind.storage.redis.get('k')") == (True, b"1")
    with Mind(tmp_path / "bot", f"TIERED_URL = 'file:{tmp_path}/data'\n{NO_REDIS}") as mind:
        mind("mind.bootstrap_storage()")
        assert mind("hasattr(mind.storage, 'redis')") is False
