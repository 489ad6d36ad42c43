"""Forks: SQLite keeps its locks per process and must not find its connections in a child."""

from __future__ import annotations

import os
import weakref
from threading import Lock
from typing import Protocol


class Forking(Protocol):
    """What closes everything before a fork, and goes on after it."""

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


_members: weakref.WeakSet[Forking] = weakref.WeakSet()
_paused: list[Forking] = []
_one_at_a_time = Lock()  # so that two forks cannot wait for each other's members


def register(member: Forking) -> None:
    _members.add(member)


def forget(member: Forking) -> None:
    _members.discard(member)


def _before() -> None:
    _one_at_a_time.acquire()
    for member in list(_members):
        member.before_fork()
        _paused.append(member)


def _after_in_parent() -> None:
    while _paused:
        _paused.pop().after_fork_in_parent()
    _one_at_a_time.release()


def _after_in_child() -> None:
    global _one_at_a_time
    _one_at_a_time = Lock()
    while _paused:
        _paused.pop().after_fork_in_child()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
