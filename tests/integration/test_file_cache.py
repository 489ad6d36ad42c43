"""A file as a cache, in front of a record that is further away."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.waiting import eventually
from tiered import FileTier, MemoryTier, TieredBackend


def opened(place: Path) -> TieredBackend:
    cache, record = FileTier(place / "cache", name="ssd"), FileTier(place / "record")
    return TieredBackend([MemoryTier(max_entries=0), cache, record], staleness=0.3)


def test_a_cache_that_comes_back_old_is_not_believed(tmp_path: Path) -> None:
    """As it is after a power cut, which takes what was put last, or after somebody put the directory back."""
    with opened(tmp_path) as store:
        store.set_many({"k": "old", "gone": "still there"})
        assert store.lookup("k").tier == "ssd"
    shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    with opened(tmp_path) as store:
        store.set("k", "new")
        store.delete("gone")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "copy").rename(tmp_path / "cache")
    with opened(tmp_path) as store:
        assert store.get("k") == "new" and store.get("gone") is None
        assert store.lookup("k").tier == "ssd", "it is in use again"


def test_a_cache_that_another_process_has_open_is_believed(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        one.set("k", 1)
        with opened(tmp_path) as two:
            eventually(lambda: two.lookup("k").tier == "ssd", "what was confirmed is read there")
        with opened(tmp_path) as three:
            assert three.lookup("k").tier == "ssd"
