"""Host names as addresses: resolved beside whoever connects, because the system's resolver knows no time limit.

redis-py resolves in the middle of connecting and has no hook for it; what it gets here is an address.
"""

from __future__ import annotations

import socket
from functools import cache
from ipaddress import ip_address
from threading import Lock, Thread
from typing import Any

import redis

from tiered.forks import Forking, register
from tiered.handlers import pass_on

THREAD = "tiered-names"


class Question(Thread):
    """A name that is being resolved."""

    def __init__(self, host: str, known: dict[str, list[str]]) -> None:
        super().__init__(name=THREAD, daemon=True)
        self.host, self._known = host, known
        self.failure: OSError | None = None
        self.late = False
        """Whether somebody has waited for it in vain."""

    def run(self) -> None:
        try:
            found = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
            self._known[self.host] = [str(address[0]) for *_, address in found]
        except Exception as error:  # of many kinds, if it is no name at all
            self.failure = OSError(*error.args)


class Names(Forking):
    """What names are now, or were last; one thread for each that is being resolved. Thread-safe."""

    def __init__(self) -> None:
        self.forget()
        register(self)

    def forget(self) -> None:
        """Know nothing and ask anew."""
        self._known: dict[str, list[str]] = {}
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """The threads are not there."""
        self._questions: dict[str, Question] = {}
        self._asking = Lock()  # guards the questions

    def addresses(self, host: str, patience: float | None) -> list[str]:
        """Those of `host`; what it was last, if that takes longer than `patience` seconds, or fails.

        Raises `OSError`, or `redis.TimeoutError`.
        """
        if _is_address(host):
            return [host]
        try:
            self._ask(host, patience)
        except (OSError, redis.TimeoutError) as error:
            pass_on(error)
            if host not in self._known:
                raise
        return self._known[host]

    # Private

    def _ask(self, host: str, patience: float | None) -> None:
        question = self._question(host)
        if not question.late:  # else who comes next does not wait for it again
            question.join(patience)
        question.late = question.is_alive()
        if question.late:
            raise redis.TimeoutError(f"resolving {host} takes too long")
        if question.failure is not None:
            raise question.failure

    def _question(self, host: str) -> Question:
        with self._asking:
            question = self._questions.get(host)
            if question is None or not question.is_alive():
                question = self._questions[host] = Question(host, self._known)
                try:
                    question.start()
                except RuntimeError as error:
                    raise OSError(f"no thread to resolve {host} on: {error}") from error
            return question


NAMES = Names()


class _Named(redis.Connection):
    """A redis-py connection to a host whose name is resolved within its time limit for connecting."""

    def _connect(self) -> Any:
        name, failure = self.host, OSError("no address")
        for address in NAMES.addresses(name, self.socket_connect_timeout):
            self.host = address
            try:
                return super()._connect()  # type: ignore[no-untyped-call]  # redis-py
            except OSError as error:
                pass_on(error)
                failure = error
            finally:
                self.host = name  # whom a certificate has to name
        raise failure


@cache
def bounded(kind: Any) -> Any:
    """A class of redis-py connections as it is, but that it resolves names in time, if it is one that resolves any."""
    if not isinstance(kind, type) or not issubclass(kind, redis.Connection):
        return kind
    return _Named if kind is redis.Connection else type(kind.__name__, (kind, _Named), {})


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
