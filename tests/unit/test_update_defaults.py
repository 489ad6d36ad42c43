"""`update(default=…)`: what `fn` changes is a copy, in this attempt, in the next and at the next key."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tiered import AsyncTieredBackend, FileTier, MemoryTier, TieredBackend
from tiered.tiers.base import Commit, Write


class Contended(FileTier):
    """Before the next commit its `rival` sets the key, and deletes it after."""

    rival: TieredBackend | None = None

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        rival, self.rival = self.rival, None
        if rival is None:
            return super().commit(namespace, writes, marks=marks, now=now)
        rival.set(writes[0].key, 0)
        try:
            return super().commit(namespace, writes, marks=marks, now=now)
        finally:
            rival.delete(writes[0].key)


@pytest.fixture
def store() -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier()]) as store:
        yield store


def appended(lines: list[str]) -> list[str]:
    lines.append("x")
    return lines


CHANGES: list[tuple[Any, Callable[[Any], Any]]] = [
    ([], appended),
    ({"n": []}, lambda it: appended(it["n"]) and it),
    (([], 1), lambda it: appended(it[0]) and it),
    (deque[str](), lambda it: list(appended(it))),
    (Counter[str](), lambda it: it.update("x") or dict(it)),
    (set[str](), lambda it: it.add("x") or it),
]


@pytest.mark.parametrize(("default", "change"), CHANGES)
def test_a_default_is_the_same_for_every_key(store: TieredBackend, default: Any, change: Callable[[Any], Any]) -> None:
    before = repr(default)
    assert store.update("a", change, default) == store.update("b", change, default)
    assert store.get("a") == store.get("b") and repr(default) == before


def test_for_tasks_too(store: TieredBackend) -> None:
    default: list[str] = []
    for key in ("a", "b"):
        assert asyncio.run(AsyncTieredBackend.over(store).update(key, appended, default)) == ["x"]
    assert default == []


def test_the_next_attempt_begins_anew(tmp_path: Path) -> None:
    file = Contended(tmp_path)
    with TieredBackend([file]) as store, TieredBackend([FileTier(tmp_path)]) as rival:
        file.rival = rival
        assert store.update("k", appended, []) == ["x"]
        assert store.stats()["namespace"]["conflicts"] == 1


def test_what_is_no_container_is_handed_on_as_it_is(store: TieredBackend) -> None:
    nothing = object()
    assert store.update("k", lambda value: value is nothing, nothing) is True
