"""Forks: bots build their store in the parent and use it in children. What must not be inherited is listed here.

A member closes what a child must not find before the fork, or begins anew in the child: locks that other threads held,
sockets, connections, threads. Members are held weakly.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from threading import RLock

from tiered.locks import insist


class Forking:
    """What a fork would break. `register` it; by default it does nothing."""

    def before_fork(self) -> None:
        """In the parent: close what a child must not inherit, and let nobody open it until the fork is over.

        A signal handler may raise here, or in the next, and `os.fork` goes on all the same: each is called once more then, and
        must do with a part of what came before.
        """

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew; there is one thread, and no lock may be believed to be free."""


_members: weakref.WeakValueDictionary[int, Forking] = weakref.WeakValueDictionary()
# So that two forks cannot wait for each other's members; a signal handler may fork during a fork.
_one_at_a_time = RLock()
_forking: list[Forking] = []


def register(member: Forking) -> None:
    _members[id(member)] = member


def forget(member: Forking) -> None:
    _members.pop(id(member), None)


def put_off() -> AbstractContextManager[bool]:
    """In it no other thread forks: for what must not be inherited and is there before its member is registered."""
    return _one_at_a_time


def _before() -> None:
    _one_at_a_time.acquire()
    # In one step: others register and forget meanwhile. First of all: who is not asked to stop begins anew all the same.
    _forking[:] = filter(None, [refer() for refer in _members.valuerefs()])
    _each(_forking, lambda member: insist(member.before_fork))


def _after_in_parent() -> None:
    try:
        _each(_forking, lambda member: insist(member.after_fork_in_parent))
    finally:
        _forking.clear()
        with suppress(RuntimeError):  # interrupted before it was taken
            _one_at_a_time.release()


def _after_in_child() -> None:
    global _one_at_a_time
    _one_at_a_time = RLock()
    members = _forking.copy()
    _forking.clear()
    _each(members, lambda member: member.after_fork_in_child())


def _each(members: list[Forking], do: Callable[[Forking], None]) -> None:
    """For every one of them, whatever a signal handler or one of them raises; that is raised in the end, for `os.fork` to print."""
    raised: BaseException | None = None
    for member in members:
        try:
            do(member)
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
