"""Leases as locks on files: a bounded number of them, signed, and never followed elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.file_tier import files
from tiered.errors import Reason, StoreUnavailable
from tiered.tiers import file_leases
from tiered.tiers.file_leases import FileLeases


def test_a_file_locked_for_another_key_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_leases, "FILES", 1)
    leases = FileLeases(tmp_path, "file")
    assert leases.take("n", "a", "A", 60)
    with pytest.raises(StoreUnavailable, match="another key") as caught:
        leases.take("n", "b", "B", 60)
    assert caught.value.reason is Reason.BUSY
    assert leases.take("n", "a", "C", 60) is False
    leases.release("n", "a", "A")
    assert (tmp_path / "leases" / "00").read_bytes() == b""  # so that the next holder is not taken for one of "a"
    assert leases.take("n", "b", "B", 60)
    leases.release("n", "b", "B")


def test_the_files_are_bounded_and_no_descriptor_stays(tmp_path: Path) -> None:
    leases, before = FileLeases(tmp_path, "file"), files()
    for n in range(2000):
        assert leases.take("n", f"k{n}", "A", 60)
        leases.release("n", f"k{n}", "A")
    assert 200 < len(list((tmp_path / "leases").iterdir())) <= 256
    assert files() == before


@pytest.mark.parametrize("place", ["directory", "file"])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    leases = FileLeases(tmp_path, "file")
    if place == "directory":
        (tmp_path / "leases").symlink_to(elsewhere)
    else:
        leases.take("n", "k", "A", 60)
        leases.release("n", "k", "A")
        (lock,) = (tmp_path / "leases").iterdir()
        lock.unlink()
        lock.symlink_to(elsewhere / "lock")
    with pytest.raises(StoreUnavailable, match="file: "):
        leases.take("n", "k", "A", 60)
    assert os.listdir(elsewhere) == []


def test_a_directory_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        FileLeases(tmp_path / "gone", "file").take("n", "k", "A", 60)
