"""The connections to one Redis server: a bounded LIFO pool, each connection held to one run of the server.

Here driver errors become `StoreError`, once. There are no retries: the next tier is the retry.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.resources import files
from threading import Condition
from typing import Any, NamedTuple

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable
from tiered.tiers.redis_errors import Late, Restarted, store_error
from tiered.tiers.redis_url import Target
from tiered.tiers.redis_wire import Arg, Wire, pack

BATCH = 200
BATCH_BYTES = 1_000_000
LIFE = 10
"""How many timeouts a put may take from the commit or the read of its frames to the server."""
LATE = -1
"""What put_if_newer.lua returns instead of results when its time has passed."""
_HANDSHAKE = [pack(("INFO", "server")), pack(("TIME",))]


class Put(NamedTuple):
    """A frame for a Redis key, with its life in ms."""

    name: str
    frame: bytes
    px: int


class Script:
    """A Lua script shipped beside this module."""

    def __init__(self, name: str) -> None:
        self.text = files("tiered.tiers").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


PUT = Script("put_if_newer.lua")


class Link:
    """A bounded LIFO pool of connections to one server. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._target, self._timeout, self._limit = name, target, timeout, max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self._idle: deque[Wire] = deque()
        self._opened = self._waiting = 0
        self._returned = Condition()  # guards the two counts; notified when a connection or a place comes back
        self._closed = False
        self._ahead = 0.0
        self.run_id: str | None = None
        """The server run that connections must belong to (PROTOCOL R15); None accepts any."""

    def call(self, *args: Arg, write: bool = False) -> Any:
        """One command, one reply. Raises `StoreUnavailable`, or for a write `NotApplied` or `Ambiguous`."""
        return self._exchange(pack(args), write)

    def fetch(self, names: Sequence[str]) -> list[bytes | None]:
        """The values under `names`, in one round trip."""
        found: list[bytes | None] = self.call("MGET", *names)
        return found

    def put(self, items: Sequence[Put], channel: str, since: float | None = None) -> list[bool]:
        """Put-if-newer of each item in one script, told to `channel` ("" tells nobody); refused when it comes late.

        `since` (monotonic seconds): when the frames were committed or read (PROTOCOL R6); now, if not given.
        """
        names = [item.name for item in items]
        results = self.script(PUT, names, [self.not_after(since), channel, *_values(items)], write=True)
        if results == LATE:
            self._forget_idle()  # a new connection learns the server's clock anew
            raise store_error(Late(), self.name, write=True, sent=True)
        return [result == 1 for result in results]

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, write: bool) -> Any:
        """Run a script by its SHA; a server that does not know it gets it, and has run nothing before that."""
        rest = (len(keys), *keys, *args)
        try:
            return self.call("EVALSHA", script.sha, *rest, write=write)
        except StoreError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return self.call("EVAL", script.text, *rest, write=write)

    def ask_many(self, commands: Sequence[bytes], *, write: bool) -> list[Any]:
        """Packed commands in one round trip; a server's error is returned in its command's place."""
        wire = self._take(write)
        try:
            replies = wire.ask_many(list(commands))
        except BaseException as error:
            raise self._failure(wire, error, write) from error
        self._give_back(wire)
        return replies

    def not_after(self, since: float | None = None) -> int:
        """The server's time (Unix ms) after which what was read or committed `since` may no longer be applied there.

        0 if the server's clock is not known.
        """
        if not self._ahead:
            return 0
        return int(((time.monotonic() if since is None else since) + self._ahead + LIFE * self._timeout) * 1000)

    def meet(self) -> str:
        """The run id of the server that answers now, on a connection of its own; the run to hold on to from here."""
        wire = None
        try:
            wire = self._open()
            self.run_id = self._greet(wire)
        except (redis.RedisError, OSError) as error:
            raise store_error(error, self.name, write=False, sent=False) from error
        finally:
            if wire is not None:
                wire.close()
        return self.run_id

    def listen(self) -> Wire:
        """A connection of one's own, for a subscription; close it after use."""
        self._check_open(StoreUnavailable)
        try:
            return self._connect()
        except (redis.RedisError, OSError, Restarted) as error:
            raise store_error(error, self.name, write=False, sent=False) from error

    def close(self) -> None:
        """Close idle connections now and the others when they come back. Idempotent."""
        self._closed = True
        self._forget_idle()

    def abandon(self) -> list[Any]:
        """After a fork: the parent's connections, for the child to keep and never touch."""
        inherited = list(self._idle)
        self.reset()
        return inherited

    # Private

    def _exchange(self, packed: bytes, write: bool) -> Any:
        try:
            wire = self._idle.pop()
        except IndexError:
            wire = self._take(write)
        try:
            reply = wire.ask(packed)
        except BaseException as error:
            raise self._failure(wire, error, write) from error
        self._give_back(wire)
        return reply

    def _give_back(self, wire: Wire) -> None:
        self._idle.append(wire)
        if self._closed:
            self._forget_idle()
        if self._waiting:
            with self._returned:
                self._returned.notify()

    def _failure(self, wire: Wire, error: BaseException, write: bool) -> BaseException:
        """What to raise for `error` on `wire`. A server's answer leaves the connection whole; all else ends it."""
        if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
            self._give_back(wire)
        else:
            self._lose(wire)
            if not isinstance(error, TimeoutError | BlockingIOError):
                self._forget_idle()  # the others are as dead, or lead to a server that is no longer the master
        if isinstance(error, (redis.RedisError, OSError)):
            return store_error(error, self.name, write=write, sent=True)
        return error

    def _take(self, write: bool) -> Wire:
        """An idle connection, a new one, or the first that comes back in time."""
        failed = NotApplied if write else StoreUnavailable
        end = time.monotonic() + self._timeout
        with self._returned:
            self._check_open(failed)
            self._waiting += 1  # before the look, so that whoever gives back later sees that somebody waits
            try:
                while True:
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass
                    if self._opened < self._limit:
                        self._opened += 1
                        break
                    if not self._returned.wait(end - time.monotonic()):
                        message = f"all {self._limit} connections of this process are in use; raise max_connections"
                        raise failed(message, tier=self.name, reason=Reason.BUSY)
            finally:
                self._waiting -= 1
        try:
            return self._connect()
        except BaseException as error:
            self._free()
            if not isinstance(error, (redis.RedisError, OSError, Restarted)):
                raise
            raise store_error(error, self.name, write=write, sent=False) from error

    def _connect(self) -> Wire:
        wire = self._open()
        try:
            if self._greet(wire) != self.run_id and self.run_id is not None:
                raise Restarted
        except BaseException:
            wire.close()
            raise
        return wire

    def _open(self) -> Wire:
        self._check_open(StoreUnavailable)
        connection: Any = self._target.make(**self._target.arguments)
        try:
            connection.connect()
            return Wire(connection, self._timeout)
        except BaseException:
            connection.disconnect()
            raise

    def _greet(self, wire: Wire) -> str:
        """Learn the server's run and its clock."""
        info, clock = wire.ask_many(_HANDSHAKE)
        if isinstance(info, Exception):
            raise info
        if not isinstance(clock, Exception):  # a user without TIME: writes then carry no time limit
            self._ahead = int(clock[0]) + int(clock[1]) / 1e6 - time.monotonic()
        for line in info.decode().splitlines():
            if line.startswith("run_id:"):
                return str(line.removeprefix("run_id:"))
        raise ResponseError("INFO has no run_id; is this a Redis server?")

    def _lose(self, wire: Wire) -> None:
        wire.close()
        self._free()

    def _free(self) -> None:
        with self._returned:
            self._opened -= 1
            self._returned.notify()

    def _forget_idle(self) -> None:
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            self._lose(wire)

    def _check_open(self, failed: type[StoreError]) -> None:
        if self._closed:
            raise failed("closed; build a new one", tier=self.name)


def batches(items: Sequence[Put]) -> Iterator[Sequence[Put]]:
    """Runs of at most `BATCH` items and about `BATCH_BYTES` bytes: a script blocks the server while it runs."""
    start = size = 0
    for n, item in enumerate(items):
        if n > start and (n - start == BATCH or size + len(item.frame) > BATCH_BYTES):
            yield items[start:n]
            start, size = n, 0
        size += len(item.frame)
    if start < len(items):
        yield items[start:]


def _values(items: Sequence[Put]) -> list[Arg]:
    return [arg for item in items for arg in (item.frame, item.px)]
