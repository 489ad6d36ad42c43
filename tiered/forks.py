"""Forks: bots build their store in the parent and use it in children. What must not be inherited is listed here.

A member closes what a child must not find before the fork, or begins anew in the child: locks that other threads held,
sockets, connections, threads. Members are held weakly.
"""

from __future__ import annotations

import os
import weakref
from threading import Lock


class Forking:
    """What a fork would break. `register` it; by default it does nothing."""

    def before_fork(self) -> None:
        """In the parent: close what a child must not inherit, and let nobody open it until the fork is over."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew; there is one thread, and no lock may be believed to be free."""


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
