"""docs/will.md and examples/will say what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.will.home import EXAMPLE, ROOT
from tests.will.minds import Mind
from tiered import TieredBackend
from tiered.integrations.will.chain import chain_of


def block(page: str, fence: str) -> str:
    (code,) = re.findall(rf"```{fence}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    return str(code)


def test_the_plugin_of_the_page_is_that_of_the_example() -> None:
    example = (EXAMPLE / "plugins" / "memory.py").read_text()
    assert block("will.md", "python plugins/memory.py") in example.split('"""\n\n', 1)[1]


def test_the_chain_of_a_redis_url_is_what_the_page_calls_the_same() -> None:
    page = (ROOT / "docs" / "will.md").read_text()
    assert f'`TIERED_URL = "{chain_of({"REDIS_URL": "redis://localhost:6379/7"})}"`, which is the same' in page


def test_going_back_takes_along_what_came_since(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/7"
    with TieredBackend.from_url(f"file:{tmp_path}/data", namespace="will") as store:
        store.set("list", b"since")
        store.set("soon", b"over", ttl=3600)
        store.set("tiered:key:bzE=", b"of a key that is no str")
    code = block("will.md", "python go_back.py").replace("redis://localhost:6379/7", url)
    env = {**os.environ, "TIERED_URL": f"file:{tmp_path}/data"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=env)
    with redis.Redis.from_url(url) as client:
        assert client.mget("list", "soon") == [b"since", b"over"] and client.dbsize() == 2
        assert client.ttl("list") == -1 and 3000 < client.ttl("soon") <= 3600


@pytest.mark.will
def test_a_tier_of_ones_own_in_wills_chain(tmp_path: Path) -> None:
    package = tmp_path / "package"
    about = package / "dict_tier-1.0.dist-info"
    about.mkdir(parents=True)
    template = block("writing-a-tier.md", "python").split("if __name__")[0]
    (package / "dict_tier.py").write_text(f"{template}\ndef from_url(url):\n    return DictTier()\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dict-tier\nVersion: 1.0\n")
    group, line = block("will.md", "toml").strip().splitlines()
    (about / "entry_points.txt").write_text(
        group.replace("project.entry-points.", "").replace('"', "") + "\n" + line.replace('"', "") + "\n"
    )
    settings = {"PYTHONPATH": str(package), "TIERED_URL": f"dict://,file:{tmp_path}/data"}
    with Mind(tmp_path / "bot", **settings) as mind:
        mind("mind.append('list', 1), mind.append('list', 2)")
        assert mind("list(mind.storage._store.stats()['tiers']), mind.load('list')") == (["dict", "file"], [1, 2])
        assert mind("mind.storage._store.stats()['tiers']['dict']['hits']") > 0
        assert mind("mind.storage.verify_settings()") is True and "dict" in mind.said()
