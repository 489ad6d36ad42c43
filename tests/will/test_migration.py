"""What the real Will has saved with its own backends, it reads through `tiered` after a migration; and it can go back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.will.minds import Mind, environment

pytestmark = pytest.mark.will

SAVED = {"list": [1, "two", {"three": 3}], "a text": "ü", "flag": False, ".hidden": [None], "a b": 1.5}


def migrate(source: str, place: str, url: str) -> str:
    command = [sys.executable, "-m", "tiered.cli", "migrate", source, place, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def remember(mind: Mind) -> None:
    for key, value in SAVED.items():
        mind(f"mind.save({key!r}, {value!r})")
    mind("mind.save('soon over', 'kept', expire=3600)")
    assert mind.log == ""


def check(mind: Mind) -> None:
    assert mind(f"{{key: mind.load(key) for key in {list(SAVED)!r}}}") == SAVED
    assert mind("mind.load('soon over')") == "kept" and mind.log == ""


def test_from_its_file_backend_and_back(tmp_path: Path) -> None:
    directory, url = tmp_path / "settings", f"file:{tmp_path}/data"
    wills_own = f"STORAGE_BACKEND = 'file'\nFILE_DIR = {str(directory)!r}\nPUBSUB_BACKEND = 'zeromq'\n"
    with Mind(tmp_path / "bot", head=wills_own) as mind:
        remember(mind)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
    assert "6  verified" in migrate("will-file", str(directory), url)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()} == before
    with Mind(tmp_path / "bot", f"TIERED_URL = {url!r}\n") as mind:
        check(mind)
        assert 3000 < mind("mind.storage._store.ttl('soon over')") <= 3600
        mind("mind.append('list', 'since')")
    with Mind(tmp_path / "bot", head=wills_own) as mind:
        check(mind)


def test_from_its_redis_backend_into_the_same_database(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/7"
    settings = {"WILL_REDIS_URL": url, "WILL_REDIS_MAX_CONNECTIONS": "4"}
    with Mind(tmp_path / "bot", head="STORAGE_BACKEND = 'redis'\n", **settings) as mind:
        remember(mind)
    with redis.Redis.from_url(url) as client:
        before = {key: client.dump(key) for key in list(client.keys())}
        assert "6  verified" in migrate("will-redis", url, url)
        assert {key: client.dump(key) for key in before} == before
    assert "left out: key of tiered" in migrate("will-redis", url, url), "what was made of it is no part of it"
    with Mind(tmp_path / "bot", **settings) as mind:  # REDIS_URL is all there is, as before
        check(mind)
        mind("mind.clear_all_keys(), mind.save('list', 'new')")
        assert mind("mind.storage.redis.get('list') is not None"), "the old keys are left alone"
    with Mind(tmp_path / "bot", head="STORAGE_BACKEND = 'redis'\n", **settings) as mind:
        check(mind)
