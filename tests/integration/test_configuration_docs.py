"""docs/configuration.md: its TOML builds what it says, and its tables know every setting and its default."""

from __future__ import annotations

import inspect
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import redis

from tiered import ConfigError, MemoryTier, TieredBackend
from tiered.notation import seconds, size
from tiered.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
ROWS = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
SETTINGS = {
    name: default.strip(" `")
    for names, defaults in ROWS
    for name, default in zip(re.findall(r"`([a-z_]+)`", names), defaults.split(","), strict=True)
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_of_the_page_builds_its_tiers(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiered.toml").write_text(text)
    with TieredBackend.from_config("tiered.toml") as store:
        assert [tier.name for tier in store._core.service.tiers] == ["memory", "redis", "file"]
        assert (tmp_path / "bot-data").is_dir()


def test_the_page_names_every_setting_with_its_default() -> None:
    assert len(FILES) == 2 and set(SETTINGS) == {"url", *OPTIONS}
    parameters = inspect.signature(TieredBackend).parameters
    for name, told in SETTINGS.items():
        default = None if name == "url" else parameters[name].default
        if isinstance(default, bool):
            assert told == str(default).lower()
        elif name == "max_value_bytes":
            assert size(told.replace(" MiB", "mb")) == default
        elif isinstance(default, float):
            assert seconds(told.replace(" ", "")) == default
        elif isinstance(default, int):
            assert int(told) == default
        elif default is not None:
            assert told == default
    memory = MemoryTier()
    assert f"`max_entries` ({memory.max_entries:,}), `max_bytes` ({memory.max_bytes >> 20} MiB)" in PAGE


def test_starting_again_from_nothing(redis_url: str, tmp_path: Path) -> None:
    (claim,) = re.findall(r"^redis-cli del (\S+)", PAGE, re.MULTILINE)
    directory, slow = tmp_path / "bot-data", "timeout=5s&connect_timeout=5s"
    url = f"memory://,{redis_url}?{slow},file:{directory}"
    with TieredBackend.from_url(url) as store:
        store.set("k", "old")
    shutil.rmtree(directory)
    with redis.Redis.from_url(redis_url) as client, TieredBackend.from_url(url) as store:
        for call in (lambda: store.get("k"), lambda: store.set("k", "new")):
            with pytest.raises(ConfigError, match=f"delete the key {claim}$"):
                call()
        assert 0 < client.pttl(claim) <= 600_000  # type: ignore[operator]  # of the sync client it is an int
        with TieredBackend.from_url(url.replace(slow, f"{slow}&prefix=dev").replace("bot-data", "other")) as other:
            assert other.set("k", "other").tiers["redis"] == "ok"
        assert client.delete(claim) == 1
        assert store.get("k") is None and store.set("k", "new").tiers["redis"] == "ok"


def test_every_extra_is_in_the_readme_and_where_a_setting_needs_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    users = re.findall(r"\w+", everything.partition("[")[2])
    assert [it for it in (*users, "all") if f"`{it}`" not in (ROOT / "README.md").read_text()] == []
    assert [it for it in users if it != "cli" and f"the extra `{it}`" not in PAGE] == []
